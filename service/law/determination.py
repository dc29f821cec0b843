"""Determines what the law asks for: a pure function of the facts and the rule book.

Source: the procedure of LAW (steps A to D); each rule names its own articles in `data/rules.toml`.
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
    """One thing that the law asks for, and by which instruments it can be met."""

    rule: str
    mechanism: Mechanism
    routes: tuple[Route, ...]
    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """An obligation, a kind of evidence, a warning or an exposure, by its code."""

    code: str
    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class Headroom:
    """The most persons that can be added, beyond this transfer, without a stricter mechanism; None: any number."""

    persons: int | None
    sensitive_persons: int | None


@dataclass(frozen=True, slots=True)
class Determination:
    """What the law asks for on a day. Texts are added by `explanation.render_determination`."""

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
    """The exemption that Step C gave, also where a requirement of Step B makes the mechanism a stricter one."""
    policy: str | None = None
    """Hash of the company's own rules that were applied on top."""
    stages: tuple[Stage, ...] = ()
    """Stages of approval that the company's own rules add."""

    @property
    def papers(self) -> frozenset[str]:
        """The kinds of evidence that the law asks for, without what the company's own rules add."""
        return frozenset(item.code for item in self.evidence if item.citations[0].instrument != POLICY_INSTRUMENT)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes of the strictest requirement."""
        return next((r.routes for r in self.requirements if r.mechanism is self.mechanism), ())


class State:
    """What the conditions of the rules look at while a determination is made."""

    __slots__ = (
        "duties",
        "edition",
        "exemption",
        "facts",
        "mechanisms",
        "offered",
        "persons",
        "routes",
        "routes_missing",
        "sensitive_persons",
    )

    def __init__(self, facts: Facts, edition: Edition, more: Count = Count()) -> None:  # noqa: B008 - immutable
        # CBDF 7, 8: the year's count includes the transfer that is asked about.
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
        self.duties: set[str] = set()
        self.routes_missing = False


def determine(facts: Facts, book: RuleBook, route: Route | None = None) -> Determination:
    """Return what the law asks for.

    Args:
        facts: facts without faults (see `facts.find_faults`); personal data with no persons is taken as it is.
        book: the law data.
        route: the instrument that the requester chose for `standard_contract_or_certification`; the first offered, if None.
    """
    edition = book.edition(facts.as_of)
    state = State(facts, edition)
    border = next((rule for rule in edition.border if rule.holds(state)), None)
    if border is not None:
        return _determine_inside(facts, border, book)
    chosen = _select_rules(state)
    requirements = (*(_requirement(rule, state, route) for rule in chosen), *_policy_prohibitions(facts, chosen, book))
    mechanism = max((requirement.mechanism for requirement in requirements), key=lambda found: found.strictness)
    state.mechanisms = {str(requirement.mechanism) for requirement in requirements}
    obligations = _items(edition.obligations, state)
    state.duties = {item.code for item in obligations}
    evidence = _items(edition.evidence, state)
    wanted = _policy_evidence(facts, state.mechanisms, book)
    return Determination(
        as_of=facts.as_of,
        mechanism=mechanism,
        exemption=state.exemption if mechanism is Mechanism.EXEMPT else None,
        requirements=requirements,
        counts_toward_ledger=facts.dataset.is_personal and state.exemption in {None, "small_volume"},
        obligations=obligations,
        evidence=(*evidence, *(item for item in wanted if item.code not in {own.code for own in evidence})),
        warnings=_items(edition.warnings, state),
        headroom=_headroom(facts, edition, mechanism.strictness),
        exposure=_items(edition.exposure, state),
        rules_version=book.version,
        step_exemption=state.exemption,
        policy=None if book.policy is None else book.policy.hash,
        stages=() if book.policy is None else book.policy.stages_in(_situation(facts, state.mechanisms)),
    )


POLICY_INSTRUMENT: Final = "POLICY"
"""What the company's own rules are cited as."""


def _situation(facts: Facts, mechanisms: Iterable[str]) -> Situation:
    return Situation.of(mechanisms, facts.dataset.tags, facts.recipient.country, facts.recipient.key)


