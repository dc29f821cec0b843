"""Random facts without faults, gathered around the days and the numbers at which the law changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from hypothesis import strategies as st

from service.law.facts import (
    SENSITIVE_FROM,
    Count,
    DatasetFacts,
    Facts,
    FtzList,
    HandlerFacts,
    Ledger,
    LegalBasis,
    Method,
    Necessity,
    Origin,
    RecipientFacts,
    RecipientKind,
    Tag,
    TransferFacts,
)
from service.law.loader import load

BOOK = load()
CHANGES = [
    date(2021, 9, 1),
    date(2021, 11, 1),
    date(2022, 2, 15),
    date(2022, 9, 1),
    date(2022, 11, 18),
    date(2023, 1, 1),
    date(2023, 6, 1),
    date(2023, 12, 13),
    date(2024, 3, 22),
    date(2024, 9, 10),
    date(2025, 1, 1),
    date(2026, 1, 1),
]
LINES = [0, 1, 8_000, 9_999, 10_000, 80_000, 99_999, 100_000, 800_000, 999_999, 1_000_000, 1_000_001]

days = st.one_of(
    st.builds(
        lambda day, off: max(CHANGES[0], day + timedelta(days=off)), st.sampled_from(CHANGES), st.integers(-1, 1)
    ),
    st.dates(CHANGES[0], date(2030, 12, 31)),
)
persons = st.one_of(
    st.builds(lambda line, off: max(0, line + off), st.sampled_from(LINES), st.integers(-1, 1)),
    st.integers(0, 2_000_000),
)
counts = st.builds(Count, persons, persons)
few = st.one_of(st.just(Count()), counts)
tags = st.frozensets(st.sampled_from(Tag))


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    data = draw(
        st.builds(
            DatasetFacts,
            tags,
            st.sampled_from(Origin),
            st.booleans(),
            st.one_of(st.none(), st.sampled_from(FtzList)),
            st.booleans(),
        )
    )
    transfer = draw(
        st.builds(
            TransferFacts,
            st.sampled_from(Method),
            st.one_of(st.none(), st.sampled_from(Necessity)),
            st.sampled_from(LegalBasis),
            persons,
            persons,
        )
    )
    if Tag.SENSITIVE not in data.tags:
        transfer = replace(transfer, sensitive_persons=0)
    if not data.is_personal:
        transfer = replace(transfer, persons=0)
    elif transfer.persons == transfer.sensitive_persons == 0:
        transfer = replace(transfer, persons=1)
    day = draw(days)
    if Tag.SENSITIVE not in data.tags:
        data = replace(data, contains_minors=data.contains_minors and day < SENSITIVE_FROM)
    elif transfer.sensitive_persons == 0:
        is_left_out = not data.contains_minors and draw(st.booleans())
        transfer = replace(transfer, sensitive_persons=int(not is_left_out), sensitive_left_out=is_left_out)
    handler = draw(
        st.builds(HandlerFacts, st.booleans(), persons, st.booleans(), st.booleans(), st.booleans(), persons)
    )
    recipient = draw(
        st.builds(
            RecipientFacts,
            st.sampled_from(["SG", "HK", "MO", "TW", "US", "CN"]),
            st.sampled_from(RecipientKind),
            st.booleans(),
            st.booleans(),
        )
    )
    return Facts(day, handler, data, recipient, transfer, Ledger(draw(few), draw(few)))


def with_transfer(asked: Facts) -> Count:
    """The year's count, which includes the transfer that is asked about."""
    year, transfer = asked.ledger.this_year, asked.transfer
    return Count(year.persons + transfer.persons, year.sensitive_persons + transfer.sensitive_persons)
