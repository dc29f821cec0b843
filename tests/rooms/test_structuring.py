"""Requests that stay below a line one by one and reach it together."""

from service.law.facts import Count
from service.transfers.structuring import Line, Planned, crossings

LINES = [Line("contract_persons", "persons", 100_000), Line("assessment_sensitive", "sensitive_persons", 10_000)]


def planned(transfer: str, persons: int = 60_000, sensitive: int = 0, **more: str) -> Planned:
    told = {"handler": "hd_1", "purpose": "analytics", "recipient": "rc_1", "recipient_group": None} | more
    return Planned(transfer=transfer, count=Count(persons, sensitive), **told)  # type: ignore[arg-type]


def test_two_that_reach_a_line_together_are_found() -> None:
    (found,) = crossings(planned("1"), [planned("2")], LINES)
    assert (found.line.id, found.total, found.transfers, found.shared) == (
        "contract_persons",
        120_000,
        ("1", "2"),
        "purpose",
    )


def test_what_has_nothing_in_common_is_not_added() -> None:
    assert crossings(planned("1"), [planned("2", purpose="payroll", recipient="rc_2")], LINES) == []


def test_the_same_recipient_or_its_group_is_something_in_common() -> None:
    same = planned("2", purpose="payroll")
    assert crossings(planned("1"), [same], LINES)[0].shared == "recipient"
    mine = planned("1", recipient_group="Partner")
    kin = planned("2", purpose="payroll", recipient="rc_2", recipient_group="Partner")
    assert crossings(mine, [kin], LINES)[0].shared == "recipient"


def test_a_purpose_is_the_same_however_it_is_written() -> None:
    assert crossings(planned("1"), [planned("2", purpose="  ANALYTICS ", recipient="rc_2")], LINES)


def test_what_reaches_the_line_alone_hides_nothing() -> None:
    assert crossings(planned("1", 100_000), [planned("2")], LINES) == []
    assert crossings(planned("1"), [planned("2", 100_000)], LINES) == []


def test_what_stays_below_together_is_fine() -> None:
    assert crossings(planned("1", 49_999), [planned("2", 50_000)], LINES) == []
    assert crossings(planned("1", 0, 9_999), [planned("2", 0, 1)], LINES)[0].line.kind == "sensitive_persons"
    assert crossings(planned("1"), [], LINES) == []
