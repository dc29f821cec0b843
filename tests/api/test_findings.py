"""Findings of structuring: what is counted together, who learns what of it, who answers."""

from __future__ import annotations

import pytest

from tests.feed import Feed, digits, hashes
from tests.world import Json, Person, World, day


class Group:
    """Two handlers of one group with one personal dataset each, and a recipient that both send to."""

    def __init__(self, world: World) -> None:
        self.world = world
        name = world.name("group")
        self.handlers = [
            world.registrar.made(
                "/v1/handlers",
                {"key": world.name("handler"), "name": "Invented", "group": named, "facts": {"ciio": False}},
            )
            for named in (name, name.upper())
        ]
        self.datasets = [world.dataset(handler, "personal") for handler in self.handlers]
        self.recipient = world.recipient()

    def submitted(self, which: int, persons: int = 60_000, **more: object) -> Json:
        return self.world.submitted(
            self.handlers[which], [self.datasets[which]], self.recipient, persons=persons, **more
        )

    def legal(self, which: int) -> Person:
        return self.world.person("reviewer:legal", handler=self.handlers[which]["id"])


@pytest.fixture
def group(world: World) -> Group:
    return Group(world)


def at(shown: Json, *rest: str) -> str:
    return "/".join(["/v1/transfers", shown["id"], *rest])


def found(reader: Person, shown: Json) -> list[Json]:
    findings: list[Json] = reader.get(at(shown)).json()["findings"]
    return findings


def test_whoever_may_not_read_the_other_handler_learns_of_it_only_that_it_is_there(world: World, group: Group) -> None:
    here, auditor = group.legal(0), world.person("auditor", handler=group.handlers[0]["id"])
    first = group.submitted(0, 60_001)
    second = group.submitted(1, 60_002)
    (finding,) = found(here, first)
    assert (finding["transfers"], finding["others"], finding["total"]) == ([first["id"]], 1, None)
    assert here.get(f"/v1/findings/{finding['id']}").json() == finding
    assert here.get("/v1/findings", transfer=first["id"]).json()["items"] == [finding]
    seen = [
        here.get(at(first)),
        here.get("/v1/events", subject=first["id"], limit=200),
        auditor.get("/v1/audit/entries", subject=first["id"], limit=200),
        auditor.get(at(first, "history"), limit=200),
    ]
    for answer in seen:
        assert answer.status_code == 200
        for secret in (second["id"], "60002", "60,002", "120003", "120,003", group.handlers[1]["id"]):
            assert secret not in answer.text
    (whole,) = found(world.auditor, first)
    assert (whole["total"], whole["others"]) == (120_003, 0)
    assert whole["transfers"] == sorted([first["id"], second["id"]])


def test_whoever_may_not_read_the_other_handler_does_not_learn_who_acted_there(world: World, group: Group) -> None:
    here, auditor = group.legal(0), world.person("auditor", handler=group.handlers[0]["id"])
    stranger = world.person("requester", handler=group.handlers[1]["id"])
    first = group.submitted(0)
    body = {
        "handler": group.handlers[1]["id"],
        "datasets": [group.datasets[1]["id"]],
        "recipient": group.recipient["id"],
        "purpose": "analytics",
        "description": "Weekly demand",
        "persons": 60_000,
        "valid_from": day(0),
        "valid_until": day(100),
    }
    second = stranger.made(at(stranger.made("/v1/transfers", body), "submit"), None)
    seen = [
        here.get("/v1/events", subject=first["id"], limit=200),
        auditor.get("/v1/audit/entries", subject=first["id"], limit=200),
        auditor.get(at(first, "history"), limit=200),
    ]
    for answer in seen:
        assert "finding.raised" in answer.text
        assert stranger.id not in answer.text
        assert stranger.name not in answer.text
    raised = auditor.get("/v1/audit/entries", subject=first["id"], action="finding.raised").json()["items"]
    assert [entry["actor"] for entry in raised] == ["outbound"]
    raised = world.auditor.get("/v1/audit/entries", subject=second["id"], action="finding.raised").json()["items"]
    assert [entry["actor"] for entry in raised] == [stranger.id]


def test_what_a_refused_last_approval_comes_upon_is_kept(world: World) -> None:
    apart, recipient = [world.handler() for _ in range(2)], world.recipient()
    first, second = (
        world.submitted(handler, [world.dataset(handler, "personal")], recipient, persons=60_000) for handler in apart
    )
    name = world.name("group")
    for handler in apart:
        assert world.registrar.patch(f"/v1/handlers/{handler['id']}", {"group": name}).status_code == 200
    refused = world.review(second, "privacy")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/evidence-missing")
    assert len(found(world.auditor, first)) == len(found(world.auditor, second)) == 1
    stages = world.auditor.get(at(second)).json()["stages"]
    assert [stage["status"] for stage in stages] == ["open"]


def test_those_of_legal_are_told_where_to_answer(world: World, group: Group) -> None:
    legal = group.legal(0)
    first = group.submitted(0)
    group.submitted(1)
    (told,) = legal.get("/v1/events", to_me="true", kind="finding.opened").json()["items"]
    assert told["where"] == {"href": f"/v1/findings/{found(legal, first)[0]['id']}/answer", "method": "POST"}
    assert world.requester.id not in told["audience"]


