"""Reservations that announce by hash who will go, through HTTP: they hold of the permit and of the year as much as each would grow."""

from __future__ import annotations

import base64
import json
import random
import struct
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from service.ledger.counting import EXACT
from tests.api.test_ledger import counted_again
from tests.conftest import Clock
from tests.feed import Feed, digits, hashes, sketch
from tests.world import Json, World, day


def part(first: int, last: int) -> bytes:
    """Return the hashes of the same crowd from one person to another."""
    return hashes(3000)[16 * first : 16 * last]


def used(feed: Feed) -> tuple[int, int]:
    """Return the persons that the permit and the year count."""
    return feed.permitted()[0], feed.year()[0]


# What is held


def test_a_daily_feed_passes_a_permit_for_exactly_its_persons_and_stays_at_them(world: World) -> None:
    feed = Feed(world, persons=100_000)
    everybody = digits(hashes(100_000))
    for day_, new in ((1, 100_000), (2, 0), (3, 0)):
        random.Random(day_).shuffle(everybody)  # noqa: S311 - repeatable, not secret
        made = feed.announce(person_hashes=everybody)
        assert (made.status_code, made.json()["persons"]) == (201, 100_000), made.text
        assert feed.held() == (new, new)
        done = feed.complete(made.json()["id"], {"person_hashes": everybody})
        assert (done.status_code, done.json()["sent_persons"]) == (200, 100_000), done.text
        assert (feed.held(), used(feed)) == ((0, 0), (100_000, 100_000))
    by_number = world.export(feed.dataset, feed.recipient, 1)
    assert (by_number.status_code, by_number.json()["reason"]) == (403, "quota_exceeded")


def test_a_feed_of_whom_half_are_new_holds_and_grows_by_half(world: World) -> None:
    feed = Feed(world, persons=1500)
    feed.send({"person_hashes": digits(part(0, 1000))}, 1000)
    export = feed.announced(part(500, 1500))
    assert feed.held() == (500, 500)
    assert feed.complete(export, {"sketch": sketch(part(500, 1500))}).status_code == 200
    assert (feed.held(), used(feed)) == ((0, 0), (1500, 1500))


def test_who_is_in_the_permit_of_last_year_is_new_to_the_year_only(world: World, days_ahead: Clock) -> None:
    feed = Feed(world, persons=300, valid_until=day(500))
    feed.send({"person_hashes": digits(part(0, 300))}, 300)
    days_ahead.ahead = timedelta(days=366)
    export = feed.announced(part(100, 300))
    assert feed.held() == (0, 200)
    assert feed.complete(export, {"person_hashes": digits(part(100, 300))}).status_code == 200
    assert (feed.held(), used(feed)) == ((0, 0), (300, 200))


def test_each_kind_is_announced_in_its_own_way(world: World) -> None:
    feed = Feed(world, persons=50, sensitive=50)
    feed.send({"person_hashes": digits(part(0, 40)), "sensitive_person_hashes": digits(part(0, 30))}, 40, 30)
    made = feed.announce(persons=10, sensitive_sketch=sketch(part(10, 50)))
    assert (made.json()["persons"], made.json()["sensitive_persons"]) == (10, 40), made.text
    held = world.auditor.get(f"/v1/permits/{feed.permit}").json()["reserved"]
    assert held == {"persons": 10, "sensitive_persons": 20}
    assert feed.announce(sketch=sketch(part(0, 1)), sensitive_persons=1).status_code == 403
    body = {"persons": 10, "sensitive_person_hashes": digits(part(10, 50))}
    assert feed.complete(made.json()["id"], body).status_code == 200
    assert feed.permitted() == feed.year() == (50, 50)


def test_an_exempt_feed_holds_of_the_permit_only(world: World) -> None:
    feed = Feed(world, persons=50, necessity="hr", legal_basis="hr")
    feed.send({"person_hashes": digits(part(0, 40))}, 40)
    export = feed.announced(part(0, 50))
    assert feed.held() == (10, 0)
    assert feed.complete(export, {"person_hashes": digits(part(0, 50))}).status_code == 200
    assert used(feed) == (50, 0)


# What is refused


def test_more_new_persons_than_the_permit_has_room_for_are_refused_with_its_headroom(world: World) -> None:
    feed = Feed(world, persons=1000)
    feed.send({"person_hashes": digits(part(0, 990))}, 990)
    refused = feed.announce(person_hashes=digits(part(0, 1001)))
    assert (refused.status_code, refused.json()["reason"]) == (403, "quota_exceeded")
    assert refused.json()["headroom"] == {"persons": 10, "sensitive_persons": 0}
    entry = world.auditor.get("/v1/audit/entries", subject=refused.json()["evaluation"]).json()["items"][0]
    grown = {"persons": 11, "sensitive_persons": 0}
    assert entry["details"]["announced"] == {"permit": grown, "year": grown}
    assert entry["details"]["question"]["persons"] == 1001
    assert not {"person_hashes", "sketch"} & set(entry["details"]["question"])
    assert part(0, 1).hex() not in json.dumps(entry)
    feed.announced(part(0, 1000))


