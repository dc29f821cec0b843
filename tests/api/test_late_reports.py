"""What went always counts: reported late, reported again with more, or more than was reserved; and a quota that is passed is seen."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.conftest import Clock
from tests.feed import Feed, digits, hashes
from tests.world import Json, World


def counted_again(url: str, feed: Feed) -> None:
    """Demand that years and permits are what the exports add up to, and that a permit above its quota is told."""
    from tests.api.test_ledger import counted_again as again  # noqa: PLC0415

    found = again(url, handler=feed.handler["key"])
    assert all(one.is_same for one in found), [one.sentence() for one in found]
    is_above = feed.permitted()[0] > permit(feed)["persons"]
    assert [one.is_above for one in found if one.allows is not None] == [is_above]
    assert any("ABOVE ITS QUOTA" in one.sentence() for one in found) is is_above


def permit(feed: Feed) -> Json:
    shown: Json = feed.world.auditor.get(f"/v1/permits/{feed.permit}").json()
    return shown


def findings(feed: Feed) -> list[Json]:
    found: list[Json] = feed.world.auditor.get("/v1/findings", handler=feed.handler["id"]).json()["items"]
    return [one for one in found if one["kind"] == "over_quota"]


def ended(feed: Feed, how: str, clock: Clock) -> str:
    """Return an export of 50 persons that was cancelled, or lapsed."""
    export = feed.reserve(50)
    if how == "cancelled":
        feed.world.exporter.made(f"/v1/exports/{export}/cancel", None)
    else:
        clock.ahead += timedelta(hours=2)
    return export


@pytest.mark.parametrize("how", ["cancelled", "lapsed"])
@pytest.mark.parametrize("body", [{"persons": 40}, {"person_hashes": digits(hashes(40))}])
def test_a_late_report_counts_in_the_year_and_under_the_permit(
    world: World, days_ahead: Clock, database_url: str, how: str, body: Json
) -> None:
    feed = Feed(world, persons=100)
    export = ended(feed, how, days_ahead)
    late = feed.complete(export, body)
    shown = late.json()
    assert (late.status_code, shown["status"], shown["late"], shown["sent_persons"]) == (200, "completed", True, 40)
    assert world.auditor.get(f"/v1/exports/{export}").json() == shown
    assert (feed.year(), feed.permitted()) == ((40, 0), (40, 0))
    entry = world.auditor.get("/v1/audit/entries", subject=export).json()["items"][-1]
    assert (entry["action"], entry["details"]["was"]) == ("export.reported_late", how)
    assert (permit(feed)["status"], permit(feed)["reserved"]["persons"], findings(feed)) == ("active", 0, [])
    again = feed.complete(export, body)
    assert (again.status_code, again.json(), feed.year()) == (200, shown, (40, 0))
    counted_again(database_url, feed)


@pytest.mark.parametrize("how", ["cancelled", "lapsed"])
def test_above_the_quota_the_permit_is_suspended_and_a_finding_raised(
    world: World, days_ahead: Clock, database_url: str, how: str
) -> None:
    """What was given back has been given to another since: both went."""
    feed = Feed(world, persons=50)
    export = ended(feed, how, days_ahead)
    feed.send({"persons": 50}, 50)
    assert (permit(feed)["status"], feed.year()) == ("exhausted", (50, 0))
    assert feed.complete(export, {"persons": 45}).status_code == 200
    assert (feed.year(), feed.permitted()) == ((95, 0), (95, 0))
    shown = permit(feed)
    assert shown["status"] == "suspended"
    assert "95 persons of the 50" in shown["reason"]
    entry = world.auditor.get("/v1/audit/entries", subject=feed.permit).json()["items"][-1]
    assert (entry["action"], entry["details"]["cause"]) == ("permit.suspended", "quota_exceeded")
    assert (entry["details"]["export"], entry["details"]["sent"], entry["details"]["quota"]) == (
        export,
        {"persons": 95},
        {"persons": 50},
    )
    events = world.auditor.get("/v1/events", subject=feed.permit, kind="permit.suspended").json()["items"]
    assert [one["why"] for one in events] == [shown["reason"]]
    (finding,) = findings(feed)
    assert (finding["state"], finding["value"], finding["total"]) == ("open", 50, 95)
    assert ("95" in finding["text"]["en"], "95" in finding["text"]["zh"]) == (True, True)
    told = world.reviewers["legal"].get("/v1/events", to_me=True, kind="finding.opened", subject=shown["transfer"])
    assert told.json()["items"], "legal is told"
    answer = {"answer": "justified", "reason": "Sent twice by a fault, told to the authority"}
    answered = world.reviewers["legal"].made(f"/v1/findings/{finding['id']}/answer", answer)
    assert answered["state"] == "answered"
    counted_again(database_url, feed)


def test_each_further_report_above_the_quota_stops_a_permit_that_was_resumed(world: World) -> None:
    feed = Feed(world, persons=10)
    exports = [feed.reserve(5), feed.reserve(5)]
    feed.complete(exports[0], {"persons": 11})
    resumed = world.reviewers["security"].made(f"/v1/permits/{feed.permit}/resume", {"reason": "Looked at"})
    assert resumed["status"] == "exhausted"
    assert world.export(feed.dataset, feed.recipient, 1).json()["reason"] == "quota_exceeded"
    feed.complete(exports[1], {"persons": 1})
    assert (permit(feed)["status"], feed.permitted()) == ("suspended", (12, 0))
    assert [(one["state"], one["total"]) for one in findings(feed)] == [("open", 12)]


def test_a_report_of_sensitive_persons_is_held_against_their_own_quota(world: World) -> None:
    feed = Feed(world, persons=100, sensitive=5)
    export = feed.reserve(10, 5)
    assert feed.complete(export, {"persons": 10, "sensitive_persons": 6}).status_code == 200
    assert (permit(feed)["status"], [one["counts"] for one in findings(feed)]) == ("suspended", ["sensitive_persons"])


def test_a_permit_that_was_revoked_stays_so_and_the_finding_is_raised(world: World) -> None:
    feed = Feed(world, persons=10)
    export = feed.reserve(10)
    world.reviewers["legal"].made(f"/v1/permits/{feed.permit}/revoke", {"reason": "Over"})
    assert feed.complete(export, {"persons": 11}).status_code == 200
    assert (permit(feed)["status"], len(findings(feed))) == ("revoked", 1)


# The same again, and others


@pytest.mark.parametrize("body", [{"persons": 20}, {"person_hashes": digits(hashes(20))}])
def test_the_same_report_is_the_same_without_a_key_too(world: World, body: Json) -> None:
    feed = Feed(world, persons=50)
    export = feed.reserve(30)
    first = feed.complete(export, body)
    entries = world.auditor.get("/v1/audit/entries", subject=export).json()["items"]
    again = feed.complete(export, body)
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert world.auditor.get("/v1/audit/entries", subject=export).json()["items"] == entries
    assert feed.year() == (20, 0)


def test_the_same_cancellation_is_the_same(world: World) -> None:
    feed = Feed(world, persons=50)
    path = f"/v1/exports/{feed.reserve(30)}/cancel"
    first, again = world.exporter.post(path), world.exporter.post(path)
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())


@pytest.mark.parametrize(
    ("first", "then", "counted", "total"),
    [
        ({"persons": 20}, {"persons": 19}, False, 20),
        ({"persons": 20}, {"persons": 25}, True, 25),
        ({"persons": 20}, {"person_hashes": digits(hashes(25))}, True, 25),
        ({"person_hashes": digits(hashes(20))}, {"person_hashes": digits(hashes(19))}, False, 20),
        ({"person_hashes": digits(hashes(20))}, {"person_hashes": digits(hashes(20, seed=2))}, True, 40),
        ({"person_hashes": digits(hashes(20))}, {"persons": 23}, True, 23),
        ({"persons": 20}, {"persons": 20, "sensitive_persons": 1}, True, 20),
        ({"persons": 0}, {"persons": 3}, True, 3),
    ],
)
def test_other_numbers_are_refused_and_whoever_went_beyond_counts(
    world: World, database_url: str, first: Json, then: Json, *, counted: bool, total: int
) -> None:
    feed = Feed(world, persons=100, sensitive=1)
    export = feed.reserve(30, 1)
    world.exporter.made(f"/v1/exports/{export}/complete", first)
    other = feed.complete(export, then)
    problem = other.json()
    assert (other.status_code, problem["type"]) == (409, "/problems/reported-otherwise")
    assert (problem["counted"], problem["sent"]["persons"]) == (counted, total)
    assert feed.year()[0] == feed.permitted()[0] == total
    shown = world.auditor.get(f"/v1/exports/{export}").json()
    assert (shown["late"], shown["sent_persons"]) == (counted, total)
    if counted:
        feed.complete(export, then)
        assert feed.year()[0] == total, "once"
    counted_again(database_url, feed)


def test_a_report_of_last_year_counts_in_the_year_it_was_reserved_for(world: World, days_ahead: Clock) -> None:
    now = datetime.fromisoformat("2026-12-31T15:59:00+00:00")  # a minute before the year turns in Shanghai
    days_ahead.ahead = now - days_ahead()
    feed = Feed(world, persons=100)
    exports = [feed.reserve(10), feed.reserve(10)]
    days_ahead.ahead += timedelta(minutes=2)
    assert feed.complete(exports[0], {"persons": 10}).status_code == 200
    days_ahead.ahead += timedelta(hours=2)
    assert feed.complete(exports[1], {"persons": 10}).json()["late"] is True
    assert [feed.ledger(year=year)["reported"]["persons"] for year in (2026, 2027)] == [20, 0]


def test_late_reports_that_race_with_reservations_lose_nobody(
    world: World, days_ahead: Clock, database_url: str
) -> None:
    """Of ten that lapsed each is reported late, thrice, while others take what was given back."""
    feed = Feed(world, persons=100)
    lapsed = [feed.reserve(10) for _ in range(10)]
    days_ahead.ahead = timedelta(hours=2)

    def late(export: str) -> httpx.Response:
        key = str(uuid.uuid4())
        while (answer := feed.complete(export, {"persons": 10}, Idempotency_Key=key)).status_code == 503:
            pass  # others held the gate for longer than it is waited for
        return answer

    def anew(_: Any) -> httpx.Response:
        return world.export(feed.dataset, feed.recipient, 10)

    with ThreadPoolExecutor(8) as pool:
        reports = pool.map(late, [export for export in lapsed for _ in range(3)])
        made = [one.json()["id"] for one in pool.map(anew, range(10)) if one.status_code == 201]
        assert {one.status_code for one in reports} == {200}
    assert feed.permitted() == feed.year() == (100, 0)
    for export in made:
        assert feed.complete(export, {"persons": 10}).status_code == 200
    assert feed.permitted() == feed.year() == (100 + 10 * len(made), 0)
    assert permit(feed)["status"] == ("suspended" if made else "exhausted")
    assert len(findings(feed)) == bool(made)
    counted_again(database_url, feed)
