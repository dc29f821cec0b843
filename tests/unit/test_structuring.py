"""Requests that stay below a line one by one and reach it together."""

from service.law.facts import Count
from service.transfers.structuring import (
    PlannedExport,
    RenewedRequest,
    Threshold,
    extends_finding,
    find_crossings,
    replaced_request,
)

LINES = [
    Threshold("contract_persons", "persons", 100_000),
    Threshold("assessment_sensitive", "sensitive_persons", 10_000),
]


def planned(transfer: str, persons: int = 60_000, sensitive: int = 0, **more: str) -> PlannedExport:
    told = {"handler": "hd_1", "purpose": "analytics", "recipient": "rc_1", "recipient_group": None} | more
    return PlannedExport(transfer=transfer, count=Count(persons, sensitive), **told)  # type: ignore[arg-type]


def test_two_that_reach_a_line_together_are_found() -> None:
    (found,) = find_crossings(planned("1"), [planned("2")], LINES)
    assert (found.threshold.id, found.total, found.transfers, found.shared) == (
        "contract_persons",
        120_000,
        ("1", "2"),
        "purpose",
    )


def test_what_has_nothing_in_common_is_not_added() -> None:
    assert find_crossings(planned("1"), [planned("2", purpose="payroll", recipient="rc_2")], LINES) == []


def test_the_same_recipient_or_its_group_is_something_in_common() -> None:
    same = planned("2", purpose="payroll")
    assert find_crossings(planned("1"), [same], LINES)[0].shared == "recipient"
    mine = planned("1", recipient_group="Partner")
    kin = planned("2", purpose="payroll", recipient="rc_2", recipient_group="Partner")
    assert find_crossings(mine, [kin], LINES)[0].shared == "recipient"


def test_a_purpose_is_the_same_however_it_is_written() -> None:
    assert find_crossings(planned("1"), [planned("2", purpose="  ANALYTICS ", recipient="rc_2")], LINES)
    for written in ("web-analytics", "Web Analytics", "web_analytics.", "ｗｅｂ－analytics", "webAnalytics"):
        assert find_crossings(
            planned("1", purpose="web analytics"), [planned("2", purpose=written, recipient="rc_2")], LINES
        ), written
    assert not find_crossings(
        planned("1", purpose="web analytics"), [planned("2", purpose="web analysis", recipient="rc_2")], LINES
    )
    assert find_crossings(planned("1", purpose="——"), [planned("2", purpose="——", recipient="rc_2")], LINES)
    assert not find_crossings(planned("1", purpose="——"), [planned("2", purpose="··", recipient="rc_2")], LINES)


def test_what_reaches_the_line_alone_hides_nothing() -> None:
    assert find_crossings(planned("1", 100_000), [planned("2")], LINES) == []
    assert find_crossings(planned("1"), [planned("2", 100_000)], LINES) == []


def test_what_stays_below_together_is_fine() -> None:
    assert find_crossings(planned("1", 49_999), [planned("2", 50_000)], LINES) == []
    assert find_crossings(planned("1", 0, 9_999), [planned("2", 0, 1)], LINES)[0].threshold.kind == "sensitive_persons"
    assert find_crossings(planned("1"), [], LINES) == []


def year(persons: int, handler: str = "hd_1") -> dict[str, Count]:
    return {handler: Count(persons)}


def test_what_the_handler_has_exported_this_year_counts_with_its_requests() -> None:
    mine, other = planned("1", 5_000), planned("2", 6_000)
    (found,) = find_crossings(mine, [other], LINES, year(90_000))
    assert (found.total, found.exported) == (101_000, 90_000)
    assert find_crossings(mine, [other], LINES, year(88_999)) == []
    assert find_crossings(mine, [other], LINES, year(95_000)) == []


def test_what_went_under_a_request_is_not_counted_twice() -> None:
    sent = PlannedExport("2", "hd_1", "analytics", "rc_1", None, Count(40_000), exported=Count(30_000))
    assert find_crossings(planned("1", 59_999), [sent], LINES, year(30_000)) == []
    assert find_crossings(planned("1", 59_999), [sent], LINES, year(30_001))[0].exported == 1