def test_near_a_threshold_of_the_law_only_who_is_new_to_the_year_counts(world: World) -> None:
    feed = Feed(world, persons=99_999)
    crowd = hashes(99_999)
    other = world.dataset(feed.handler, "personal")
    small = world.approved(feed.handler, [other], feed.recipient, persons=5)["permit"]
    feed.send({"person_hashes": digits(crowd)}, 99_999)
    feed.dataset, feed.permit = other, small
    export = feed.announced(crowd[: 16 * 5])
    assert feed.held() == (5, 0)
    assert world.exporter.post(f"/v1/exports/{export}/cancel").status_code == 200
    refused = feed.announce(person_hashes=digits(crowd[: 16 * 4] + hashes(1, seed=2)))
    assert (refused.status_code, refused.json()["reason"]) == (403, "ledger_threshold")
    assert refused.json()["headroom"]["persons"] == 0


def huge() -> str:
    """A sketch that claims more persons than there are on earth."""
    entries = struct.pack(f"<{EXACT}Q", *range(1, EXACT + 1))
    head = bytes.fromhex("03030300001a") + base64.b64decode(sketch(part(0, 1)))[6:8]
    return base64.b64encode(head + struct.pack("<IIQ", EXACT, 0, EXACT + 1) + entries).decode()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"persons": 1, "person_hashes": ["0" * 32]}, "/person_hashes"),
        ({"person_hashes": ["0" * 32], "sketch": "AQMDAAAezJM="}, "/sketch"),
        ({"person_hashes": None}, "/person_hashes"),
        ({"person_hashes": ["0" * 31]}, "/person_hashes"),
        ({"person_hashes": ["0" * 32] * 9000 + ["g" * 32]}, "/person_hashes"),
        ({"sketch": "*"}, "/sketch"),
        ({"sketch": huge()}, "/sketch"),
        ({"person_hashes": []}, "/persons"),
        ({"hashes": []}, "/hashes"),
    ],
)
def test_what_cannot_be_an_announcement_is_told_by_field(world: World, body: Json, pointer: str) -> None:
    refused = Feed(world).announce(**body)
    assert refused.status_code == 422, refused.text
    assert pointer in {error["pointer"] for error in refused.json()["errors"]}


def test_a_number_that_is_null_leaves_the_kind_to_its_hashes(world: World) -> None:
    made = Feed(world).announce(persons=None, person_hashes=digits(part(0, 3) * 2))
    assert (made.status_code, made.json()["persons"]) == (201, 3)


def test_nothing_of_an_announcement_is_read_for_a_stranger(world: World) -> None:
    feed = Feed(world)
    body = {"dataset": feed.dataset["id"], "recipient": feed.recipient["id"], "purpose": "analytics"}
    for person, status in ((world.auditor, 403), (world.person("exporter", handler=world.handler()["id"]), 403)):
        refused = person.post("/v1/exports", body | {"person_hashes": digits(part(0, 5))})
        assert refused.status_code == status, refused.text
    assert refused.json()["reason"] == "dataset_unknown"
    assert world.http.post("/v1/exports", json=body | {"person_hashes": ["x"]}).status_code == 401


# Races


def test_of_two_that_announce_the_same_new_persons_at_once_each_holds_them(world: World) -> None:
    feed = Feed(world, persons=1500)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: feed.announce(person_hashes=digits(part(0, 1000))), range(2)))
    assert sorted(answer.status_code for answer in answers) == [201, 403]
    assert feed.held() == (1000, 1000)
    (won,) = (answer.json()["id"] for answer in answers if answer.status_code == 201)
    assert feed.complete(won, {"person_hashes": digits(part(0, 1000))}).status_code == 200
    feed.announced(part(0, 1000))
    assert feed.held() == (0, 0), "once the first has reported, nobody is new"


def test_announcements_and_reports_that_race_never_pass_the_quota(world: World) -> None:
    feed = Feed(world, persons=1000)

    def once(number: int) -> int:
        content = part(200 * (number % 7), 200 * (number % 7) + 300)
        made = feed.announce(person_hashes=digits(content))
        if made.status_code == 201:
            return feed.complete(made.json()["id"], {"person_hashes": digits(content)}).status_code
        return made.status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(once, range(28)))
    assert statuses == {200, 403}
    assert feed.held() == (0, 0)
    assert used(feed)[0] == used(feed)[1] <= 1000


