"""For all facts, a company's own rules never make anything freer than the law does."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from service.law import loader
from service.law.count_bands import LawByCount
from service.law.determination import Determination, Headroom, covers, determine
from service.law.facts import Facts
from service.law.mechanisms import Mechanism
from service.law.policy import Condition, Policy, Prohibition, RequiredEvidence
from service.transfers.workflow import stages_for
from tests.law.strategies import BOOK, facts, with_transfer

TEXT = {"en": "x", "zh": "y"}


def some(members: list[str]) -> st.SearchStrategy[frozenset[str] | None]:
    return st.none() | st.frozensets(st.sampled_from(members), min_size=1)


conditions = st.builds(
    Condition,
    mechanisms=some(["exempt", "standard_contract_or_certification", "security_assessment", "state_approval"]),
    tags=some(["core", "important", "personal", "sensitive"]),
    countries=some(["SG", "HK", "US"]),
    recipients=st.none(),
)
policies = st.builds(
    Policy,
    hash=st.just("sha256:test"),
    stages=st.lists(st.tuples(st.sampled_from(["data_owner", "legal", "executive"]), conditions), max_size=3).map(
        tuple
    ),
    prohibitions=st.lists(
        st.builds(
            Prohibition,
            st.just("a"),
            st.builds(Condition, countries=some(["SG", "US"]), tags=some(["core"])),
            st.just(TEXT),
        ),
        max_size=1,
    ).map(tuple),
    evidence=st.lists(
        st.builds(RequiredEvidence, st.sampled_from(["dpo_opinion", "consent_record"]), conditions, st.just(TEXT)),
        max_size=2,
    ).map(tuple),
)
NEWEST = {name: value for day in BOOK.days for name, value in BOOK.edition(day).law.items()}
lower = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(st.integers(1, value), st.sampled_from([value, max(1, value - 1)]))
        for name, value in NEWEST.items()
    },
)
held = st.frozensets(st.sampled_from(Mechanism))


def codes(found: Determination) -> set[str]:
    return {item.code for item in found.evidence}


@given(facts(), policies, lower, held)
def test_a_policy_never_makes_anything_freer(
    known: Facts, policy: Policy, thresholds: dict[str, int], obtained: frozenset[Mechanism]
) -> None:
    book = loader.load(policy=replace(policy, thresholds=thresholds))
    law, with_policy = determine(known, BOOK), determine(known, book)
    assert with_policy.mechanism.strictness >= law.mechanism.strictness
    assert with_policy.policy == "sha256:test"
    assert {r.mechanism for r in law.requirements} - {r.mechanism for r in with_policy.requirements} <= {
        Mechanism.EXEMPT,
        Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION,
    }
    if with_policy.exemption is not None:
        assert law.exemption == with_policy.exemption
    if with_policy.mechanism is not Mechanism.PROHIBITED:
        assert set(stages_for(law)) <= set(stages_for(with_policy))
    if {r.mechanism for r in law.requirements} <= {r.mechanism for r in with_policy.requirements}:
        assert codes(law) <= codes(with_policy)
    if with_policy.mechanism is law.mechanism:
        for kind in ("persons", "sensitive_persons"):
            before, after = getattr(law.headroom, kind), getattr(with_policy.headroom, kind)
            assert before is None or (after is not None and after <= before)
    if law.counts_toward_ledger:
        assert with_policy.counts_toward_ledger
    assert {duty.code for duty in law.obligations} - {duty.code for duty in with_policy.obligations} <= {
        "file_standard_contract"
    }
    assert covers(obtained, law) or not covers(obtained, with_policy)
    before, after = (Headroom(*LawByCount(known, one).headroom(with_transfer(known), obtained)) for one in (BOOK, book))
    for kind in ("persons", "sensitive_persons"):
        may, might = getattr(before, kind), getattr(after, kind)
        assert may is None or (might is not None and might <= may)
