"""Evidence packs through HTTP: who may ask, what is in one, and what never is."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import Settings
from service.verifier import pack as verify
from tests.conftest import Clock, Served, admins, database_named, run_sql
from tests.packing import PDF, Used, add_file, packed, ready
from tests.waiting import seen
from tests.world import Json, World, today


@pytest.fixture(scope="module")
def used(world: World) -> Used:
    return Used(world)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packs")


@pytest.fixture(scope="module")
def of_permit(world: World, used: Used, folder: Path) -> Path:
    return packed(world, folder, permit=used.permit)


def held(path: Path) -> bool:
    """Demand that every claim holds."""
    found = verify.verify(path)
    assert verify.code(found) == 0, list(verify.sentences(found))
    return True


def records(path: Path, kind: str) -> list[Json]:
    with zipfile.ZipFile(path) as pack:
        return [json.loads(line) for line in pack.read(f"records/{kind}.ndjson").splitlines()]


def bodies(path: Path) -> list[Json]:
    with zipfile.ZipFile(path) as pack:
        return [json.loads(line)["body"] for line in pack.read("entries.ndjson").splitlines()]


# Who may ask, and for what


def test_only_an_auditor_may_ask(world: World, used: Used) -> None:
    for person in (world.requester, world.registrar, world.admin, world.exporter, *world.reviewers.values()):
        assert person.post("/v1/evidence-packs", {"permit": used.permit}).status_code == 403
        assert person.get("/v1/evidence-packs").status_code == 403


def test_an_auditor_of_another_handler_sees_neither_the_thing_nor_the_pack(world: World, used: Used) -> None:
    stranger = world.person("auditor", handler=world.handler()["id"])
    pack = ready(world, transfer=used.transfer["id"])
    for about in (
        {"permit": used.permit},
        {"transfer": used.transfer["id"]},
        {"dataset": used.dataset["key"]},
        {"handler": used.handler["key"]},
    ):
        assert stranger.post("/v1/evidence-packs", about).status_code == 404
    assert stranger.get(f"/v1/evidence-packs/{pack['id']}").status_code == 404
    assert stranger.get(f"/v1/evidence-packs/{pack['id']}/content").status_code == 404
    assert stranger.get("/v1/evidence-packs").json()["items"] == []


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"permit": "pm_1", "transfer": "tr_1"},
        {"permit": "pm_1", "since": "2026-01-01"},
        {"handler": "any", "since": "2026-02-01", "until": "2026-01-01"},
        {"handler": "any", "comments": True},
    ],
)
def test_what_is_not_one_thing_is_refused(world: World, about: Json) -> None:
    assert world.auditor.post("/v1/evidence-packs", about).status_code == 422


def test_the_same_key_asks_once(world: World, used: Used) -> None:
    first, second = (
        world.auditor.post("/v1/evidence-packs", {"permit": used.permit}, Idempotency_Key="pack-once-1") for _ in "12"
    )
    assert first.status_code == second.status_code == 202
    assert first.json()["id"] == second.json()["id"]
    assert first.headers["Location"] == f"/v1/evidence-packs/{first.json()['id']}"


def test_asking_making_and_fetching_are_on_record(world: World, used: Used) -> None:
    pack = ready(world, permit=used.permit)
    sha256 = hashlib.sha256(world.auditor.get(pack["content"]).content).hexdigest()
    entries = world.auditor.get("/v1/audit/entries", subject=pack["id"]).json()["items"]
    assert [entry["action"].partition(".")[2] for entry in entries] == ["requested", "made", "fetched"]
    assert [entries[place]["details"]["sha256"] for place in (1, 2)] == [sha256, sha256]


# The file


def test_the_file_is_told_by_its_hash_and_can_be_fetched_in_parts(world: World, used: Used) -> None:
    pack = ready(world, permit=used.permit)
    whole = world.auditor.get(pack["content"])
    assert (whole.headers["Content-Type"], len(whole.content)) == ("application/zip", pack["size"])
    assert hashlib.sha256(whole.content).hexdigest() == pack["sha256"]
    assert whole.headers["ETag"] == f'"{pack["sha256"][:32]}"'
    assert f"{pack['id']}.zip" in whole.headers["Content-Disposition"]
    headers = {"Authorization": f"Bearer {world.auditor.secret}"}
    again = world.http.get(pack["content"], headers=headers | {"If-None-Match": whole.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    part = world.http.get(pack["content"], headers=headers | {"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])


def test_a_pack_tells_the_whole_story_of_a_permit(of_permit: Path, used: Used) -> None:
    assert held(of_permit)
    assert [one["id"] for one in records(of_permit, "permits")] == [used.permit]
    assert [one["number"] for one in records(of_permit, "revisions")] == [1, 2]
    decisions = [one["decision"] for one in records(of_permit, "reviews")]
    assert decisions == ["return", *["approve"] * len(used.transfer["stages"])]
    ends = [one["status"] for one in records(of_permit, "exports")]
    assert ends == ["completed", "completed", "cancelled", "reserved"]
    with zipfile.ZipFile(of_permit) as pack:
        names = set(pack.namelist())
        files = [pack.read(name) for name in names if name.startswith("evidence/")]
        manifest = json.loads(pack.read("manifest.json"))
    assert files == [PDF]
    assert {f"report.{language}.{form}" for language in ("en", "zh") for form in ("html", "pdf")} <= names
    assert {"README.txt", "keys.json", "checkpoint", "proof.ndjson", "law/rules.toml"} <= names
    assert manifest["counts"]["exports"] == 4
    assert {one["name"] for one in manifest["members"]} == names - {"manifest.json", "manifest.note"}


def test_each_kind_of_pack_is_held(world: World, used: Used, folder: Path) -> None:
    assert held(packed(world, folder, transfer=used.transfer["id"]))
    assert held(packed(world, folder, dataset=used.dataset["key"]))
    assert held(packed(world, folder, handler=used.handler["key"], since=today().isoformat()))


def test_a_pack_of_a_draft_tells_what_there_is(world: World, folder: Path) -> None:
    handler = world.handler()
    draft = world.draft(handler, [world.dataset(handler, "personal")], world.recipient())
    path = packed(world, folder, transfer=draft["id"])
    assert held(path)
    assert [one["status"] for one in records(path, "transfers")] == ["draft"]


def test_a_handlers_pack_tells_what_was_asked_and_refused(world: World, folder: Path) -> None:
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    world.ask(dataset, recipient, persons=3)
    assert world.export(dataset, recipient, 3).status_code == 403
    path = packed(world, folder, handler=handler["id"])
    assert held(path)
    assert {"gate.evaluated", "export.refused"} <= {body["action"] for body in bodies(path)}


def test_a_period_leaves_out_what_was_before_it(world: World, used: Used, folder: Path) -> None:
    tomorrow = (today() + timedelta(days=1)).isoformat()
    handler = world.handler()
    world.draft(handler, [world.dataset(handler, "personal")], world.recipient())
    path = packed(world, folder, handler=handler["id"], since=tomorrow)
    assert held(path)
    assert records(path, "transfers") == []
    # A permit that holds in the period is told with all that went under it: what was left of it depends on that.
    path = packed(world, folder, handler=used.handler["id"], since=tomorrow)
    assert held(path)
    assert len(records(path, "exports")) == 4


def test_what_a_renewal_repeats_is_proved_by_what_was_added_before(world: World, folder: Path) -> None:
    handler = world.handler()
    datasets, recipient = [world.dataset(handler, "personal")], world.recipient()
    old = world.submitted(handler, datasets, recipient, persons=100)
    for kind in old["missing_evidence"]:
        assert add_file(world, old, kind).status_code == 201
    approved = world.approve(world.requester.get(f"/v1/transfers/{old['id']}").json())
    until = (today() + timedelta(days=300)).isoformat()
    renewal = world.requester.made(
        f"/v1/transfers/{approved['id']}/renew", {"valid_from": today().isoformat(), "valid_until": until}
    )
    again = world.approve(world.requester.made(f"/v1/transfers/{renewal['id']}/submit", None))
    path = packed(world, folder, permit=again["permit"])
    assert held(path)
    assert any(one["repeats"] for one in records(path, "evidence"))


def test_a_narrowed_permit_is_held_to_what_it_was_narrowed_to(world: World, folder: Path) -> None:
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    permit = world.approved(handler, [dataset], recipient, persons=100)["permit"]
    assert world.export(dataset, recipient, 10).status_code == 201
    body = {"persons": 20, "reason": "Less is enough"}
    assert world.reviewers["privacy"].post(f"/v1/permits/{permit}/amend", body).status_code == 200
    assert world.export(dataset, recipient, 10).status_code == 201
    assert world.reviewers["legal"].post(f"/v1/permits/{permit}/revoke", {"reason": "Over"}).status_code == 200
    path = packed(world, folder, permit=permit)
    assert held(path)
    assert records(path, "permits")[0]["stored_status"] == "revoked"


# What is never in it


def test_no_word_about_persons_is_in_a_pack_but_the_reviewers_names(world: World, folder: Path) -> None:
    planted = iter(f"Zhang Wei {number} zw{number}@example.com" for number in range(100))
    secrets: list[str] = []

    def secret() -> str:
        secrets.append(next(planted))
        return secrets[-1]

    handler = world.handler()
    dataset = world.dataset(handler, "personal", owner=secret(), description=secret(), graded=False)
    grading = {"tags": ["personal"], "reason": secret(), "basis": "Catalogue 2026, entry 7"}
    world.registrar.made(f"/v1/datasets/{dataset['id']}/gradings", grading)
    recipient = world.recipient()
    transfer = world.submitted(handler, [dataset], recipient, persons=100)
    world.add_evidence(transfer, transfer["missing_evidence"], note=secret())
    assert add_file(world, transfer, "other", name=f"{secret()}.pdf").status_code == 201
    world.requester.made(f"/v1/transfers/{transfer['id']}/comments", {"text": secret()})
    recusal = world.reviewers["executive"].post(f"/v1/transfers/{transfer['id']}/recuse", {"reason": secret()})
    assert recusal.status_code in {200, 201}, recusal.text
    for stage in transfer["stages"]:
        answer = world.review(transfer, stage["name"], comment=secret())
        assert answer.status_code == 201, answer.text
    permit = answer.json()["permit"]
    for verb in ("suspend", "resume"):
        assert world.reviewers["legal"].post(f"/v1/permits/{permit}/{verb}", {"reason": secret()}).status_code == 200
    question = {
        "subject": {"type": "user", "id": secret()},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": dataset["id"]},
        "context": {"recipient": recipient["id"], "purpose": "analytics"},
    }
    assert world.exporter.post("/access/v1/evaluation", question).status_code == 200
    for about in ({"handler": handler["id"]}, {"permit": permit}, {"dataset": dataset["id"]}):
        path = packed(world, folder, **about)
        found = verify.verify(path)
        assert verify.code(found) == 0, list(verify.sentences(found))
        with zipfile.ZipFile(path) as pack:
            everything = b"\n".join(pack.read(name) for name in pack.namelist())
        assert b"Zhang Wei" not in everything
        assert b"@example.com" not in everything
        assert world.requester.name.encode() not in everything
        assert world.registrar.name.encode() not in everything
        assert world.reviewers[transfer["stages"][0]["name"]].name.encode() in everything


def test_entries_from_before_texts_were_sealed_are_in_it_by_their_hash_alone(
    world: World, database_url: str, folder: Path
) -> None:
    handler = world.handler()
    approved = world.approved(handler, [world.dataset(handler, "personal")], world.recipient(), persons=100)
    comment = {"comment": "Zhang Wei has seen it", "transfer": approved["id"]}
    body = {"action": "transfer.commented", "actor": world.requester.id, "at": "2026-01-01T00:00:00Z"}
    old = body | {"details": comment, "handler": handler["id"], "subject": approved["id"]}
    text = json.dumps(old, sort_keys=True, separators=(",", ":"))
    literal = text.replace("'", "''")
    run_sql(
        database_url,
        "insert into entries (at, actor, action, subject, handler, body, sha256) values (now(), "  # noqa: S608
        f"'{world.requester.id}', 'transfer.commented', '{approved['id']}', '{handler['id']}', '{literal}', "
        f"sha256(convert_to('{literal}', 'UTF8')))",
    )
    path = packed(world, folder, permit=approved["permit"])
    found = verify.verify(path)
    assert verify.code(found) == 0
    assert found.replay.withheld == 1
    with zipfile.ZipFile(path) as pack:
        assert all(b"Zhang Wei" not in pack.read(name) for name in pack.namelist())


# What an administrator of the database changes


def test_a_record_that_an_administrator_has_changed_is_not_what_its_entry_says(
    world: World, database_url: str, folder: Path
) -> None:
    handler = world.handler()
    approved = world.approved(handler, [world.dataset(handler, "personal")], world.recipient(), persons=100)
    review = approved["reviews"][0]
    other = world.reviewers["executive"].id

    def change(reviewer: str) -> None:
        run_sql(database_url, f"update reviews set reviewer = '{reviewer}' where id = '{review['id']}'")  # noqa: S608

    change(other)
    try:
        found = verify.verify(packed(world, folder, permit=approved["permit"]))
    finally:
        change(review["reviewer"])
    assert {name for name, claim in found.claims.items() if claim.verdict == "broken"} == {"records", "columns"}


# A service of its own


class Own:
    """A service with a database, a clock and settings of its own."""

    def __init__(self, postgres: str, folder: Path, name: str, **settings: Any) -> None:
        self.url, self.clock = database_named(postgres, name), Clock()
        run_sql(postgres, f"create database {name} template template_outbound")
        self.settings = Settings(data_dir=folder / name, log_level="error", **settings)
        self.keys = admins(self.url)

    def serve(self) -> Served:
        return Served(self.settings, self.url, self.clock)


POLICY = """
[thresholds]
contract_persons = 1000
"""


def test_the_companys_own_rules_are_in_a_pack_and_decide_again(postgres: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    own = Own(postgres, tmp_path, "packs_policy", policy_file=file)
    with own.serve() as address, httpx.Client(base_url=address, timeout=30) as http:
        world = World(http, own.keys)
        handler = world.handler()
        approved = world.approved(handler, [world.dataset(handler, "personal")], world.recipient(), persons=2000)
        path = packed(world, tmp_path, permit=approved["permit"])
    assert held(path)
    assert records(path, "revisions")[0]["determination"]["policy"].startswith("sha256:")


@pytest.fixture
def own(postgres: str, tmp_path: Path) -> Iterator[tuple[Own, World]]:
    """A service that makes no packs until somebody does."""
    name = f"packs_{tmp_path.name[-20:]}".replace("-", "_").lower()
    made = Own(postgres, tmp_path, name, pack_worker=False, pack_keep_days=2)
    with made.serve() as address, httpx.Client(base_url=address, timeout=30) as http:
        yield made, World(http, made.keys)


def test_a_pack_that_is_not_made_yet_says_so_and_one_that_has_expired_is_gone(own: tuple[Own, World]) -> None:
    service, world = own
    handler = world.handler()
    pack = world.auditor.post("/v1/evidence-packs", {"handler": handler["id"]}).json()
    refused = world.auditor.get(f"/v1/evidence-packs/{pack['id']}/content")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/pack-not-ready")
    documented = world.http.get("/openapi.json").json()["paths"]["/v1/evidence-packs/{pack}/content"]["get"]
    assert "409" in documented["responses"]
    working = Served(service.settings.model_copy(update={"pack_worker": True}), service.url, service.clock)
    with working:
        shown = ready(world, handler=handler["id"])
        (file,) = (service.settings.data_dir / "packs").glob(f"{shown['id']}-*.zip")
        service.clock.ahead = timedelta(days=3)
        assert world.auditor.get(f"/v1/evidence-packs/{shown['id']}").json()["state"] == "expired"
        seen(lambda: not file.exists())
    assert world.auditor.get(shown["content"] or f"/v1/evidence-packs/{shown['id']}/content").status_code == 409