# How it ends


def test_what_is_held_is_given_back_exactly_however_it_ends(world: World, days_ahead: Clock) -> None:
    feed = Feed(world, persons=3000)
    feed.send({"person_hashes": digits(part(0, 500))}, 500)
    feed.reserve(7)
    cancelled, completed, lapsed = (feed.announced(part(400, last)) for last in (600, 700, 800))
    assert feed.held() == (7 + 100 + 200 + 300,) * 2
    assert world.exporter.post(f"/v1/exports/{cancelled}/cancel").status_code == 200
    assert feed.held() == (507, 507)
    assert feed.complete(completed, {"person_hashes": digits(part(400, 700))}).status_code == 200
    assert (feed.held(), used(feed)) == ((307, 307), (700, 700))
    days_ahead.ahead = timedelta(hours=2)
    assert feed.held() == (0, 0)
    late = feed.complete(lapsed, {"person_hashes": digits(part(1000, 1400))})
    assert (late.status_code, late.json()["late"]) == (200, True)
    assert used(feed) == (1100, 1100)
    assert feed.held() == (0, 0)


@pytest.mark.parametrize(
    ("body", "total"),
    [
        ({"persons": 101}, 601),
        ({"person_hashes": digits(part(0, 499) + part(600, 701))}, 601),
        ({"sketch": sketch(part(1000, 1600))}, 1100),
    ],
)
def test_others_than_were_announced_count_and_stop_a_permit_that_allows_no_more(
    world: World, body: Any, total: int
) -> None:
    feed = Feed(world, persons=600)
    feed.send({"person_hashes": digits(part(0, 500))}, 500)
    export = feed.announced(part(0, 600))
    assert feed.complete(export, body).status_code == 200
    assert (feed.held(), used(feed)) == ((0, 0), (total, total))
    assert world.auditor.get(f"/v1/permits/{feed.permit}").json()["status"] == "suspended"


def test_a_feed_too_large_to_be_exact_passes_with_a_hundredth_of_room(world: World) -> None:
    feed = Feed(world, persons=202_000)
    crowd = hashes(200_000)
    for _ in range(3):
        made = feed.announce(sketch=sketch(crowd))
        assert made.status_code == 201, made.text
        assert feed.stream(made.json()["id"], crowd).status_code == 200
        assert feed.held() == (0, 0)
        assert feed.permitted()[0] <= 202_000
    made = feed.announce(sketch=sketch(crowd))
    assert world.auditor.get(f"/v1/permits/{feed.permit}").json()["status"] == "active"
    others = feed.stream(made.json()["id"], hashes(200_000, seed=5))
    assert others.status_code == 200, others.text
    shown = world.auditor.get(f"/v1/permits/{feed.permit}").json()
    assert shown["status"] == "suspended", "beyond all errors these are others"


def test_counting_again_gives_the_same_with_announcements(world: World, database_url: str) -> None:
    feed = Feed(world, persons=3000)
    for first in (0, 200, 400):
        export = feed.announced(part(first, first + 300))
        assert feed.complete(export, {"person_hashes": digits(part(first, first + 250))}).status_code == 200
    feed.announced(part(0, 2000))
    found = counted_again(database_url, handler=feed.handler["key"])
    assert [(one.is_same, one.totals["persons"]) for one in found] == [(True, 650), (True, 650)]


# Repeats


@pytest.mark.parametrize("persons", [1000, 30_000])
def test_a_repeat_is_answered_the_same_and_other_persons_are_refused(world: World, persons: int) -> None:
    feed = Feed(world)
    body = {"person_hashes": digits(hashes(persons))}
    first = feed.announce(**body, Idempotency_Key=f"announced-{persons}")
    again = feed.announce(**body, Idempotency_Key=f"announced-{persons}")
    assert (first.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (201, first.json(), "true")
    other = feed.announce(person_hashes=digits(hashes(persons, seed=2)), Idempotency_Key=f"announced-{persons}")
    assert other.json()["type"] == "/problems/idempotency-key-reused"
    assert feed.held() == (persons, persons)


def test_a_body_without_hashes_may_be_as_long_as_before_and_no_longer(world: World) -> None:
    feed = Feed(world)
    fields = [f"{number:04}" + "f" * 190 for number in range(3000)]
    refused = feed.announce(persons=1, fields=fields)
    assert (refused.status_code, refused.json()["reason"]) == (403, "fields_not_covered")
    padded = json.dumps({"persons": 1}) + " " * (1024 * 1024)
    sent = {"Authorization": f"Bearer {world.exporter.secret}", "Content-Type": "application/json"}
    assert world.http.post("/v1/exports", content=padded, headers=sent).status_code == 413
