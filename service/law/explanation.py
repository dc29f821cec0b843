"""Renders determinations as JSON and as sentences in English and Chinese, with the deciding facts and the articles."""

import gettext
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import pycountry

from service.law.conditions import evaluate_measures
from service.law.determination import Determination, Item, State
from service.law.facts import Facts, Method, Tag
from service.law.mechanisms import Mechanism
from service.law.policy import Policy
from service.law.rule_book import Citation, Edition, LawItem, Rule, RuleBook

LANGUAGES: Final = ("en", "zh")
_CHINESE_COUNTRIES: Final = gettext.translation("iso3166-1", pycountry.LOCALES_DIR, languages=["zh_CN"], fallback=True)

_MECHANISMS: Final = {
    Mechanism.NOT_CROSS_BORDER: ("no mechanism, since nothing crosses the border", "无需履行数据出境手续"),
    Mechanism.EXEMPT: ("no mechanism; the transfer is exempt", "免予履行数据出境手续"),
    Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION: (
        "a filed standard contract or a certificate",
        "订立个人信息出境标准合同并备案，或者通过个人信息保护认证",
    ),
    Mechanism.SECURITY_ASSESSMENT: ("a security assessment by the regulator", "通过国家网信部门组织的数据出境安全评估"),
    Mechanism.AUTHORITY_APPROVAL: ("the approval of the competent authority", "取得主管机关批准"),
    Mechanism.STATE_APPROVAL: ("the approval of the state", "取得国家批准"),
    Mechanism.PROHIBITED: ("nothing that could allow it: the transfer is prohibited", "禁止出境"),
}
_METHODS: Final = {
    Method.TRANSMISSION: ("Data is sent to or stored in {place}", "数据传输至或者存储于{place}"),
    Method.REMOTE_ACCESS: (
        "Data stays in mainland China and is accessed from {place}, which is an export as well",
        "数据存储在境内，由{place}的机构远程访问，同样属于数据出境",
    ),
    Method.OVERSEAS_COLLECTION: (
        "Somebody in {place} handles the information of persons in mainland China, which counts as an export",
        "位于{place}的机构处理境内自然人的个人信息，视为数据出境",
    ),
}
_TAGS: Final = {
    Tag.CORE: ("core", "核心数据"),
    Tag.IMPORTANT: ("important", "重要数据"),
    Tag.PERSONAL: ("personal", "个人信息"),
    Tag.SENSITIVE: ("sensitive personal", "敏感个人信息"),
}
_CLOSING: Final = (
    "This states how the service reads the law; it is not legal advice.",
    "以上为本服务对法律规定的适用结果，不构成法律意见。",
)


def render_determination(facts: Facts, determination: Determination, book: RuleBook) -> dict[str, Any]:
    """Render the JSON of `POST /v1/determinations`: the determination with all of its texts.

    Example:
        document = render_determination(facts, determine(facts, book), book)
        print(document["mechanism"], document["explanation"]["en"])
    """
    edition = book.edition(facts.as_of)
    return {
        "as_of": determination.as_of.isoformat(),
        "mechanism": determination.mechanism.value,
        "exemption": determination.exemption,
        "counts_toward_ledger": determination.counts_toward_ledger,
        "requirements": [
            {
                "rule": requirement.rule,
                "mechanism": requirement.mechanism.value,
                "routes": [route.value for route in requirement.routes],
                "citations": _documents(requirement.citations),
            }
            for requirement in determination.requirements
        ],
        "obligations": _render_items(determination.obligations, edition.obligations),
        "evidence": _render_items(determination.evidence, edition.evidence, _policy_texts(book)),
        "warnings": _render_items(determination.warnings, edition.warnings),
        "headroom": asdict(determination.headroom),
        "exposure": [
            item | _fines(entry)
            for item in _render_items(determination.exposure, edition.exposure)
            for entry in edition.exposure
            if entry.code == item["code"]
        ],
        "explanation": explain(facts, determination, edition, book.policy),
        "rules_version": determination.rules_version,
        "policy": determination.policy,
        "policy_stages": [stage.value for stage in determination.stages],
    }


