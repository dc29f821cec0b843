"""Commands that look after the workflow: the nightly review, reminders, and the check of a policy; and a service with a policy."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from service.access.caller import OPERATOR
from service.database.row_security import EVERYWHERE
from service.database.session import Database
from service.law import loader
from service.settings import Settings
from service.transfers import reviewers
from tests.commands import outbound
from tests.conftest import Clock, Served
from tests.world import Json, World, day

POLICY = """
[thresholds]
contract_persons = 1000

[service_times]
privacy = 1

[[stage]]
role = "executive"
tags = ["personal"]

[[bar]]
id = "not-there"
countries = ["KP"]
text = { en = "Nothing goes there.", zh = "不得向该地区提供数据。" }

[[evidence]]
kind = "dpo_opinion"
text = { en = "The opinion of the data protection officer", zh = "个人信息保护负责人意见" }
"""


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def approved(world: World, **more: object) -> tuple[Json, Json]:
    handler = world.handler()
    dataset = world.dataset(handler, "personal")
    return world.approved(handler, [dataset], world.recipient(), **{"persons": 10} | more), dataset


def test_the_nightly_review_lists_what_no_longer_stands_and_why(world: World, database_url: str) -> None:
    standing, _ = approved(world)
    fallen, dataset = approved(world)
    world.grade(dataset, "personal", "important")
    told = outbound(database_url, "review")
    assert told.returncode == 0, told.stderr
    assert f"{fallen['permit']} (analytics, transfer {fallen['id']}) no longer stands:" in told.stdout
    assert f"{dataset['id']}: grading_changed" in told.stdout
    assert standing["permit"] not in told.stdout
    listed = json.loads(outbound(database_url, "review", "--json").stdout)
    assert {"permit": fallen["permit"], "reason": "grading_changed"} in [
        {"permit": one["permit"], "reason": one["why"][0]["reason"]} for one in listed
    ]


def test_the_nightly_review_sees_permits_that_have_not_begun_and_can_tell_by_its_exit_code(
    world: World, database_url: str
) -> None:
    ahead, dataset = approved(world, valid_from=day(5), valid_until=day(60))
    world.grade(dataset, "personal", "important")
    told = outbound(database_url, "review", "--exit-code")
    assert (told.returncode, ahead["permit"] in told.stdout) == (3, True)


def test_a_stage_past_its_time_is_reminded_of_once_and_then_escalated_once(
    world: World, database_url: str, clock: Clock
) -> None:
    handler = world.handler()
    shown = world.submitted(handler, [world.dataset(handler, "personal")], world.recipient(), persons=10)
    book = loader.load()

    def told(hours: int) -> list[str]:
        async def run() -> list[str]:
            ahead = Clock()
            ahead.ahead = clock.ahead + timedelta(hours=hours)
            database = Database(database_url, clock=ahead, handlers=EVERYWHERE)
            found = await database.transaction(lambda tx: reviewers.remind(tx, OPERATOR, book))
            await database.close()
            return [verb for transfer, _, verb in found if transfer == shown["id"]]

        return asyncio.run(run())

    assert told(71) == []
    assert told(73) == ["reminded"]
    assert told(74) == []
    assert told(145) == ["escalated"]
    assert told(500) == []
    reminder = world.reviewers["privacy"].get("/v1/events", to_me="true", kind="stage.reminded", subject=shown["id"])
    assert len(reminder.json()["items"]) == 1
    escalation = world.reviewers["executive"].get(
        "/v1/events", to_me="true", kind="stage.escalated", subject=shown["id"]
    )
    assert escalation.json()["items"] == []
    for watching in (world.reviewers["executive"], world.requester):
        overdue = watching.get("/v1/events", to_me="true", kind="stage.overdue", subject=shown["id"]).json()["items"]
        assert overdue[-1]["where"] == {"href": f"/v1/transfers/{shown['id']}/assign", "method": "POST"}
    assert outbound(database_url, "remind").returncode == 0


def test_a_policy_is_checked_against_what_is_open(world: World, database_url: str, policy_file: Path) -> None:
    handler = world.handler()
    dataset = world.dataset(handler, "personal")
    open_ = world.submitted(handler, [dataset], world.recipient(), persons=2000)
    permit = world.approved(handler, [dataset], world.recipient("KP"), persons=10, purpose="aid")["permit"]
    told = outbound(database_url, "policy", "check", str(policy_file))
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("The policy can be used: sha256:")
    part = told.stdout[told.stdout.index(open_["id"]) :]
    assert "mechanism: exempt -> standard_contract_or_certification" in part
    assert "stages: privacy -> data_owner, privacy, legal, executive" in part
    assert f"{permit} (active):\n  denied: nothing -> prohibited" in told.stdout
    found = json.loads(outbound(database_url, "policy", "check", str(policy_file), "--json").stdout)
    assert {open_["id"], permit} <= {one["id"] for one in found["effects"]}


def test_a_policy_that_leaves_a_permit_less_room_is_seen(world: World, database_url: str, tmp_path: Path) -> None:
    handler = world.handler()
    permit = world.approved(handler, [world.dataset(handler, "personal")], world.recipient(), persons=90_000)["permit"]
    path = tmp_path / "narrow.toml"
    path.write_text(
        '[thresholds]\ncontract_persons = 50000\n[[stage]]\nrole = "legal"\nrecipients = ["nobody-has-this-key"]\n'
    )
    told = outbound(database_url, "policy", "check", str(path))
    assert (
        f"{permit} (active):\n  headroom: 90,000 persons, 0 sensitive persons -> 49,999 persons, 0 sensitive persons"
        in told.stdout
    )
    assert "No recipient of the register has the key nobody-has-this-key" in told.stdout
    found = json.loads(outbound(database_url, "policy", "check", str(path), "--json").stdout)
    assert found["unknown_recipients"] == ["nobody-has-this-key"]


def test_a_policy_that_would_free_something_is_refused_by_name(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "free.toml"
    path.write_text("[thresholds]\ncontract_persons = 100001\n")
    told = outbound(database_url, "policy", "check", str(path))
    assert (told.returncode, "contract_persons" in told.stderr, "Traceback" in told.stderr) == (1, True, False)


def test_a_service_with_a_policy_applies_it_everywhere(
    world: World, database_url: str, policy_file: Path, tmp_path: Path, clock: Clock
) -> None:
    settings = Settings(data_dir=tmp_path / "data", log_level="error", policy_file=policy_file)
    with Served(settings, database_url, clock) as address, httpx.Client(base_url=address, timeout=30) as client:
        strict = World.__new__(World)
        strict.__dict__ |= world.__dict__
        for name in ("requester", "auditor", "registrar", "exporter"):
            setattr(strict, name, _through(client, getattr(world, name)))
        strict.reviewers = {stage: _through(client, person) for stage, person in world.reviewers.items()}
        handler = strict.handler()
        dataset = strict.dataset(handler, "personal")
        shown = strict.submitted(handler, [dataset], strict.recipient(), persons=10)
        assert [stage["name"] for stage in shown["stages"]] == ["privacy", "executive"]
        assert shown["determination"]["policy"].startswith("sha256:")
        assert shown["determination"]["policy_stages"] == ["executive"]
        assert "dpo_opinion" in shown["missing_evidence"]
        issued = strict.approve(shown)
        assert issued["permit"] is not None
        barred = strict.submitted(handler, [dataset], strict.recipient("KP"), persons=10)
        assert (barred["status"], "Nothing goes there" in barred["reason"]) == ("rejected", True)
        free = strict.requester.post(
            "/v1/determinations",
            {"handler": {"ciio": False}, "dataset": {"tags": []}, "recipient": {"country": "SG"}},
        ).json()
        assert free["policy"] == shown["determination"]["policy"]
        due = strict.submitted(handler, [dataset], strict.recipient(), persons=10, valid_until=day(3))["stages"][0]
        assert (due["due_at"] > due["opened_at"], due["due_at"][:13] != due["opened_at"][:13]) == (True, True)


def test_a_policy_that_comes_stops_what_goes_under_permits_and_what_is_in_review(
    world: World, database_url: str, tmp_path: Path, clock: Clock
) -> None:
    handler = world.handler()
    dataset, partner = world.dataset(handler, "personal"), world.recipient("KP")
    other = world.recipient()
    world.approved(handler, [dataset], partner, persons=10)
    world.approved(handler, [dataset], other, persons=5_000)
    waiting = world.submitted(handler, [dataset], other, persons=10, purpose="aid")
    assert world.ask(dataset, partner, persons=1)["decision"] is True
    path = tmp_path / "policy.toml"
    path.write_text(POLICY, encoding="utf-8")
    settings = Settings(data_dir=tmp_path / "data", log_level="error", policy_file=path)
    with Served(settings, database_url, clock) as address, httpx.Client(base_url=address, timeout=30) as client:
        strict = World.__new__(World)
        strict.__dict__ |= world.__dict__
        for name in ("requester", "auditor", "exporter"):
            setattr(strict, name, _through(client, getattr(world, name)))
        strict.reviewers = {stage: _through(client, person) for stage, person in world.reviewers.items()}
        assert strict.ask(dataset, partner, persons=1)["context"]["reason"] == "prohibited"
        assert strict.export(dataset, partner, 1).status_code == 403
        allowed = strict.ask(dataset, other, persons=999)
        assert (allowed["decision"], allowed["context"]["headroom"]["persons"]) == (True, 999)
        assert strict.ask(dataset, other, persons=1_000)["context"]["reason"] == "ledger_threshold"
        strict.add_evidence(waiting, ["impact_assessment_report", "consent_record", "dpo_opinion"])
        refused = strict.review(waiting, "privacy")
        assert (refused.status_code, refused.json()["type"].rsplit("/")[-1]) == (409, "determination-moved")
        assert "the stages executive" in refused.json()["detail"]
        lines = strict.auditor.get(f"/v1/handlers/{handler['id']}/ledger").json()
        line = next(one for one in lines["thresholds"] if one["id"] == "contract_persons")
        assert (line["value"], line["law_value"], lines["headroom"]["persons"]) == (1_000, 100_000, 999)
        told = strict.auditor.get("/v1/law/rules").json()
        assert told["policy"].startswith("sha256:")


def _through(client: httpx.Client, person: object) -> object:
    made = object.__new__(type(person))
    made.__dict__ |= person.__dict__ | {"http": client}
    return made


# Keys by command


def test_a_key_by_command_is_the_operators_act_and_takes_no_second_admin(world: World, database_url: str) -> None:
    name = world.name("by-command")
    made = outbound(database_url, "keys", "create", "--principal", name, "--role", "reviewer:legal", "--role", "admin")
    person = world.known(made.stdout.splitlines()[-1])
    assert person.get("/v1/me").json()["roles"] == {"admin": "*", "reviewer:legal": "*"}
    grants = world.admin.get("/v1/grants", principal=person.id).json()["items"]
    assert {(one["source"], one["granted_by"], one["state"]) for one in grants} == {
        ("operator", "operator", "standing")
    }
    entries = world.auditor.get("/v1/audit/entries", subject=grants[0]["id"]).json()["items"]
    assert [(entry["actor"], entry["action"]) for entry in entries] == [("operator", "grant.created")]


def test_a_key_by_command_makes_a_role_stand_that_only_waited(world: World, database_url: str) -> None:
    person = world.person()
    waiting = world.admin.made("/v1/grants", {"principal": person.id, "role": "reviewer:legal"})
    made = outbound(database_url, "keys", "create", "--principal", person.name, "--role", "reviewer:legal")
    assert made.returncode == 0
    assert person.get("/v1/me").json()["roles"] == {"reviewer:legal": "*"}
    assert world.admin.get(f"/v1/grants/{waiting['id']}").json()["state"] == "withdrawn"


def test_a_system_is_no_reviewer_by_command_either(world: World, database_url: str) -> None:
    words = ("keys", "create", "--principal", world.name("robot"), "--system", "--role", "reviewer:legal")
    refused = outbound(database_url, *words)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Systems do not review" in refused.stderr


def test_a_setting_forbids_keys_by_command(world: World, database_url: str) -> None:
    name = world.name("forbidden")
    words = ("keys", "create", "--principal", name, "--role", "auditor")
    refused = outbound(database_url, *words, OUTBOUND_KEYS_BY_COMMAND="false")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "OUTBOUND_KEYS_BY_COMMAND" in refused.stderr
    assert world.admin.get(f"/v1/principals/{name}").status_code == 404
