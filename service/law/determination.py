"""Determines the requirements of the law: a pure function of the facts and the rule book.

Step A decides if an export takes place. Step B adds the restrictions in force, Step C the first mechanism that applies, and Step D
obligations, evidence, warnings and exposure. Each rule cites its articles in `data/rules.toml`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol

from service.law.facts import Count, Facts, Route, Tag
from service.law.mechanisms import Mechanism
from service.law.policy import Situation
from service.law.rule_book import Citation, Edition, LawItem, Rule, RuleBook
from service.law.stages import Stage


@dataclass(frozen=True, slots=True)
class Requirement:
    """Requirement of the law, with the routes by which it can be met."""

    rule: str
    mechanism: Mechanism
    routes: tuple[Route, ...]
    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """Obligation, kind of evidence, warning or exposure, by its code."""

    code: str
    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class Headroom:
    """Most persons that can be added to this transfer without a stricter mechanism; None: any number."""

    persons: int | None
    sensitive_persons: int | None


@dataclass(frozen=True, slots=True)
class Determination:
    """Requirements of the law on a day. `explanation.render_determination` adds the texts."""

    as_of: date
    mechanism: Mechanism
    exemption: str | None
    requirements: tuple[Requirement, ...]
    counts_toward_ledger: bool
    obligations: tuple[Item, ...]
    evidence: tuple[Item, ...]
    warnings: tuple[Item, ...]
    headroom: Headroom
    exposure: tuple[Item, ...]
    rules_version: str
    step_exemption: str | None = None
    """Exemption of Step C, even if a restriction of Step B makes the mechanism stricter."""
    policy: str | None = None
    """Hash of the company's policy that was applied."""
    stages: tuple[Stage, ...] = ()
    """Stages of approval that the company's policy adds."""

    @property
    def evidence_kinds(self) -> frozenset[str]:
        """Kinds of evidence that the law requires, without those of the company's policy."""
        return frozenset(item.code for item in self.evidence if item.citations[0].instrument != POLICY_INSTRUMENT)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes of the strictest requirement."""
        return next((r.routes for r in self.requirements if r.mechanism is self.mechanism), ())


class State:
    """Facts and intermediate results of a determination; the conditions of the rules read them."""

    __slots__ = (
        "edition",
        "exemption",
        "facts",
        "mechanisms",
        "obligations",
        "offered",
        "persons",
        "routes",
        "routes_missing",
        "sensitive_persons",
    )

    def __init__(self, facts: Facts, edition: Edition, more: Count = Count()) -> None:  # noqa: B008 - immutable
        # CBDF 7, 8: the year's count includes this transfer.
        self.facts = facts
        self.edition = edition
        self.persons = facts.ledger.this_year.persons + facts.transfer.persons + more.persons
        self.sensitive_persons = (
            facts.ledger.this_year.sensitive_persons + facts.transfer.sensitive_persons + more.sensitive_persons
        )
        self.exemption: str | None = None
        self.mechanisms: set[str] = set()
        self.routes: set[str] = set()
        self.offered: set[str] = set()
        self.obligations: set[str] = set()
        self.routes_missing = False


def determine(facts: Facts, book: RuleBook, route: Route | None = None) -> Determination:
    """Determine the requirements of the law on the day of the facts.

    Args:
        facts: facts without faults (see `facts.find_faults`); personal data without persons is accepted.
        book: the rule book.
        route: the route that the requester chose for `standard_contract_or_certification`; None: the first one offered.

    Example:
        facts = Facts(
            date(2026, 1, 5),
            HandlerFacts(ciio=False),
            DatasetFacts(tags=frozenset({Tag.PERSONAL})),
            RecipientFacts(country="SG"),
            TransferFacts(persons=5_000),
        )
        determination = determine(facts, load_rule_book(None))
        assert determination.exemption == "small_volume"
    """
    edition = book.edition(facts.as_of)
    state = State(facts, edition)
    border = next((rule for rule in edition.border if rule.holds(state)), None)
    if border is not None:
        return _determine_inside(facts, border, book)
    chosen = _select_rules(state)
    requirements = (*(_requirement(rule, state, route) for rule in chosen), *_policy_prohibitions(facts, chosen, book))
    mechanism = max((requirement.mechanism for requirement in requirements), key=lambda m: m.strictness)
    state.mechanisms = {str(requirement.mechanism) for requirement in requirements}
    obligations = _items(edition.obligations, state)
    state.obligations = {item.code for item in obligations}
    evidence = _items(edition.evidence, state)
    policy_evidence = _policy_evidence(facts, state.mechanisms, book)
    return Determination(
        as_of=facts.as_of,
        mechanism=mechanism,
        exemption=state.exemption if mechanism is Mechanism.EXEMPT else None,
        requirements=requirements,
        counts_toward_ledger=facts.dataset.is_personal and state.exemption in {None, "small_volume"},
        obligations=obligations,
        evidence=(
            *evidence,
            *(item for item in policy_evidence if item.code not in {required.code for required in evidence}),
        ),
        warnings=_items(edition.warnings, state),
        headroom=_headroom(facts, edition, mechanism.strictness),
        exposure=_items(edition.exposure, state),
        rules_version=book.version,
        step_exemption=state.exemption,
        policy=None if book.policy is None else book.policy.hash,
        stages=() if book.policy is None else book.policy.stages_in(_situation(facts, state.mechanisms)),
    )


POLICY_INSTRUMENT: Final = "POLICY"
"""Instrument code under which the company's policy is cited."""


def _situation(facts: Facts, mechanisms: Iterable[str]) -> Situation:
    return Situation.of(mechanisms, facts.dataset.tags, facts.recipient.country, facts.recipient.key)


