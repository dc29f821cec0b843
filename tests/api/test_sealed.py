"""What people write goes into the log as a salted hash; auditors read it, and it can be erased."""

from __future__ import annotations

import asyncio
import hashlib
import json

import asyncpg
import pytest
import rfc8785

from service.audit.commitments import MAX_BODY_SIZE, SALT_SIZE
from tests.commands import outbound
from tests.conftest import run_sql
from tests.world import Json, World, day

PLANTED = "欧阳娜娜 of flat 12"


def entries(world: World, **wanted: object) -> list[Json]:
    items: list[Json] = world.auditor.get("/v1/audit/entries", limit=200, **wanted).json()["items"]
    return items


def bodies(url: str) -> list[str]:
    async def read() -> list[str]:
        connection = await asyncpg.connect(url)
        try:
            return [row["body"] for row in await connection.fetch("select body from entries")]
        finally:
            await connection.close()

    return asyncio.run(read())


def told_everywhere(world: World) -> Json:
    """A story in which everything that takes a text says the planted words; returns the handler."""
    handler = world.handler()
    world.registrar.patch(f"/v1/handlers/{handler['id']}", {"name": PLANTED, "group": PLANTED})
    texts = {"title": PLANTED, "owner": PLANTED, "description": PLANTED}
    dataset = world.dataset(handler, graded=False, **texts)
    for tags in (["personal", "sensitive"], ["personal"]):
        grading = {"tags": tags, "reason": PLANTED, "basis": PLANTED, "catalogue": PLANTED}
        made = world.registrar.made(f"/v1/datasets/{dataset['id']}/gradings", grading)
    confirm = f"/v1/datasets/{dataset['id']}/gradings/{made['number']}/confirm"
    world.second_registrar.made(confirm, {"reason": PLANTED, "catalogue": PLANTED})
    recipient = world.recipient(name=PLANTED)
    draft = world.draft(handler, [dataset], recipient, persons=10, description=PLANTED)
    path = f"/v1/transfers/{draft['id']}"
    changed = world.requester.patch(path, {"description": f"{PLANTED} again"})
    assert changed.status_code == 200, changed.text
    transfer = world.requester.made(f"{path}/submit", None)
    paper = {"kind": "other", "reference": PLANTED, "issuer": PLANTED, "issued_on": day(0), "note": PLANTED}
    file = {"file": (f"{PLANTED}.pdf", b"%PDF-1.7 invented", "application/pdf")}
    sent = {"document": (None, json.dumps(paper), "application/json")}
    key = {"Authorization": f"Bearer {world.requester.secret}"}
    added = world.http.post(f"{path}/evidence", files=sent | file, headers=key)
    assert added.status_code == 201, added.text
    world.requester.made(f"{path}/evidence/{added.json()['id']}/withdraw", {"reason": PLANTED})
    world.add_evidence(transfer, note=PLANTED)
    world.requester.made(f"{path}/comments", {"text": PLANTED, "mentions": []})
    terms = {"comment": PLANTED, "conditions": {"terms": [PLANTED]}}
    assert world.review(transfer, "privacy", **terms).status_code == 201
    accepted = world.requester.made(f"{path}/terms/accept", {"revision": transfer["revision"]["hash"]})
    world.reviewers["privacy"].made(f"/v1/permits/{accepted['permit']}/suspend", {"reason": PLANTED})
    world.reviewers["legal"].made(f"/v1/permits/{accepted['permit']}/revoke", {"reason": PLANTED})
    return handler


def test_what_people_write_is_nowhere_in_the_log_and_auditors_read_it(world: World, database_url: str) -> None:
    handler = told_everywhere(world)
    assert not [body for body in bodies(database_url) if "欧阳" in body or "flat 12" in body]
    shown = entries(world, handler=handler["id"])
    acts = {entry["action"] for entry in shown if PLANTED in json.dumps(entry["details"], ensure_ascii=False)}
    assert acts == {
        "handler.changed",
        "dataset.created",
        "dataset.graded",
        "dataset.grading_confirmed",
        "transfer.created",
        "transfer.changed",
        "transfer.evidence_added",
        "transfer.evidence_withdrawn",
        "transfer.commented",
        "transfer.reviewed",
        "transfer.terms_accepted",
        "permit.issued",
        "permit.suspended",
        "permit.revoked",
    }


def test_the_name_of_a_person_is_nowhere_in_the_log(world: World, database_url: str) -> None:
    made = world.admin.made("/v1/principals", {"name": f"{PLANTED} {world.name('person')}", "kind": "person"})
    assert not [body for body in bodies(database_url) if "欧阳" in body]
    (entry,) = entries(world, subject=made["id"])
    assert entry["details"]["name"] == made["name"]


