"""Plans the ways to make a transfer lawful, cheapest first: a pure function of the facts, the law and typical times.

A plan never divides a transfer to stay below a threshold (SCM art. 4).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from service.law.conditions import Limit
from service.law.determination import Determination, State, determine
from service.law.facts import Count, Facts, FtzList, LegalBasis, Necessity, Origin, Route, Tag, find_faults
from service.law.mechanisms import Mechanism
from service.law.rule_book import Edition, RuleBook
from service.transfers.workflow import stages_for

Words = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One fact that the plan makes another."""

    pointer: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """Lawful way, with its requirements."""

    code: str
    text: Words
    conditions: tuple[Words, ...]
    """Statements that must be true for the plan to be valid."""
    changes: tuple[Change, ...]
    facts: Facts
    determination: Determination
    route: Route | None
    stages: tuple[str, ...]
    working_days: int


NO_SPLITTING: Final[Words] = {
    "en": "The others are not sent at all: not by another transfer, handler of the group or recipient, and not later this year. "
    "Splitting a transfer to stay below a line is forbidden (SCM art. 4).",
    "zh": "其余人员的信息完全不出境：不得另行申请、由集团内其他处理者、向其他接收方或者在本年内另行出境。"
    "不得采取数量拆分手段规避（《标准合同办法》第四条）。",
}
_NO_MINORS: Final[Words] = {
    "en": "Nobody under 14 is in it: whatever is told of them is sensitive (PIPL art. 28).",
    "zh": "不含不满十四周岁未成年人的信息：其个人信息均属于敏感个人信息（《个人信息保护法》第二十八条）。",
}
_ANONYMOUS: Final[Words] = {
    "en": "Nobody can be identified from what is left, by anybody, and it cannot be undone (PIPL art. 4, 73).",
    "zh": "剩余信息无法识别特定自然人且不能复原（《个人信息保护法》第四条、第七十三条）。",
}
_NECESSITY: Final[Mapping[Necessity, Words]] = {
    Necessity.CONTRACT: {
        "en": "Every person and every field sent is needed to conclude or perform a contract with that very person. What is not needed "
        "for that is not in it and needs a way of its own.",
        "zh": "所提供的每个人、每个字段均为订立、履行个人作为一方当事人的合同所必需；超出部分须另行履行手续。",
    },
    Necessity.HR: {
        "en": "Only employees, and only what managing them across borders needs under lawful labour rules or a collective contract.",
        "zh": "仅限员工信息，且为依法制定的劳动规章制度或者集体合同实施跨境人力资源管理所必需。",
    },
    Necessity.EMERGENCY: {
        "en": "The life, health or property of a person is in danger now, and this is what protects it.",
        "zh": "紧急情况下为保护自然人的生命健康和财产安全所必需。",
    },
    Necessity.STATUTORY_DUTY: {
        "en": "A law or regulation of China itself obliges the handler to provide this.",
        "zh": "为履行法定职责或者法定义务所必需。",
    },
}
_ROUTES: Final[Mapping[Route, Words]] = {
    Route.STANDARD_CONTRACT: {
        "en": "Conclude the standard contract with the recipient and file it.",
        "zh": "与境外接收方订立标准合同并备案。",
    },
    Route.CERTIFICATION: {
        "en": "Have the export certified by an accredited body.",
        "zh": "通过专业机构的个人信息保护认证。",
    },
    Route.GBA_STANDARD_CONTRACT: {
        "en": "Conclude the standard contract of the Greater Bay Area and file it.",
        "zh": "订立粤港澳大湾区标准合同并备案。",
    },
    Route.SECURITY_ASSESSMENT: {
        "en": "Pass the security assessment of the national regulator.",
        "zh": "申报并通过国家网信部门组织的数据出境安全评估。",
    },
    Route.AUTHORITY_APPROVAL: {
        "en": "Obtain the approval of the competent authority for this one request.",
        "zh": "就该项请求取得主管机关批准。",
    },
    Route.STATE_APPROVAL: {"en": "Obtain the approval of the state.", "zh": "取得国家批准。"},
}
_AS_IT_IS: Final[Words] = {"en": "Send it as it is.", "zh": "按现有方案出境。"}


@dataclass(frozen=True, slots=True)
class _Way:
    """A change of the facts, before it is known what it leads to."""

    code: str
    text: Words
    facts: Facts
    changes: tuple[Change, ...]
    conditions: tuple[Words, ...] = ()
    days: int = 0