def _policy_prohibitions(facts: Facts, chosen: Iterable[Rule], book: RuleBook) -> tuple[Requirement, ...]:
    """Return the prohibitions of the company's policy as requirements."""
    if book.policy is None:
        return ()
    prohibitions = book.policy.prohibitions_in(_situation(facts, [rule.mechanism for rule in chosen]))
    return tuple(
        Requirement(
            f"policy-bar:{prohibition.id}", Mechanism.PROHIBITED, (), (Citation(POLICY_INSTRUMENT, prohibition.id),)
        )
        for prohibition in prohibitions
    )


def _policy_evidence(facts: Facts, mechanisms: Iterable[str], book: RuleBook) -> tuple[Item, ...]:
    """Return the evidence that the company's policy requires."""
    if book.policy is None:
        return ()
    evidence = book.policy.evidence_in(_situation(facts, mechanisms))
    return tuple(Item(item.kind, (Citation(POLICY_INSTRUMENT, item.kind),)) for item in evidence)


def _determine_inside(facts: Facts, border: Rule, book: RuleBook) -> Determination:
    """Return the determination of Step A: no export, and no further requirement."""
    return Determination(
        as_of=facts.as_of,
        mechanism=border.mechanism,
        exemption=None,
        requirements=(),
        counts_toward_ledger=False,
        obligations=(),
        evidence=(),
        warnings=(),
        headroom=Headroom(None, None),
        exposure=(),
        rules_version=book.version,
        policy=None if book.policy is None else book.policy.hash,
    )


def _select_rules(state: State) -> list[Rule]:
    """Select the rules of Steps B and C: all restrictions that hold, then the first mechanism; core data has no mechanism."""
    chosen = [rule for rule in state.edition.restrictions if rule.holds(state)]
    if Tag.CORE not in state.facts.dataset.tags:
        mechanism = next(rule for rule in state.edition.mechanisms if rule.holds(state))
        state.exemption = mechanism.exemption
        chosen.append(mechanism)
    return chosen


def select_mechanism_rules(state: State) -> list[Rule]:
    """Select the rule of Step C alone; none for core data."""
    return [rule for rule in _select_rules(state) if rule.step == "mechanism"]


def _requirement(rule: Rule, state: State, route: Route | None) -> Requirement:
    offers = state.edition.offers.get(rule.mechanism, ())
    routes = tuple(offer.route for offer in offers if offer.holds(state))
    mechanism = rule.mechanism
    if mechanism is Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION:
        state.routes.update({route} if route in routes else routes[:1])
        state.offered.update({route} if route in routes else routes)
        state.routes_missing = not routes
    else:
        state.routes.update(routes)
    return Requirement(rule.id, mechanism, routes, rule.citations.select(state))


def _items(entries: tuple[LawItem, ...], state: State) -> tuple[Item, ...]:
    return tuple(Item(entry.code, entry.citations.select(state)) for entry in entries if entry.holds(state))


class HasRequirements(Protocol):
    """Value with requirements, such as a determination."""

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Requirements, all of which must be met."""


def _headroom(facts: Facts, edition: Edition, limit: int) -> Headroom:
    if not facts.dataset.is_personal:
        return Headroom(None, None)
    return Headroom(
        persons=_headroom_of_kind(facts, edition, limit, lambda n: Count(persons=n)),
        sensitive_persons=_headroom_of_kind(facts, edition, limit, lambda n: Count(sensitive_persons=n)),
    )


def _headroom_of_kind(facts: Facts, edition: Edition, limit: int, count_of: Callable[[int], Count]) -> int | None:
    """Return the most persons of a kind that can be added; the mechanism can only change at one of the day's limits."""
    now, one_more = State(facts, edition), State(facts, edition, count_of(1))
    steps = sorted(
        {
            volume_limit.least - volume_limit.measure(now)
            for volume_limit in edition.limits
            if volume_limit.measure(one_more) > volume_limit.measure(now) < volume_limit.least
        }
    )
    for step in steps:
        rules = select_mechanism_rules(State(facts, edition, count_of(step)))
        if any(rule.mechanism.strictness > limit for rule in rules):
            return step - 1
    return None


def covers(obtained: frozenset[Mechanism], law: HasRequirements) -> bool:
    """Return True if the obtained mechanisms meet all requirements of the law.

    A stricter mechanism of Step C serves for a freer one, and the approval of the state for any of them. A restriction of Step B must
    be obtained itself.

    Args:
        obtained: mechanisms of a permit's requirements.
        law: a determination or outcome.

    Example:
        determination = determine(facts, book)
        is_valid = covers(frozenset(Mechanism(name) for name in permit.requirements), determination)
    """
    strictest = max_strictness(obtained)
    return all(
        requirement.mechanism.strictness <= strictest
        if requirement.mechanism in _EXPORT_MECHANISMS
        else requirement.mechanism in obtained and requirement.mechanism is not Mechanism.PROHIBITED
        for requirement in law.requirements
    )


def max_strictness(obtained: frozenset[Mechanism]) -> int:
    """Return the highest strictness of Step C that the obtained mechanisms meet; -1 for none."""
    if Mechanism.STATE_APPROVAL in obtained:
        return Mechanism.SECURITY_ASSESSMENT.strictness
    return max((mechanism.strictness for mechanism in obtained if mechanism in _EXPORT_MECHANISMS), default=-1)


_EXPORT_MECHANISMS: Final = frozenset(
    {Mechanism.EXEMPT, Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION, Mechanism.SECURITY_ASSESSMENT}
)