def test_an_auditor_can_check_what_a_seal_opens_to(world: World) -> None:
    (entry,) = entries(world, subject=world.handler()["id"])
    (sealed,) = entry["sealed"]
    assert (sealed["pointer"], sealed["value"]) == ("/details/name", "Invented Mobility")
    salt = bytes.fromhex(sealed["salt"])
    assert len(salt) == SALT_SIZE
    expected = f"sha256:{hashlib.sha256(salt + rfc8785.dumps(sealed['value'])).hexdigest()}"
    assert json.loads(entry["body"])["details"]["name"] == {"sealed": expected} == {"sealed": sealed["hash"]}


def test_the_history_of_a_thing_shows_what_was_written(world: World) -> None:
    handler = world.handler()
    (entry,) = world.registrar.get(f"/v1/handlers/{handler['id']}/history").json()["items"]
    assert entry["details"]["name"] == "Invented Mobility"


def test_what_is_erased_cannot_be_read_any_more_and_the_entry_stays_as_it_was(world: World, database_url: str) -> None:
    handler = world.handler()
    (before,) = entries(world, subject=handler["id"])
    done = outbound(
        database_url, "audit", "erase-opening", str(before["seq"]), "/details/name", "--reason", f"{PLANTED} asks"
    )
    assert done.returncode == 0, done.stderr
    after, act = entries(world, subject=handler["id"])
    seal = before["sealed"][0]["hash"]
    assert after["details"]["name"] == {"sealed": seal}
    assert after["sealed"] == [{"pointer": "/details/name", "hash": seal, "salt": None, "value": None}]
    assert (after["body"], after["sha256"]) == (before["body"], before["sha256"])
    assert (act["action"], act["actor"], act["handler"]) == ("opening.erased", "operator", handler["id"])
    told = {"entry": before["seq"], "pointer": "/details/name", "seal": seal, "reason": f"{PLANTED} asks"}
    assert act["details"] == told
    assert PLANTED not in act["body"]


def test_nothing_is_erased_twice_or_where_nothing_is_sealed(world: World, database_url: str) -> None:
    (entry,) = entries(world, subject=world.handler()["id"])
    words = ["audit", "erase-opening", str(entry["seq"])]
    assert outbound(database_url, *words, "/details/name", "--reason", "Asked for").returncode == 0
    for pointer in ("/details/name", "/details/key"):
        refused = outbound(database_url, *words, pointer, "--reason", "Asked for")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("Nothing is sealed there, or it has been erased")


def test_a_body_never_outgrows_what_an_entry_of_a_tile_may_hold(world: World) -> None:
    handler = world.handler()
    fields = [{"name": f"field_{number:05}", "type": "text"} for number in range(2000)]
    dataset = world.dataset(handler, graded=False, fields=fields)
    (entry,) = entries(world, subject=dataset["id"])
    assert len(entry["body"].encode()) <= MAX_BODY_SIZE
    assert [one["name"] for one in entry["details"]["fields"]] == [one["name"] for one in fields]


def test_a_question_that_is_too_long_for_an_entry_has_its_fields_sealed(world: World) -> None:
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    fields = [f"field_{number:05}_{'x' * 20}" for number in range(3000)]
    told = world.ask(dataset, recipient, fields=fields, persons=1)
    (entry,) = entries(world, subject=told["context"]["id"])
    assert len(entry["body"].encode()) <= MAX_BODY_SIZE
    assert [one["pointer"] for one in entry["sealed"]] == ["/details/question/context/fields"]
    assert entry["details"]["question"]["context"]["fields"] == fields
    (short,) = entries(world, subject=world.ask(dataset, recipient, fields=fields[:100])["context"]["id"])
    assert short["sealed"] == []


@pytest.mark.parametrize("statement", ["update openings set value = '\"x\"'", "truncate openings"])
def test_openings_are_never_changed(world: World, database_url: str, statement: str) -> None:
    world.handler()
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        run_sql(database_url, statement)


def test_an_opening_that_is_not_what_was_sealed_is_shown_as_none(world: World, database_url: str) -> None:
    (entry,) = entries(world, subject=world.handler()["id"])
    gone = "delete from openings using kept where kept.seq = openings.seq"
    run_sql(database_url, "create table kept as select * from openings where seq = (select max(seq) from entries)")
    run_sql(database_url, gone, "insert into openings select seq, pointer, at, salt, '\"x\"' from kept")
    (after,) = entries(world, subject=entry["subject"])
    run_sql(database_url, gone, "insert into openings select * from kept", "drop table kept")
    assert after["sealed"] == [entry["sealed"][0] | {"salt": None, "value": None}]