def plans(facts: Facts, book: RuleBook, times: Mapping[str, Mapping[str, int]]) -> tuple[Plan, ...]:
    """Return the lawful ways to make a transfer, in full or in part, cheapest first.

    A way with changes is listed only if its mechanism is less strict, or equally strict and faster, or if the unchanged facts are not
    lawful. The last way is always to keep the data inside.

    Args:
        facts: facts without faults.
        book: the law.
        times: typical working days by kind: `stages`, `evidence`, `changes`.
    """
    as_it_is = list(_planned(_Way("as_is", _AS_IT_IS, facts, ()), book, times))
    if facts.recipient.country == "CN":
        return tuple(as_it_is)
    least = min((plan.working_days for plan in as_it_is), default=None)
    requested = determine(facts, book).mechanism.strictness
    changed = [
        plan
        for way in _ways(facts, book, times["changes"])
        for plan in _planned(way, book, times)
        if least is None
        or plan.determination.mechanism.strictness < requested
        or (plan.determination.mechanism.strictness == requested and plan.working_days < least)
    ]
    inside = _planned(_inside(facts, times["changes"]), book, times)
    return (*sorted([*as_it_is, *changed], key=_cost), *inside)


def _cost(plan: Plan) -> tuple[int, int, int, str, str]:
    return (
        plan.working_days,
        plan.determination.mechanism.strictness,
        len(plan.changes),
        plan.code,
        plan.route or "",
    )


def _planned(way: _Way, book: RuleBook, times: Mapping[str, Mapping[str, int]]) -> Iterator[Plan]:
    """Return a plan for each route by which the facts of a way can be made lawful; none where they cannot."""
    if find_faults(way.facts):
        return  # such as sensitive data of which nobody's sensitive information would go
    law = determine(way.facts, book)
    if law.mechanism is Mechanism.PROHIBITED:
        return
    chosen = next((r for r in law.requirements if r.mechanism is Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION), None)
    routes: tuple[Route | None, ...] = (None,) if chosen is None else chosen.routes
    for route in routes:
        determination = determine(way.facts, book, route)
        stages = () if determination.mechanism is Mechanism.NOT_CROSS_BORDER else stages_for(determination)
        named = route or next(iter(determination.routes), None)
        yield Plan(
            code=way.code,
            text=_sentence(way.text, _instruments(determination, route)),
            conditions=way.conditions,
            changes=way.changes,
            facts=way.facts,
            determination=determination,
            route=named,
            stages=tuple(str(stage) for stage in stages),
            working_days=way.days + _days(determination, [str(stage) for stage in stages], times),
        )


def _instruments(law: Determination, route: Route | None) -> list[Route]:
    """Return the instruments that it takes, one for each requirement that has any."""
    return [
        route if route in requirement.routes else requirement.routes[0]
        for requirement in law.requirements
        if requirement.routes
    ]


def _sentence(text: Words, routes: Sequence[Route]) -> Words:
    return {
        "en": " ".join([text["en"], *(_ROUTES[route]["en"] for route in routes)]),
        "zh": "".join([text["zh"], *(_ROUTES[route]["zh"] for route in routes)]),
    }


def _days(law: Determination, stages: list[str], times: Mapping[str, Mapping[str, int]]) -> int:
    """Return typical working days: evidence is obtained in parallel, stages follow one another."""
    evidence_days = [days_for(times["evidence"], item.code) for item in law.evidence]
    return max(evidence_days, default=0) + sum(times["stages"][stage] for stage in stages)


def days_for(evidence_days: Mapping[str, int], kind: str) -> int:
    """Return the typical working days for a kind of evidence."""
    return evidence_days.get(kind, evidence_days["other"])


def _ways(facts: Facts, book: RuleBook, days: Mapping[str, int]) -> Iterator[_Way]:
    yield from _by_fields(facts, book, days)
    yield from _by_persons(facts, book, days, ())
    yield from _by_necessity(facts, book)
    yield from _by_origin(facts, days)