def _policy_prohibitions(facts: Facts, chosen: Iterable[Rule], book: RuleBook) -> tuple[Requirement, ...]:
    """The company's own bars: what it never sends there, whatever the law would allow."""
    if book.policy is None:
        return ()
    bars = book.policy.bars_in(_situation(facts, [rule.mechanism for rule in chosen]))
    return tuple(
        Requirement(f"policy-bar:{bar.id}", Mechanism.PROHIBITED, (), (Citation(POLICY_INSTRUMENT, bar.id),))
        for bar in bars
    )


def _policy_evidence(facts: Facts, mechanisms: Iterable[str], book: RuleBook) -> tuple[Item, ...]:
    """The evidence that the company itself wants."""
    if book.policy is None:
        return ()
    papers = book.policy.papers_in(_situation(facts, mechanisms))
    return tuple(Item(paper.kind, (Citation(POLICY_INSTRUMENT, paper.kind),)) for paper in papers)


def _determine_inside(facts: Facts, border: Rule, book: RuleBook) -> Determination:
    """Step A: nothing crosses the border, and nothing else is asked."""
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
    """Steps B and C: every bar that holds, then the first mechanism; core data asks for more than any mechanism gives."""
    chosen = [rule for rule in state.edition.bars if rule.holds(state)]
    if Tag.CORE not in state.facts.dataset.tags:
        found = next(rule for rule in state.edition.mechanisms if rule.holds(state))
        state.exemption = found.exemption
        chosen.append(found)
    return chosen


def select_mechanism_rules(state: State) -> list[Rule]:
    """Step C alone: the rule that says by which mechanism data may leave; none for core data."""
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
    return Requirement(rule.id, mechanism, routes, rule.cited.of(state))


def _items(entries: tuple[LawItem, ...], state: State) -> tuple[Item, ...]:
    return tuple(Item(entry.code, entry.cited.of(state)) for entry in entries if entry.holds(state))


class HasRequirements(Protocol):
    """Whatever says what is required."""

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """All of them must be met."""


def _headroom(facts: Facts, edition: Edition, limit: int) -> Headroom:
    if not facts.dataset.is_personal:
        return Headroom(None, None)
    return Headroom(
        persons=_headroom_of_kind(facts, edition, limit, lambda n: Count(persons=n)),
        sensitive_persons=_headroom_of_kind(facts, edition, limit, lambda n: Count(sensitive_persons=n)),
    )


def _headroom_of_kind(facts: Facts, edition: Edition, limit: int, counted: Callable[[int], Count]) -> int | None:
    """Return how many more can come: what is asked can only change where a count meets one of the day's limits."""
    now, one_more = State(facts, edition), State(facts, edition, counted(1))
    steps = sorted(
        {
            line.least - line.measure(now)
            for line in edition.limits
            if line.measure(one_more) > line.measure(now) < line.least
        }
    )
    for step in steps:
        rules = select_mechanism_rules(State(facts, edition, counted(step)))
        if any(rule.mechanism.strictness > limit for rule in rules):
            return step - 1
    return None


def covers(held: frozenset[Mechanism], asked: HasRequirements) -> bool:
    """Tell whether what was obtained (the mechanisms of a permit's requirements) answers all that the law asks for now.

    A stricter mechanism of export serves for a freer one; the approval of the state serves for any of them; an approval that stacks
    (Step B) must have been obtained itself.
    """
    strictest = max_strictness(held)
    return all(
        requirement.mechanism.strictness <= strictest
        if requirement.mechanism in _EXPORT_MECHANISMS
        else requirement.mechanism in held and requirement.mechanism is not Mechanism.PROHIBITED
        for requirement in asked.requirements
    )


def max_strictness(held: frozenset[Mechanism]) -> int:
    """Return the strictness up to which mechanisms of export are answered."""
    if Mechanism.STATE_APPROVAL in held:
        return Mechanism.SECURITY_ASSESSMENT.strictness
    return max((mechanism.strictness for mechanism in held if mechanism in _EXPORT_MECHANISMS), default=-1)


_EXPORT_MECHANISMS: Final = frozenset(
    {Mechanism.EXEMPT, Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION, Mechanism.SECURITY_ASSESSMENT}
)