def test_the_years_of_affiliates_are_added() -> None:
    years = year(50_000) | year(49_000, "hd_2")
    (found,) = find_crossings(planned("1", 500), [planned("2", 500, handler="hd_2")], LINES, years)
    assert (found.total, found.handlers) == (100_000, ("hd_1", "hd_2"))


def test_kin_by_purpose_and_kin_by_recipient_are_added() -> None:
    by_purpose, by_recipient = planned("2", 40_000, recipient="rc_2"), planned("3", 40_000, purpose="payroll")
    (found,) = find_crossings(planned("1", 40_000), [by_purpose, by_recipient], LINES)
    assert (found.total, found.transfers, found.shared) == (120_000, ("1", "2", "3"), "purpose_or_recipient")


def renewing(transfer: str, renews: str, persons: int) -> PlannedExport:
    return PlannedExport(transfer, "hd_1", "analytics", "rc_1", None, Count(persons), follows=renews)


def test_a_renewal_counts_once_with_what_it_renews() -> None:
    assert find_crossings(renewing("2", "1", 60_000), [planned("1", 60_000)], LINES) == []
    assert find_crossings(planned("3", 30_000), [planned("1", 60_000), renewing("2", "1", 60_000)], LINES) == []


def test_neither_a_larger_nor_a_smaller_renewal_hides_anything() -> None:
    mine = planned("9", 20_000)
    grown = find_crossings(mine, [planned("1", 10_000), renewing("2", "1", 90_000)], LINES)
    assert [found.transfers for found in grown] == [("2", "9")]
    shrunk = find_crossings(mine, [planned("1", 90_000), renewing("2", "1", 10_000), renewing("3", "2", 5_000)], LINES)
    assert [found.transfers for found in shrunk] == [("1", "9")]
    assert find_crossings(mine, [renewing("2", "0", 50_000), renewing("3", "0", 50_000)], LINES) == []


def test_a_crossing_says_more_where_somebody_joins_or_the_total_grows() -> None:
    (found,) = find_crossings(planned("1"), [planned("2")], LINES)
    assert not extends_finding(found, ["1", "2", "3"], 180_000)
    assert extends_finding(found, ["1", "3"], 180_000)
    assert extends_finding(found, ["1", "2"], 119_999)


SAME = RenewedRequest("old", "rc_1", frozenset({"ds_1", "ds_2"}), "pm_old", None)


def test_a_renewal_follows_what_it_supersedes_with_the_same_recipient_and_datasets() -> None:
    assert replaced_request(SAME, "rc_1", ["ds_2", "ds_1"], None, None) == "old", "it will, once it is approved"
    superseded = RenewedRequest("old", "rc_1", SAME.datasets, "pm_old", "pm_new")
    assert replaced_request(superseded, "rc_1", SAME.datasets, "pm_new", "pm_old") == "old"


def test_whatever_else_says_that_it_renews_stands_beside() -> None:
    assert replaced_request(None, "rc_1", SAME.datasets, None, None) is None
    assert replaced_request(SAME, "rc_2", SAME.datasets, None, None) is None, "to another recipient"
    for datasets in (["ds_1"], ["ds_1", "ds_2", "ds_3"], ["ds_3"], []):
        assert replaced_request(SAME, "rc_1", datasets, None, None) is None, "a part, more, others"
    assert replaced_request(SAME, "rc_1", SAME.datasets, "pm_new", None) is None, "its permit superseded nothing"
    assert replaced_request(SAME, "rc_1", SAME.datasets, "pm_new", "pm_else") is None, "or something else"
    taken = RenewedRequest("old", "rc_1", SAME.datasets, "pm_old", "pm_other")
    assert replaced_request(taken, "rc_1", SAME.datasets, None, None) is None, "another has taken its place already"
    never = RenewedRequest("old", "rc_1", SAME.datasets, None, None)
    assert replaced_request(never, "rc_1", SAME.datasets, None, None) is None, "it was never approved"