def _policy_texts(book: RuleBook) -> Mapping[str, Mapping[str, str]]:
    return {} if book.policy is None else {item.kind: item.text for item in book.policy.evidence}


def explain(
    facts: Facts, determination: Determination, edition: Edition, policy: Policy | None = None
) -> dict[str, str]:
    """Return sentences in both languages: the transfer, the deciding rules with numbers and articles, and the result."""
    return {
        language: _SENTENCE_ENDS[place].join(
            sentence.rstrip(".。") for sentence in _sentences(facts, determination, edition, policy, place)
        )
        + _STOPS[place]
        for place, language in enumerate(LANGUAGES)
    }


_SENTENCE_ENDS: Final = (". ", "。")
_STOPS: Final = (".", "。")


def _sentences(
    facts: Facts, determination: Determination, edition: Edition, policy: Policy | None, language: int
) -> Iterable[str]:
    yield _transfer_sentence(facts, language)
    if determination.mechanism is not Mechanism.NOT_CROSS_BORDER:
        yield _grading_sentence(facts, language)
    for rule, citations in _deciding_rules(determination, edition):
        yield _rule_sentence(rule, citations, facts, edition, language)
    if policy is not None:
        yield from _policy_sentences(determination, policy, edition, language)
    yield (f"The law asks for {_mechanism_phrase(determination, 0)}", f"结论：{_mechanism_phrase(determination, 1)}")[
        language
    ]
    if determination.mechanism is not Mechanism.NOT_CROSS_BORDER:
        yield from _ledger_sentences(determination, language)
    yield _CLOSING[language]


def _policy_sentences(determination: Determination, policy: Policy, edition: Edition, language: int) -> Iterable[str]:
    """Name the thresholds and prohibitions of the company's policy, so that nobody takes them for the law's."""
    for name in _lowered_thresholds(determination, edition):
        own, law = edition.thresholds[name], edition.law[name]
        yield (
            f"The line {name} is the company's own: {own:,}, where the law has {law:,}",
            f"门槛{name}为公司制度所定：{own}，法定为{law}",
        )[language]
    rules = {requirement.rule for requirement in determination.requirements}
    for prohibition in policy.prohibitions:
        if f"policy-bar:{prohibition.id}" in rules:
            text = prohibition.text[LANGUAGES[language]].rstrip(".。")
            yield (f"The company's policy bars this: {text}", f"公司制度禁止该出境：{text}")[language]
    yield (
        f"The company's own policy, which may be stricter than the law, is applied ({policy.hash[:15]}…)",
        f"已适用可能严于法律的公司制度（{policy.hash[:15]}…）",
    )[language]


def _lowered_thresholds(determination: Determination, edition: Edition) -> Iterable[str]:
    """Return the thresholds that deciding rules name and that the company's policy lowers."""
    texts = " ".join(rule.text["en"] for rule, _ in _deciding_rules(determination, edition))
    return [name for name, law in edition.law.items() if edition.thresholds[name] < law and f"{{{name}}}" in texts]


def _transfer_sentence(facts: Facts, language: int) -> str:
    place = country_name(facts.recipient.country, language)
    if facts.recipient.country == "CN":
        return (
            f"Law of {facts.as_of}. The recipient is in {place} (CN)",
            f"适用{facts.as_of}的法律。接收方位于{place}（CN）",
        )[language]
    method = _METHODS[facts.transfer.method][language].format(
        place=f"{place} ({facts.recipient.country})" if language == 0 else f"{place}（{facts.recipient.country}）"
    )
    return (f"Law of {facts.as_of}. {method}", f"适用{facts.as_of}的法律。{method}")[language]