def test_no_author_answers_nor_anybody_in_an_authors_place(world: World, group: Group) -> None:
    both = world.person("requester", "reviewer:legal")
    body = {
        "handler": group.handlers[0]["id"],
        "datasets": [group.datasets[0]["id"]],
        "recipient": group.recipient["id"],
        "purpose": "analytics",
        "description": "Weekly demand",
        "persons": 60_000,
        "valid_from": day(0),
        "valid_until": day(100),
    }
    mine = both.made(at(both.made("/v1/transfers", body), "submit"), None)
    second = group.submitted(1)
    said = {"answer": "unrelated", "reason": "Two products"}
    stand_in, other = world.person(), world.person()
    absence = {"valid_from": day(0), "valid_until": day(7), "reason": "On leave"}
    both.made("/v1/delegations", absence | {"delegate": stand_in.id})
    away = group.legal(0)
    away.made("/v1/delegations", absence | {"delegate": other.id})
    for shown in (mine, second):
        path = f"/v1/findings/{found(world.auditor, shown)[0]['id']}/answer"
        assert both.post(path, said).status_code == 403
        assert stand_in.post(path, said).status_code == 403
    path = f"/v1/findings/{found(world.auditor, mine)[0]['id']}/answer"
    assert other.post(path, said).status_code == 200
    entry = world.auditor.get("/v1/audit/entries", subject=mine["id"], action="finding.answered").json()["items"][0]
    assert entry["details"]["on_behalf_of"] == away.id


def test_what_the_year_holds_already_counts(world: World, group: Group) -> None:
    approved = world.approve(group.submitted(0, 90_000, purpose="payroll"))
    sent = world.export(group.datasets[0], group.recipient, 90_000, purpose="payroll").json()
    world.exporter.made(f"/v1/exports/{sent['id']}/complete", {"persons": 90_000, "sensitive_persons": 0})
    assert approved["findings"] == []
    elsewhere = world.recipient("US")
    small = [
        world.submitted(group.handlers[0], [group.datasets[0]], elsewhere, persons=persons) for persons in (5000, 6000)
    ]
    for shown in small:
        (finding,) = found(world.auditor, shown)
        assert (finding["total"], finding["exported"]) == (101_000, 90_000)
        assert finding["transfers"] == sorted(one["id"] for one in small)


def test_what_has_ended_undecided_is_not_counted(world: World, group: Group) -> None:
    withdrawn, rejected = group.submitted(0), group.submitted(0, 70_000)
    findings = found(world.auditor, rejected)
    world.requester.made(at(withdrawn, "withdraw"), {"reason": "Not needed"})
    world.review(rejected, rejected["stages"][0]["name"], "reject", comment="No")
    assert found(world.auditor, group.submitted(1)) == []
    assert found(world.auditor, rejected) == findings


def test_a_revoked_permit_counts_for_what_went_under_it(world: World, group: Group) -> None:
    approved = world.approve(group.submitted(0))
    world.reviewers["legal"].made(f"/v1/permits/{approved['permit']}/revoke", {"reason": "Over"})
    assert found(world.auditor, group.submitted(1)) == []


def test_an_answer_stands_until_something_comes_to_it(world: World, group: Group) -> None:
    first, _ = group.submitted(0), group.submitted(1)
    (finding,) = found(world.auditor, first)
    said = {"answer": "justified", "reason": "Two products"}
    world.reviewers["legal"].made(f"/v1/findings/{finding['id']}/answer", said)
    world.requester.patch(at(first), {"persons": 59_000}).json()
    assert [one["state"] for one in found(world.auditor, first)] == ["answered"]
    third = group.submitted(1, 10_000)
    assert [one["state"] for one in found(world.auditor, first)] == ["answered", "open"]
    assert len(found(world.auditor, third)) == 1


def test_handlers_that_come_into_a_group_later_are_found_at_the_next_approval(world: World) -> None:
    handlers = [world.handler(), world.handler()]
    recipient = world.recipient()
    first, second = [
        world.submitted(handler, [world.dataset(handler, "personal")], recipient, persons=60_000)
        for handler in handlers
    ]
    group = world.name("group")
    for handler in handlers:
        assert world.registrar.patch(f"/v1/handlers/{handler['id']}", {"group": group}).status_code == 200
    world.approve(first)
    assert len(found(world.auditor, first)) == len(found(world.auditor, second)) == 1


def test_a_feed_of_the_same_persons_is_looked_at_as_the_persons_that_it_is(world: World) -> None:
    feed = Feed(world, 60_000)
    for _ in range(3):
        answer = feed.complete(feed.announced(hashes(30_000)), {"person_hashes": digits(hashes(30_000))})
        assert answer.status_code == 200, answer.text
    # 30,000 have gone, as many more may go under the permit, and these come to them.
    shown = world.submitted(feed.handler, [feed.dataset], feed.recipient, persons=45_000)
    assert [found["total"] for found in shown["findings"]] == [105_000]