def _by_fields(facts: Facts, book: RuleBook, days: Mapping[str, int]) -> Iterator[_Way]:
    data, transfer = facts.dataset, facts.transfer
    if Tag.SENSITIVE in data.tags and not transfer.sensitive_left_out:
        tags = (data.tags - {Tag.SENSITIVE}) | {Tag.PERSONAL}
        persons = transfer.persons + transfer.sensitive_persons
        less = replace(
            facts,
            dataset=replace(data, tags=tags, contains_minors=False),
            transfer=replace(transfer, persons=persons, sensitive_persons=0, sensitive_left_out=False),
        )
        way = _Way(
            "drop_sensitive_fields",
            {"en": "Leave the sensitive fields out.", "zh": "去除敏感个人信息字段。"},
            less,
            (
                _tags(facts, less),
                Change("/transfer/persons", transfer.persons, persons),
                Change("/transfer/sensitive_persons", transfer.sensitive_persons, 0),
                *_without_minors(facts),
            ),
            (
                *((_NO_MINORS,) if data.contains_minors else ()),
                {
                    "en": "The fields that are left say nothing sensitive of anybody, alone or together (GBT-45574).",
                    "zh": "剩余字段单独或者组合均不属于敏感个人信息（GB/T 45574）。",
                },
            ),
            days["drop_sensitive_fields"],
        )
        yield way
        for fewer in _by_persons(less, book, days, way.changes):
            yield replace(
                fewer,
                code="drop_sensitive_fields+reduce_persons",
                text={language: way.text[language] + fewer.text[language] for language in ("zh",)}
                | {"en": f"{way.text['en']} {fewer.text['en']}"},
                conditions=(*way.conditions, *fewer.conditions),
                days=way.days + fewer.days,
            )
    if data.is_personal:
        tags = data.tags - {Tag.SENSITIVE, Tag.PERSONAL}
        nobody = replace(
            facts,
            dataset=replace(data, tags=tags, contains_minors=False),
            transfer=replace(transfer, persons=0, sensitive_persons=0, sensitive_left_out=False),
        )
        yield _Way(
            "drop_personal_fields",
            {"en": "Send figures about nobody: aggregated or anonymised.", "zh": "仅提供汇总或者匿名化后的数据。"},
            nobody,
            (
                _tags(facts, nobody),
                Change("/transfer/persons", transfer.persons, 0),
                Change("/transfer/sensitive_persons", transfer.sensitive_persons, 0),
                *_nothing_left_out(facts),
                *_without_minors(facts),
            ),
            (_ANONYMOUS,),
            days["drop_personal_fields"],
        )


def _by_persons(facts: Facts, book: RuleBook, days: Mapping[str, int], before: tuple[Change, ...]) -> Iterator[_Way]:
    """Send fewer persons, down to just below the lines of each rule that the count would reach: only if somebody is left."""
    edition = book.edition(facts.as_of)
    limits: tuple[Limit, ...] = ()
    for rule in edition.mechanisms:
        limits += rule.limits
        fewer = _below(facts, edition, limits) if rule.limits else None
        if fewer is None or fewer == facts:
            continue
        counts = [
            (kind, getattr(facts.transfer, kind), getattr(fewer.transfer, kind))
            for kind in _PERSONS
            if getattr(facts.transfer, kind) != getattr(fewer.transfer, kind)
        ]
        yield _Way(
            "reduce_persons",
            {
                "en": " ".join(
                    _PERSONS[kind]["en"].format(requested=requested, left=left) for kind, requested, left in counts
                )
                + " Only those whom the purpose needs.",
                "zh": "".join(
                    _PERSONS[kind]["zh"].format(requested=requested, left=left) for kind, requested, left in counts
                )
                + "仅限实现目的所必需的人员。",
            },
            fewer,
            (
                *(change for change in before if change.pointer not in {f"/transfer/{kind}" for kind, _, _ in counts}),
                *(_persons(before, kind, requested, left) for kind, requested, left in counts),
            ),
            (NO_SPLITTING,),
            days["reduce_persons"],
        )


_PERSONS: Final[Mapping[str, Words]] = {
    "persons": {
        "en": "Send {left:,} persons instead of {requested:,}.",
        "zh": "将人数由{requested}人减少至{left}人。",
    },
    "sensitive_persons": {
        "en": "Send {left:,} persons with sensitive information instead of {requested:,}.",
        "zh": "将敏感个人信息所涉人数由{requested}人减少至{left}人。",
    },
}


def _below(facts: Facts, edition: Edition, limits: Sequence[Limit]) -> Facts | None:
    """Return the facts with just so many persons fewer that no limit is met; None, where that cannot be or leaves nobody of a kind."""
    for limit in limits:
        over = limit.measure(State(facts, edition)) - limit.least + 1
        for kind in _PERSONS:
            requested = getattr(facts.transfer, kind)
            is_measured = limit.measure(State(facts, edition, Count(**{kind: 1}))) > limit.measure(
                State(facts, edition)
            )
            if over > 0 and requested > 0 and is_measured:
                if over >= requested:
                    return None
                facts = replace(facts, transfer=replace(facts.transfer, **{kind: requested - over}))
                over = 0
        if over > 0:
            return None
    return facts