def _grading_sentence(facts: Facts, language: int) -> str:
    tags = [_TAGS[tag][language] for tag in Tag if tag in facts.dataset.tags]
    transfer = facts.transfer
    if language == 0:
        graded = f"The data is tagged {', '.join(tags)}" if tags else "The data has no tag: it is general data"
        counts = (
            f"; it concerns {transfer.persons:,} persons and {transfer.sensitive_persons:,} with sensitive information"
            if not transfer.sensitive_left_out
            else f"; it concerns {transfer.persons:,} persons, and its sensitive fields are stated to be left out"
        )
    else:
        graded = f"数据标记为{'、'.join(tags)}" if tags else "数据无标记，属于一般数据"
        sensitive = f"、{transfer.sensitive_persons}人的敏感个人信息"
        counts = f"，涉及{transfer.persons}人的个人信息" + (
            "，并声明不提供敏感个人信息字段" if transfer.sensitive_left_out else sensitive
        )
    return graded + (counts if facts.dataset.is_personal else "")


def _deciding_rules(determination: Determination, edition: Edition) -> Iterable[tuple[Rule, Sequence[Citation]]]:
    if determination.mechanism is Mechanism.NOT_CROSS_BORDER:
        yield from ((rule, rule.citations.always) for rule in edition.border)
    rules = {rule.id: rule for rule in (*edition.restrictions, *edition.mechanisms)}
    for requirement in determination.requirements:
        if requirement.rule in rules:  # prohibitions of the policy have sentences of their own
            yield rules[requirement.rule], requirement.citations


def _rule_sentence(rule: Rule, citations: Sequence[Citation], facts: Facts, edition: Edition, language: int) -> str:
    numbers = {**edition.thresholds, **evaluate_measures(State(facts, edition))}
    formatted = {name: f"{value:,}" if language == 0 else str(value) for name, value in numbers.items()}
    sentence = rule.text["en" if language == 0 else "zh"].format(**formatted).rstrip(".。")
    if not citations:
        return sentence
    return sentence + (
        f" ({format_citations(citations, 0)})" if language == 0 else f"（{format_citations(citations, 1)}）"
    )


def format_citations(citations: Sequence[Citation], language: int) -> str:
    """Format citations for a sentence; `language` is an index of `LANGUAGES`."""

    def format_citation(citation: Citation) -> str:
        if citation.article is None:
            return citation.instrument
        return f"{citation.instrument}{(' art. ', '第')[language]}{citation.article}{('', '条')[language]}"

    return ("; ", "；")[language].join(format_citation(citation) for citation in citations)


def _mechanism_phrase(determination: Determination, language: int) -> str:
    return _MECHANISMS[determination.mechanism][language]


def _ledger_sentences(determination: Determination, language: int) -> Iterable[str]:
    if determination.counts_toward_ledger:
        yield ("These persons count toward the handler's total of the year", "上述人数计入该数据处理者的年度累计数量")[
            language
        ]


def country_name(code: str, language: int) -> str:
    """Return the name of a country by its ISO 3166-1 alpha-2 code, or an unknown code itself; `language` is an index of `LANGUAGES`."""
    entry = pycountry.countries.get(alpha_2=code)
    name = str(getattr(entry, "common_name", None) or getattr(entry, "name", code))
    return name if language == 0 else _CHINESE_COUNTRIES.gettext(name)


def mechanism_phrase(name: str, language: int) -> str:
    """Return the phrase for a mechanism's requirement; `language` is an index of `LANGUAGES`."""
    return _MECHANISMS[Mechanism(name)][language]


def tag_name(name: str, language: int) -> str:
    """Return the name of a tag; `language` is an index of `LANGUAGES`."""
    return _TAGS[Tag(name)][language]


def _render_items(
    items: Sequence[Item], entries: Sequence[LawItem], policy_texts: Mapping[str, Mapping[str, str]] | None = None
) -> list[dict[str, Any]]:
    texts: dict[str, Mapping[Any, str]] = {**(policy_texts or {}), **{entry.code: entry.text for entry in entries}}
    return [
        {"code": item.code, "citations": _documents(item.citations), "text": dict(texts[item.code])} for item in items
    ]


def _fines(entry: LawItem) -> dict[str, Any]:
    return {"company": entry.fines["company"], "person": entry.fines["person"]}


def _documents(citations: Sequence[Citation]) -> list[dict[str, str | None]]:
    return [citation.document() for citation in citations]
