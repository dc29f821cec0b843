"""The words of the report, in English and Chinese, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

LANGUAGES: Final = ("en", "zh")
TAGS: Final = ("en", "zh-CN")
"""The same as language tags of a page. Source: BCP 47."""

_SHANGHAI: Final = ZoneInfo("Asia/Shanghai")

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    # The title page.
    "title": ("Evidence of data exports", "数据出境证据报告"),
    "kicker": ("Evidence pack · report", "证据包 · 报告"),
    "contents": ("Contents", "目录"),
    "page": ("Page {page} of {pages}", "第 {page} 页，共 {pages} 页"),
    "kind.permit": ("Permit", "许可"),
    "kind.transfer": ("Transfer request", "出境申请"),
    "kind.dataset": ("Dataset", "数据集"),
    "kind.handler": ("Data handler", "数据处理者"),
    "about": ("About", "对象"),
    "handler": ("Data handler", "数据处理者"),
    "uscc": ("Unified social credit code", "统一社会信用代码"),
    "period": ("Period", "期间"),
    "period.both": ("{since} to {until}", "{since}至{until}"),
    "period.since": ("from {since} to the moment of the pack", "{since}至证据包生成时"),
    "period.until": ("from the beginning to {until}", "自始至{until}"),
    "period.all": ("from the beginning to the moment of the pack", "自始至证据包生成时"),
    "made": ("Made", "生成时间"),
    "moment.both": ("{utc} UTC ({china} in Beijing)", "{china}（北京时间），{utc}（世界协调时）"),
    "pack": ("Pack", "证据包编号"),
    "version": ("Made by", "生成程序"),
    "checkpoint": ("Checkpoint", "检查点"),
    "checkpoint.told": ("{size} entries, signed {at} UTC", "{size}条记录，签署于{at}（世界协调时）"),
    "root": ("Root hash", "根哈希"),
    "witnesses": ("Cosigned by", "见证方"),
    "none": ("none", "无"),
    "yes": ("yes", "是"),
    "no": ("no", "否"),
    "all": ("all", "全部"),
    "unknown": ("not known", "未知"),
    "what.title": ("What this file is", "本文件是什么"),
    "what.1": (
        "A reading copy of an evidence pack: it tells in plain words what the pack holds about {title}. The proof is in the pack, not in this file.",
        "本文件是证据包的可读副本，以通俗文字说明证据包中关于“{title}”的内容。证明存于证据包本身，而不在本文件中。",
    ),
    "what.2": (
        "Whoever has the pack can check it offline, without trusting the company that made it: see “How to verify”.",
        "持有证据包的任何人均可离线核验，无须信任制作方，方法见“如何核验”。",
    ),
    "what.3": (
        "Moments are in UTC and days in China Standard Time, unless said otherwise. Of persons only reviewers are named.",
        "除另有说明外，时刻为世界协调时，日期为北京时间。自然人中仅列明审批人员的姓名。",
    ),
    "advice.title": ("No legal advice", "不构成法律意见"),
    "advice.1": (
        "What the law asks for is told as the service applied its dated rules on the day. It is a record of decisions, not legal advice, and it does not bind any authority.",
        "关于法律要求的内容，系本服务按当日规则适用的结果。本报告是决定的记录，不构成法律意见，对任何主管机关均无约束力。",
    ),
    "unproved.title": ("Nothing in this pack is proved yet", "本证据包尚无证明"),
    "unproved.1": (
        "The log had no checkpoint when the pack was made. Make the pack again once it has one.",
        "生成证据包时日志尚无检查点。请待检查点产生后重新生成。",
    ),
    # 1. Summary
    "summary": ("Summary", "摘要"),
    "summary.handler": (
        "{handler} is the data handler. This report covers {transfers} transfer requests with {revisions} revisions, on {datasets} datasets and {recipients} recipients.",
        "数据处理者为{handler}。本报告涉及{transfers}项出境申请、{revisions}个版本、{datasets}个数据集和{recipients}个接收方。",
    ),
    "summary.statuses": ("Of the requests: {statuses}.", "申请状态：{statuses}。"),
    "summary.mechanisms": (
        "For the latest revisions the law asked for: {mechanisms}.",
        "就最新版本而言，法律要求：{mechanisms}。",
    ),
    "summary.reviews": (
        "{reviewers} reviewers took {reviews} decisions.",
        "{reviewers}名审批人员作出{reviews}项决定。",
    ),
    "summary.separate": (
        "In every approved request each stage was approved by another person, none of them the requester.",
        "在每项已批准的申请中，各审批阶段均由不同人员批准，且均非申请人。",
    ),
    "summary.not_separate": (
        "In these approved requests one person decided on two stages, or the requester decided: {transfers}.",
        "以下已批准的申请中，存在同一人批准两个阶段或者申请人自行审批的情形：{transfers}。",
    ),
    "summary.exports": (
        "Under {permits} permits {exports} exports were reserved and {completed} completed; they reported {persons} persons as sent, {sensitive} of them with sensitive information. {refused} asks were refused.",
        "在{permits}项许可之下，预留{exports}次、完成{completed}次出境，报告向境外提供{persons}人次的个人信息，其中敏感个人信息{sensitive}人次；拒绝{refused}次。",
    ),
    "summary.no_exports": (
        "Nothing was exported in the period. {refused} asks were refused.",
        "期间内无数据出境。拒绝{refused}次。",
    ),
    "summary.look": ("What deserves a look", "值得留意之处"),
    "summary.nothing": ("Nothing that the service itself can see stands out.", "本服务自身未发现需要特别留意之处。"),
    "look.unproved": ("The pack has no checkpoint: nothing in it is proved.", "证据包无检查点，其内容均无证明。"),
    "look.unwitnessed": ("No witness cosigned the checkpoint.", "检查点未经见证方联署。"),
    "look.waiting": (
        "{count} entries were not in the log's tree yet and are not in the pack.",
        "{count}条记录尚未进入日志树，未收入证据包。",
    ),
    "look.withheld": (
        "Of {count} entries only the hash is in the pack, since they hold free text from before such texts were sealed.",
        "{count}条记录因含有启用封存之前的自由文本，证据包仅收录其哈希。",
    ),
    "look.permit": ("Permit {permit} is {status}.", "许可{permit}：{status}。"),
    "look.over": (
        "Permit {permit}: {sent} persons were reported as sent, more than the {allowed} that it allows.",
        "许可{permit}：报告提供{sent}人，超过许可的{allowed}人。",
    ),
    "look.taken_back": ("{count} decisions of reviewers were taken back.", "{count}项审批决定被撤回。"),
    "look.other_hash": (
        "{count} decisions are bound to a hash that is not the hash of their revision.",
        "{count}项审批决定所绑定的哈希与其版本的哈希不一致。",
    ),
    "look.ended": ("{count} papers were withdrawn or replaced.", "{count}份材料已撤回或者被替换。"),
    "look.no_file": ("{count} papers are on record without a file.", "{count}份材料仅有登记，没有文件。"),
    "look.refused": ("{count} asks to export were refused.", "{count}次出境请求被拒绝。"),
    "look.threshold": (
        "The year {year} reached the line “{line}” ({words}).",
        "{year}年度已达到“{line}”门槛（{words}）。",
    ),
    "count.permits": ("permits", "项许可"),
    "count.transfers": ("requests", "项申请"),
    "count.reviews": ("reviews", "项审批"),
    "count.evidence": ("papers", "份材料"),
    "count.completed": ("completed exports", "次完成的出境"),
    "count.persons": ("persons reported as sent", "报告提供人次"),
    "count.refused": ("refused asks", "次拒绝"),
    "count.entries": ("log entries in the pack", "条日志记录"),
    # 2. Picture
    "flow": ("The flow of data", "数据流向图"),
    "flow.caption": (
        "Which datasets go under which permit to which recipient. A full line: data may have gone. A broken line: nothing was let through.",
        "数据集依何种许可流向何接收方。实线：数据可能已出境；虚线：未予放行。",
    ),
    "flow.alt": (
        "{datasets} datasets of {handler}, {gates} permits or requests, {recipients} recipients in {countries}. The tables of this report hold the same.",
        "{handler}的{datasets}个数据集，{gates}项许可或者申请，位于{countries}的{recipients}个接收方。本报告各表载有相同内容。",
    ),
    "flow.none": (
        "There is no flow to draw: no request and no export is in the pack.",
        "无可绘制的流向：证据包中没有申请，也没有出境。",
    ),
    "flow.datasets": ("Datasets", "数据集"),
    "flow.permits": ("Permits", "许可"),
    "flow.recipients": ("Overseas recipients", "境外接收方"),
    "flow.border": ("Border", "境内｜境外"),
    "flow.more_datasets": ("and {count} more datasets", "另有{count}个数据集"),
    "flow.more_permits": ("and {count} more", "另有{count}项"),
    "flow.more_recipients": ("and {count} more recipients", "另有{count}个接收方"),
    "flow.sent": ("{sent} of {allowed} persons", "{sent} / {allowed}人"),
    "flow.no_permit": ("No permit", "无许可"),
    "flow.free": ("No permit needed", "无需许可"),
    "flow.free_sent": ("{exports} exports", "{exports}次出境"),
    # 3. Timeline
    "timeline": ("Timeline", "时间线"),
    "timeline.told": (
        "Every act on record, oldest first; the number at the end of a line is its leaf in the log. Single exports are added up by month further down.",
        "所记录的全部行为，按时间先后排列；行末数字为其在日志中的叶序号。单次出境按月汇总，见后文。",
    ),
    "timeline.left_out": (
        "Of {all} acts the newest {shown} are shown; the pack holds them all.",
        "共{all}项行为，此处显示最近{shown}项；全部载于证据包。",
    ),
    "timeline.none": ("Nothing happened in the period.", "期间内无记录。"),
    "leaf": ("leaf", "叶"),
    "not_sequenced": ("not in the tree yet", "尚未入树"),
    "times": ("{count} times", "{count}次"),
    "stage.with": ("{act}: {stage}", "{act}：{stage}"),
    "revision.with": ("{act} (revision {number})", "{act}（第{number}版）"),
    # 4. Register
    "register": ("The register as it was", "当时的登记情况"),
    "register.told": (
        "As the register stood when the pack was made. What a revision saw is bound to that revision’s hash and told with it.",
        "证据包生成时的登记情况。各版本当时所见内容由该版本的哈希绑定，并在该版本处列明。",
    ),
    "facts": ("Facts", "事实"),
    "datasets": ("Datasets", "数据集"),
    "datasets.none": ("No dataset is in the pack.", "证据包中没有数据集。"),
    "dataset": ("Dataset", "数据集"),
    "tags": ("Tags", "分级标签"),
    "grading": ("Grading", "分级"),
    "grading.number": ("no. {number}", "第{number}次"),
    "fields": ("Fields", "字段"),
    "ungraded": ("not graded", "未分级"),
    "general": ("general data", "一般数据"),
    "gradings": ("Gradings", "分级记录"),
    "basis": ("Basis", "依据"),
    "state": ("State", "状态"),
    "graded_by": ("Graded by", "分级人"),
    "confirmed_by": ("confirmed by {actor}", "由{actor}确认"),
    "recipients": ("Overseas recipients", "境外接收方"),
    "recipients.none": ("No recipient is in the pack.", "证据包中没有接收方。"),
    "recipient": ("Recipient", "接收方"),
    "country": ("Country or region", "国家或者地区"),
    "type": ("Kind", "类型"),
    # 5. Requests and determinations
    "requests": ("Requests and what the law asked for", "申请与法律要求"),
    "requests.none": ("No request is in the pack.", "证据包中没有申请。"),
    "request": ("Request {label}: {purpose}", "申请{label}：{purpose}"),
    "status": ("Status", "状态"),
    "requester": ("Requested by", "申请人"),
    "created": ("Written down", "创建时间"),
    "revisions.none": ("It was never submitted: no revision, no determination.", "从未提交，没有版本，也没有判定。"),
    "revision": ("Revision {number}", "第{number}版"),
    "revision.of": ("{label}, revision {number}", "{label}，第{number}版"),
    "hash": ("Hash", "哈希"),
    "submitted": ("Submitted", "提交"),
    "by": ("{at} by {actor}", "{at}，{actor}"),
    "purpose": ("Purpose", "目的"),
    "description": ("Description", "说明"),
    "persons": ("Persons", "人数"),
    "persons.told": (
        "{persons}, of them {sensitive} with sensitive information",
        "{persons}人，其中敏感个人信息{sensitive}人",
    ),
    "method": ("Method", "方式"),
    "legal_basis": ("Legal basis", "合法性基础"),
    "necessity": ("Claimed necessity", "主张的必要情形"),
    "route": ("Route", "路径"),
    "validity": ("Days", "有效期间"),
    "systems": ("Systems", "系统"),
    "seen.datasets": ("Datasets as submitted", "提交时的数据集"),
    "before": ("The year before it", "此前年度累计"),
    "asked": ("What the law asked for", "法律要求"),
    "asked.as_of": ("Law of {day}", "适用{day}的法律"),
    "same_as": (
        "The determination is the same as for revision {number}, letter by letter.",
        "判定与第{number}版逐字相同。",
    ),
    "requirements": ("Requirements", "要求"),
    "rule": ("Rule", "规则"),
    "mechanism": ("Mechanism", "机制"),
    "exemption": ("Exemption", "豁免情形"),
    "routes": ("Routes", "可选路径"),
    "citations": ("Articles", "条款"),
    "obligations": ("Obligations", "义务"),
    "papers_asked": ("Evidence asked for", "所需材料"),
    "warnings": ("Warnings", "提示"),
    "text": ("Text", "内容"),
    "rules_version": ("Hash of the law data: {hash}", "法律数据哈希：{hash}"),
    "policy_version": ("Hash of the company’s own rules: {hash}", "公司制度哈希：{hash}"),
    # 6. Reviews
    "reviews": ("Reviews", "审批"),
    "reviews.told": (
        "Who decided on which stage. A decision is bound to the hash of the revision that was seen.",
        "各阶段由何人作出决定。每项决定均绑定其所审阅版本的哈希。",
    ),
    "reviews.none": ("Nobody has decided on anything.", "尚无任何审批决定。"),
    "stage": ("Stage", "阶段"),
    "decision": ("Decision", "决定"),
    "reviewer": ("Reviewer", "审批人"),
    "when": ("When", "时间"),
    "bound": ("Bound to", "绑定版本"),
    "bound.yes": ("this revision", "本版本"),
    "bound.no": ("another hash", "其他哈希"),
    "on_behalf": ("on behalf of {actor}", "代{actor}"),
    "carried": ("carried over", "沿用先前批准"),
    "taken_back": ("taken back {at}", "{at}撤回"),
    "conditions": ("with conditions: {conditions}", "附条件：{conditions}"),
    "open_stages": ("Stages without a decision: {stages}.", "尚无决定的阶段：{stages}。"),
    # 7. Evidence
    "evidence": ("Evidence", "材料"),
    "evidence.told": (
        "The papers on record. A file in the pack is named by its SHA-256; the same bytes have the same name.",
        "已登记的材料。证据包中的文件以其 SHA-256 命名，相同内容名称相同。",
    ),
    "evidence.none": ("No paper is on record.", "没有登记材料。"),
    "paper": ("Paper", "材料"),
    "issuer": ("Issued by", "出具方"),
    "days": ("Days", "日期"),
    "issued_on": ("issued {day}", "出具：{day}"),
    "until": ("until {day}", "有效期至{day}"),
    "no_end": ("no stated end", "未载明期限"),
    "file": ("File", "文件"),
    "no_file": ("no file", "无文件"),
    "bytes": ("{size} bytes", "{size}字节"),
    "verified": ("verified by {actor}, {at}", "由{actor}核实，{at}"),
    "unverified": ("not verified", "未核实"),
    "ended": ("ended {at}", "{at}失效"),
    "replaced": ("replaced by {by}", "由{by}替换"),
    # 8. Permits
    "permits": ("Permits", "许可"),
    "permits.none": ("No permit was issued.", "未签发许可。"),
    "permit": ("Permit {label}", "许可{label}"),
    "id": ("Id", "编号"),
    "approved_revision": ("Approved revision", "批准的版本"),
    "issued": ("Issued", "签发时间"),
    "allowed": ("Allowed", "许可人数"),
    "sent": ("Reported as sent", "报告已提供"),
    "rests_on": ("Rests on", "所依据材料"),
    "supersedes": ("Follows", "承接"),
    "superseded_by": ("Followed by", "由其承接"),
    "exports_in_period": ("Exports in the period", "期间内出境次数"),
    "every_system": ("every exporter of the handler", "该数据处理者的全部出境系统"),
    # 9. Exports
    "exports": ("Exports by month", "按月汇总的出境情况"),
    "exports.told": (
        "Added up by permit, dataset, recipient and month. The same person may count several times; the ledger tells how the year’s count is kept.",
        "按许可、数据集、接收方和月份汇总。同一人可能多次计入；年度累计的计算见台账。",
    ),
    "exports.none": ("No export was asked for in the period.", "期间内没有出境请求。"),
    "exports.of": ("Exports under permit {label}", "许可{label}之下的出境"),
    "exports.free": ("Exports that needed no permit, and asks without one", "无需许可的出境，以及无许可的请求"),
    "month": ("Month", "月份"),
    "from_to": ("From and to", "自何处至何处"),
    "number": ("Exports", "次数"),
    "completed": ("Completed", "完成"),
    "refused": ("Refused", "拒绝"),
    "sum": ("Sum", "合计"),
    "sensitive": ("Sensitive", "敏感个人信息"),
    # 10. Ledger
    "ledger": ("The year’s count against the law’s lines", "年度累计与法定门槛"),
    "ledger.told": (
        "Persons whom the handler has exported in a calendar year (China Standard Time), beside the lines of the law of {day}. Reaching a line asks for a stricter mechanism.",
        "数据处理者在各自然年度（北京时间）累计向境外提供的人数，与{day}适用的法定门槛对照。达到门槛即适用更严格的机制。",
    ),
    "ledger.none": ("No year has a count.", "没有年度累计。"),
    "year": ("Year", "年度"),
    "line": ("Line", "门槛"),
    "count": ("Count", "累计"),
    "share": ("Share", "占比"),
    "reached": ("reached", "已达到"),
    "below": ("below", "未达到"),
    "ledger.alt": (
        "Bars of the counts of {years}; the table below holds the same numbers.",
        "{years}年度累计的条形图，下表载有相同数字。",
    ),
    "line.assessment_persons": ("security assessment, persons", "安全评估（个人信息）"),
    "line.assessment_sensitive_persons": ("security assessment, sensitive information", "安全评估（敏感个人信息）"),
    "line.contract_persons": ("standard contract, persons", "标准合同或者认证（个人信息）"),
    "line.contract_sensitive_persons": ("standard contract, sensitive information", "标准合同或者认证（敏感个人信息）"),
    # 11. Law
    "law": ("Instruments cited", "引用的法律文件"),
    "law.none": ("No article is cited.", "未引用条款。"),
    "law.told": (
        "The instruments by the short names that this report uses, with the articles that it cites.",
        "本报告所用简称对应的法律文件及所引条款。",
    ),
    "instrument": ("Instrument", "文件"),
    "short": ("Short name", "简称"),
    "in_force": ("In force since", "施行日期"),
    "articles": ("Articles cited", "引用条款"),
    "company_rules": ("The company’s own rules", "公司自行制定的规则"),
    # 12. Verify
    "verify": ("How to verify", "如何核验"),
    "verify.told": (
        "Needs the pack, Python and the program’s file, but no network, no database and no trust in whoever made the pack.",
        "只需证据包、Python 和核验程序文件；无须网络、数据库，也无须信任制作方。",
    ),
    "verify.1": (
        "Get the verifier from a source that you trust, not from the handler’s server: the program is open and small enough to read.",
        "从您信任的来源取得核验程序，而不是从数据处理者的服务器取得；程序公开，短小可读。",
    ),
    "verify.2": (
        "Run it on the pack, on a machine without a network if you like:",
        "对证据包运行该程序，可在断网的计算机上进行：",
    ),
    "verify.3": (
        "It checks hashes, signatures, proofs, that each review is bound to its revision, that duties were kept apart, that each permit stood when it was used, and that the law of the day gives the stored determination. It says a verdict for each claim and ends with code 0 only if all hold.",
        "程序核验哈希、签名、证明、每项审批是否绑定其版本、职责是否分离、每项许可在使用时是否有效，以及当日法律是否得出所存判定。程序逐项给出结论，全部成立时退出码方为 0。",
    ),
    "verify.4": (
        "Compare the checkpoint below with one that you have from elsewhere, a witness or an earlier visit: the log may only have grown since.",
        "将下列检查点与您从其他途径（见证方或者此前的检查）取得的检查点比较：此后日志只应增长。",
    ),
    "verify.5": (
        "Compare the verifier key with the one that the handler published. Whoever holds another key has another log.",
        "将验证公钥与数据处理者公布的公钥比较。公钥不同，日志即不同。",
    ),
    "log": ("The log", "日志"),
    "origin": ("Origin", "来源标识"),
    "size": ("Size", "大小"),
    "signed": ("Signed", "签署时间"),
    "vkeys": ("Verifier keys", "验证公钥"),
    "note": ("The signed note", "签名检查点原文"),
    "held": ("What the pack holds", "证据包所含内容"),
    "held.thing": ("What", "内容"),
    "held.count": ("How many", "数量"),
    "held.datasets": ("datasets", "数据集"),
    "held.transfers": ("requests", "申请"),
    "held.revisions": ("revisions", "版本"),
    "held.reviews": ("reviews", "审批决定"),
    "held.evidence": ("papers", "材料"),
    "held.permits": ("permits", "许可"),
    "held.exports": ("exports", "出境"),
    "held.refused": ("refused asks", "拒绝的请求"),
    "held.entries": ("log entries", "日志记录"),
    "held.entries_withheld": ("of these by hash alone", "其中仅收录哈希"),
    "held.entries_waiting": ("entries that came too late for the tree", "尚未入树而未收录的记录"),
    # People
    "actor.person": ("a person ({id})", "人员（{id}）"),
    "actor.system": ("system {name}", "系统{name}"),
    "actor.operator": ("the operator", "运维人员"),
    # Closed vocabularies; what is not here is shown as it is.
    "status.draft": ("draft", "草稿"),
    "status.in_review": ("in review", "审批中"),
    "status.approved": ("approved", "已批准"),
    "status.rejected": ("rejected", "已驳回"),
    "status.returned": ("returned", "已退回"),
    "status.withdrawn": ("withdrawn", "已撤回"),
    "status.expired": ("expired", "已到期"),
    "status.active": ("active", "有效"),
    "status.suspended": ("suspended", "已暂停"),
    "status.revoked": ("revoked", "已撤销"),
    "status.exhausted": ("exhausted", "额度已用尽"),
    "status.effective": ("effective", "生效"),
    "status.pending": ("pending", "待确认"),
    "status.superseded": ("superseded", "已被取代"),
    "status.waiting": ("waiting", "等待"),
    "status.open": ("open", "进行中"),
    "stage.data_owner": ("data owner", "数据所有者"),
    "stage.privacy": ("privacy", "隐私"),
    "stage.legal": ("legal", "法务"),
    "stage.security": ("security", "安全"),
    "stage.executive": ("executive", "管理层"),
    "decision.approve": ("approved", "批准"),
    "decision.return": ("returned", "退回"),
    "decision.reject": ("rejected", "驳回"),
    "method.transmission": ("transmission", "传输"),
    "method.remote_access": ("remote access", "远程访问"),
    "method.overseas_collection": ("collection from abroad", "境外直接收集"),
    "basis.consent": ("consent", "同意"),
    "basis.contract": ("contract", "合同所必需"),
    "basis.hr": ("human resources", "人力资源管理所必需"),
    "basis.statutory_duty": ("statutory duty", "履行法定职责或者义务"),
    "basis.emergency": ("emergency", "紧急情况"),
    "basis.public_interest": ("public interest", "公共利益"),
    "basis.disclosed_by_person": ("disclosed by the person", "个人自行公开"),
    "route.state_approval": ("state approval", "国家批准"),
    "route.authority_approval": ("approval of the authority", "主管机关批准"),
    "route.security_assessment": ("security assessment", "安全评估"),
    "route.standard_contract": ("standard contract", "标准合同"),
    "route.certification": ("certification", "认证"),
    "route.gba_standard_contract": ("Greater Bay Area standard contract", "粤港澳大湾区标准合同"),
    "exemption.small_volume": ("small volume", "数量较少"),
    "exemption.general_data": ("general data", "一般数据"),
    "exemption.foreign_origin": ("foreign origin", "境外来源"),
    "exemption.contract": ("contract", "合同所必需"),
    "exemption.hr": ("human resources", "人力资源管理所必需"),
    "exemption.emergency": ("emergency", "紧急情况"),
    "exemption.statutory_duty": ("statutory duty", "履行法定职责或者义务"),
    "exemption.not_in_force": ("the law not yet in force", "法律尚未施行"),
    "exemption.ftz_unlisted": ("outside the free-trade zone’s negative list", "自贸区负面清单之外"),
    "recipient.company": ("company", "公司"),
    "recipient.affiliate": ("affiliate", "关联公司"),
    "recipient.public_body": ("public body", "公共机构"),
    "recipient.judicial_or_enforcement": ("judicial or enforcement body", "司法或者执法机构"),
    "fact.ciio": ("critical information infrastructure operator", "关键信息基础设施运营者"),
    "fact.pi_subjects": ("persons whose information it handles", "处理个人信息的人数"),
    "fact.in_ftz": ("in a free-trade zone", "位于自贸区"),
    "fact.in_gba": ("in the Greater Bay Area", "位于粤港澳大湾区"),
    "fact.listing_abroad": ("plans a listing abroad", "拟赴国外上市"),
    "fact.platform_users": ("users of its platform", "平台用户数"),
    "fact.origin": ("origin", "来源"),
    "fact.domestic_data_added": ("domestic data added", "引入境内数据"),
    "fact.ftz_list": ("free-trade zone’s negative list", "自贸区负面清单"),
    "fact.contains_minors": ("contains minors under 14", "含不满十四周岁未成年人信息"),
    "fact.restricted": ("on the restricted list", "列入限制清单"),
    "value.domestic": ("domestic", "境内"),
    "value.foreign": ("foreign", "境外"),
    "value.listed": ("listed", "清单之内"),
    "value.unlisted": ("not listed", "清单之外"),
    "condition.persons": ("persons", "人数"),
    "condition.sensitive_persons": ("persons with sensitive information", "敏感个人信息人数"),
    "condition.fields": ("fields", "字段"),
    "condition.systems": ("systems", "系统"),
    "condition.valid_until": ("last day", "截止日"),
    "condition.recipients": ("recipients", "接收方"),
    "condition.valid_days": ("days of validity", "有效天数"),
    "condition.terms": ("terms", "条款"),
    "act.handler.created": ("Handler registered", "登记数据处理者"),
    "act.handler.changed": ("Handler’s record changed", "变更数据处理者登记"),
    "act.handler.person_key_made": ("Key for persons by hash made", "生成人员哈希密钥"),
    "act.dataset.created": ("Dataset registered", "登记数据集"),
    "act.dataset.changed": ("Dataset’s record changed", "变更数据集登记"),
    "act.dataset.graded": ("Dataset graded", "数据集分级"),
    "act.dataset.grading_confirmed": ("Grading confirmed", "确认分级"),
    "act.recipient.created": ("Recipient registered", "登记接收方"),
    "act.recipient.changed": ("Recipient’s record changed", "变更接收方登记"),
    "act.transfer.created": ("Request written down", "创建申请"),
    "act.transfer.changed": ("Request changed", "修改申请"),
    "act.transfer.submitted": ("Request submitted", "提交申请"),
    "act.transfer.reviewed": ("Decision", "审批决定"),
    "act.transfer.approval_taken_back": ("Approval taken back", "撤回批准"),
    "act.transfer.commented": ("Comment written", "添加意见"),
    "act.transfer.evidence_added": ("Evidence added", "添加材料"),
    "act.transfer.evidence_replaced": ("Evidence replaced", "替换材料"),
    "act.transfer.evidence_verified": ("Evidence verified", "核实材料"),
    "act.transfer.evidence_withdrawn": ("Evidence withdrawn", "撤回材料"),
    "act.transfer.recused": ("Reviewer stood back", "审批人员回避"),
    "act.transfer.renewal_begun": ("Renewal begun", "发起续期"),
    "act.transfer.terms_accepted": ("Conditions accepted", "接受附带条件"),
    "act.transfer.withdrawn": ("Request withdrawn", "撤回申请"),
    "act.stage.opened": ("Stage opened", "阶段开启"),
    "act.stage.assigned": ("Stage assigned", "阶段指派"),
    "act.stage.overdue": ("Stage overdue", "阶段逾期"),
    "act.permit.issued": ("Permit issued", "签发许可"),
    "act.permit.suspended": ("Permit suspended", "暂停许可"),
    "act.permit.resumed": ("Permit resumed", "恢复许可"),
    "act.permit.revoked": ("Permit revoked", "撤销许可"),
    "act.permit.superseded": ("Permit superseded", "许可被承接"),
    "act.permit.amended": ("Permit narrowed", "收窄许可"),
    "act.permit.evidence_replaced": ("Permit’s evidence replaced", "替换许可所依据材料"),
    "act.obligation.opened": ("Duty opened", "产生义务"),
    "act.obligation.reopened": ("Duty reopened", "义务重新开启"),
    "act.obligation.done": ("Duty done", "履行义务"),
    "act.obligation.void": ("Duty void", "义务失效"),
    "act.obligation.assigned": ("Duty assigned", "义务指派"),
    "act.finding.opened": ("Finding: requests that may belong together", "发现疑似拆分申请"),
    "act.finding.answered": ("Finding answered", "答复发现"),
    "act.export.refused": ("Export refused", "拒绝出境"),
    "act.export.reserved": ("Export reserved", "预留出境"),
    "act.export.completed": ("Export completed", "完成出境"),
    "act.export.cancelled": ("Export cancelled", "取消出境"),
    "act.export.reported_late": ("Export reported late", "逾期报告出境"),
    "act.gate.evaluated": ("Question answered", "判定请求"),
    "act.gate.searched": ("Search", "检索"),
    "act.ledger.rebuilt": ("Ledger rebuilt", "重建台账"),
}

_STOPS: Final = {"list": (", ", "、"), "part": ("; ", "；"), "pair": (": ", "："), "round": (" ({})", "（{}）")}


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language, by its place in `LANGUAGES`."""

    language: int

    def __call__(self, key: str, **values: Any) -> str:
        """Return a text with its values set in.

        Raises:
            KeyError: there is no such text, or a value is missing.
        """
        return TEXTS[key][self.language].format(**values)

    def of(self, vocabulary: str, value: object) -> str:
        """Return the word for a value of a closed vocabulary; the value itself where it has no word."""
        told = TEXTS.get(f"{vocabulary}.{value}")
        return str(value) if told is None else told[self.language]

    def listed(self, items: "list[str] | tuple[str, ...]") -> str:
        """Return them as a list in a sentence; `none` where there is nothing."""
        return _STOPS["list"][self.language].join(items) if items else self("none")

    def parts(self, items: "list[str] | tuple[str, ...]") -> str:
        """Return them as parts of a sentence; `none` where there is nothing."""
        return _STOPS["part"][self.language].join(items) if items else self("none")

    def pair(self, name: str, value: str) -> str:
        """Return a name with its value."""
        return f"{name}{_STOPS['pair'][self.language]}{value}"

    def aside(self, text: str, more: str) -> str:
        """Return a text with more in brackets."""
        return text + _STOPS["round"][self.language].format(more)


def whole(number: int) -> str:
    """Return a number with its thousands apart."""
    return f"{number:,}"


def day(value: date) -> str:
    """Return a day."""
    return value.isoformat()


def moment(value: datetime) -> str:
    """Return a moment in UTC, to the minute."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def second(value: datetime) -> str:
    """Return a moment in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def in_china(value: datetime) -> str:
    """Return a moment in China Standard Time, to the second."""
    return value.astimezone(_SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