def _persons(before: tuple[Change, ...], kind: str, requested: int, left: int) -> Change:
    """Return the change of a count, told from what was asked at first."""
    pointer = f"/transfer/{kind}"
    first = next((change.before for change in before if change.pointer == pointer), requested)
    return Change(pointer, first, left)


def _by_necessity(facts: Facts, book: RuleBook) -> Iterator[_Way]:
    if not facts.dataset.is_personal or facts.transfer.necessity is not None:
        return
    offered = book.edition(facts.as_of).exemptions
    for necessity, condition in _NECESSITY.items():
        if necessity not in offered:
            continue
        basis = LegalBasis(necessity.value)
        claimed = replace(facts, transfer=replace(facts.transfer, necessity=necessity, legal_basis=basis))
        if determine(claimed, book).step_exemption != necessity:
            continue
        yield _Way(
            f"claim_necessity:{necessity}",
            {
                "en": f"Split off what is necessary ({necessity}), claim the exemption for it, and send no more than that under it. "
                "Whatever goes beyond it takes another of these ways, with everybody in it counted.",
                "zh": f"将确属必要的部分（{necessity}）分出并就其主张豁免，且仅提供所必需的信息；"
                "超出部分须按其他途径办理，并全部计入累计人数。",
            },
            claimed,
            (
                Change("/transfer/necessity", None, necessity.value),
                *(
                    ()
                    if facts.transfer.legal_basis is basis
                    else (Change("/transfer/legal_basis", facts.transfer.legal_basis.value, basis.value),)
                ),
            ),
            (condition,),
        )


def _by_origin(facts: Facts, days: Mapping[str, int]) -> Iterator[_Way]:
    data = facts.dataset
    if facts.handler.in_ftz and data.ftz_list is None:
        yield _Way(
            "check_negative_list",
            {
                "en": "Check the zone's negative list and record that the data is not on it.",
                "zh": "核对自贸区负面清单并记录数据不在清单内。",
            },
            replace(facts, dataset=replace(data, ftz_list=FtzList.UNLISTED)),
            (Change("/dataset/ftz_list", None, FtzList.UNLISTED.value),),
            (
                {
                    "en": "The data is really not on the list of the zone in which the handler is registered (CBDF art. 6).",
                    "zh": "数据确实不在处理者注册所在自贸区的负面清单内（《促进和规范数据跨境流动规定》第六条）。",
                },
            ),
        )
    if data.origin is Origin.FOREIGN and data.domestic_data_added:
        yield _Way(
            "keep_domestic_data_out",
            {"en": "Process the foreign data without bringing domestic data in.", "zh": "处理过程中不引入境内数据。"},
            replace(facts, dataset=replace(data, domestic_data_added=False)),
            (Change("/dataset/domestic_data_added", before=True, after=False),),
            (
                {
                    "en": "No personal information or important data from inside is brought in at any step (CBDF art. 4).",
                    "zh": "处理过程中没有引入境内个人信息或者重要数据（《促进和规范数据跨境流动规定》第四条）。",
                },
            ),
            days["keep_domestic_data_out"],
        )


def _inside(facts: Facts, days: Mapping[str, int]) -> _Way:
    return _Way(
        "keep_inside",
        {
            "en": "Keep the data in mainland China: process it there, and let nobody abroad look at it.",
            "zh": "数据留在境内处理，不提供境外访问。",
        },
        replace(facts, recipient=replace(facts.recipient, country="CN")),
        (Change("/recipient/country", facts.recipient.country, "CN"),),
        (
            {
                "en": "Remote access from outside is an export too.",
                "zh": "境外远程访问同样属于数据出境。",
            },
        ),
        days["keep_inside"],
    )


def _nothing_left_out(before: Facts) -> tuple[Change, ...]:
    return (
        (Change("/transfer/sensitive_left_out", before=True, after=False),)
        if before.transfer.sensitive_left_out
        else ()
    )


def _without_minors(before: Facts) -> tuple[Change, ...]:
    return (Change("/dataset/contains_minors", before=True, after=False),) if before.dataset.contains_minors else ()


def _tags(before: Facts, after: Facts) -> Change:
    return Change("/dataset/tags", sorted(before.dataset.tags), sorted(after.dataset.tags))
