"""What `verify` says of a pack that is whole, and of one that somebody has changed, with the log's key or without."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from service.audit import pack_columns
from service.audit.tlog.signed_note import COSIGNATURE, Signer
from service.law import loader
from service.law.rule_book import RuleBook
from service.verifier import pack as verify
from service.verifier import single_file
from service.verifier.replay import CLAIMS
from tests.faults.racing import times
from tests.forging import Forgery, line, pem
from tests.packing import Used, packed
from tests.world import Json, World


@pytest.fixture(scope="module")
def used(world: World) -> Used:
    return Used(world)


@pytest.fixture(scope="module")
def pack(world: World, used: Used, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(world, tmp_path_factory.mktemp("packs"), permit=used.permit)


@pytest.fixture(scope="session")
def own_law() -> RuleBook:
    return loader.load()


@pytest.fixture(autouse=True)
def compiled_once(own_law: RuleBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each look at a pack the compiling of our own law data, which takes longer than a small pack does."""
    load = loader.load
    monkeypatch.setattr(loader, "load", lambda *of: own_law if of == (loader.DATA_DIRECTORY, None) else load(*of))


def broken(path: Path, *vkeys: str) -> set[str]:
    """Return the claims that are broken."""
    found = verify.verify(path, vkeys)
    return {name for name, claim in found.claims.items() if claim.verdict == "broken"}


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier in one file."""
    path = tmp_path_factory.mktemp("verifier") / single_file.FILE_NAME
    path.write_bytes(single_file.build_verifier())
    return path


def by_file(verifier: Path, pack: Path, *arguments: str) -> tuple[int, dict[str, str]]:
    """Verify a pack with Python alone, without any installed package; return the exit code and the verdict of each claim."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(verifier), str(pack), "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, {one["claim"]: one["verdict"] for one in json.loads(done.stdout)["claims"]}


def test_every_claim_of_a_whole_pack_is_held(pack: Path) -> None:
    found = verify.verify(pack)
    verdicts = {name: claim.verdict for name, claim in found.claims.items()}
    assert verdicts.pop("witnesses") == "nothing to check"
    assert set(verdicts.values()) == {"held"}, list(verify.sentences(found))
    assert verify.code(found) == 0


def test_a_pack_that_is_made_anew_from_its_parts_is_held(pack: Path, tmp_path: Path) -> None:
    assert broken(Forgery(pack).save(tmp_path / "again.zip")) == set()


# Somebody who has the log's key, and makes everything above the change anew


def review_by_the_author(forged: Forgery) -> None:
    review = next(one for one in forged.entries if one["action"] == "transfer.reviewed")
    author = forged.entry("transfer.created")["actor"]
    review["actor"] = author
    shown = next(one for one in forged.records["reviews"] if one["id"] == review["details"]["review"])
    shown["reviewer"], shown["persons"] = author, [author]
    actor = next(one for one in forged.records["actors"] if one["id"] == author)
    actor["name"] = "Somebody"


def approvals(forged: Forgery) -> list[Json]:
    return [
        one
        for one in forged.entries
        if one["action"] == "transfer.reviewed" and one["details"]["decision"] == "approve"
    ]


def two_stages_by_one_person(forged: Forgery) -> None:
    first, second = approvals(forged)[:2]
    second["actor"] = first["actor"]
    shown = {one["id"]: one for one in forged.records["reviews"]}
    shown[second["details"]["review"]] |= {"reviewer": first["actor"], "persons": [first["actor"]]}


def two_stages_by_keys_of_one_maker(forged: Forgery) -> None:
    shown = {one["id"]: one for one in forged.records["reviews"]}
    for review in approvals(forged)[:2]:
        review["details"]["credential"]["seen_by"] = ["pr_maker"]
        shown[review["details"]["review"]]["persons"].append("pr_maker")


def a_paper_that_a_reviewer_filed(forged: Forgery) -> None:
    reviewer, rests_on = approvals(forged)[0]["actor"], forged.entry("permit.issued")["details"]["evidence"]
    for one in forged.entries:
        if one["action"] == "transfer.evidence_added" and one["details"]["evidence"] in rests_on:
            one["actor"] = reviewer
    for one in forged.records["evidence"]:
        one |= {"added_by": reviewer, "added_persons": [reviewer]}


def a_key_that_nobody_else_had_seen(forged: Forgery) -> None:
    approvals(forged)[0]["details"]["credential"]["seen_by"] = ["pr_maker"]


def nobody_could_have_graded(forged: Forgery) -> None:
    forged.records["gradings"][0]["graded_persons"] = None


def somebody_else_filed_it(forged: Forgery) -> None:
    forged.records["evidence"][0]["added_persons"].append("pr_maker")


def on_behalf_of_the_author(forged: Forgery) -> None:
    review, author = approvals(forged)[0], forged.entry("transfer.created")["actor"]
    review["details"]["on_behalf_of"] = author
    shown = {one["id"]: one for one in forged.records["reviews"]}
    shown[review["details"]["review"]]["on_behalf_of"] = author
    shown[review["details"]["review"]]["persons"].append(author)


def review_after_standing_back(forged: Forgery) -> None:
    review = approvals(forged)[0]
    recusal = {**review, "action": "transfer.recused", "details": {"reason": {"sealed": "sha256:00"}}}
    forged.entries.insert(forged.entries.index(review), recusal)


def reviewer_is_a_system(forged: Forgery) -> None:
    reviewer = approvals(forged)[0]["actor"]
    next(one for one in forged.records["actors"] if one["id"] == reviewer)["kind"] = "system"


def reviewed_another_content(forged: Forgery) -> None:
    approvals(forged)[0]["details"]["hash"] = f"sha256:{'0' * 64}"


def another_content(forged: Forgery) -> None:
    forged.records["revisions"][-1]["content"]["request"]["persons"] = 7


def approval_is_missing(forged: Forgery) -> None:
    forged.entries.remove(approvals(forged)[-1])
    forged.records["reviews"].pop()


def approval_was_taken_back(forged: Forgery) -> None:
    review = approvals(forged)[0]
    details = {name: review["details"][name] for name in ("review", "stage", "revision")}
    taken = {**review, "action": "transfer.approval_taken_back", "details": details}
    forged.entries.insert(forged.entries.index(forged.entry("permit.issued")), taken)
    shown = next(one for one in forged.records["reviews"] if one["id"] == details["review"])
    shown["taken_back_at"] = review["at"]


def issued_on_the_first_revision(forged: Forgery) -> None:
    first = forged.records["revisions"][0]["hash"]
    forged.entry("permit.issued")["details"]["revision"] = first
    forged.records["permits"][0]["revision"] = first


def another_mechanism(forged: Forgery) -> None:
    submitted = [one for one in forged.entries if one["action"] == "transfer.submitted"]
    for one in submitted:
        one["details"]["mechanism"] = "exempt"
    for one in forged.records["revisions"]:
        one["determination"]["mechanism"] = "exempt"


def less_evidence(forged: Forgery) -> None:
    forged.records["revisions"][-1]["determination"]["evidence"].pop()


def another_count_of_the_year(forged: Forgery) -> None:
    forged.records["revisions"][-1]["ledger"]["persons"] = 999_999


def used_while_suspended(forged: Forgery) -> None:
    forged.entries.remove(forged.entry("permit.resumed"))
    forged.records["permits"][0]["stored_status"] = "suspended"


def used_after_its_end(forged: Forgery) -> None:
    forged.entry("permit.issued")["details"]["valid_until"] = "2020-01-01"
    forged.records["permits"][0]["valid_until"] = "2020-01-01"


def used_for_another_purpose(forged: Forgery) -> None:
    export = forged.entry("export.reserved")
    export["details"]["question"]["purpose"] = "advertising"
    shown = next(one for one in forged.records["exports"] if one["id"] == export["subject"])
    shown["purpose"] = "advertising"


def used_for_another_recipient(forged: Forgery) -> None:
    export = forged.entry("export.reserved")
    export["details"]["recipient"] = "rc_another"
    next(one for one in forged.records["exports"] if one["id"] == export["subject"])["recipient"] = "rc_another"


def used_for_another_dataset(forged: Forgery) -> None:
    export = forged.entry("export.reserved")
    export["details"]["dataset"] = "ds_another"
    next(one for one in forged.records["exports"] if one["id"] == export["subject"])["dataset"] = "ds_another"


def used_for_more_fields(forged: Forgery) -> None:
    forged.entry("export.reserved")["details"]["question"]["fields"] = ["city", "passport"]


def more_went_than_allowed(forged: Forgery) -> None:
    forged.entry("permit.issued")["details"]["persons"] = 80
    forged.records["permits"][0]["persons"] = 80


def narrowed_below_what_went(forged: Forgery) -> None:
    resumed = forged.entry("permit.resumed")
    amended = {**resumed, "action": "permit.amended", "details": {"before": {}, "after": {"persons": 80}}}
    forged.entries.insert(forged.entries.index(resumed), amended)
    forged.records["permits"][0]["persons"] = 80


def export_is_not_shown(forged: Forgery) -> None:
    forged.records["exports"].pop()


def export_was_smaller(forged: Forgery) -> None:
    forged.records["exports"][0]["sent"]["persons"] -= 1


def export_is_made_up(forged: Forgery) -> None:
    forged.records["exports"].append({**forged.records["exports"][0], "id": "ex_made_up"})


def end_of_an_export_without_its_beginning(forged: Forgery) -> None:
    forged.entries.remove(forged.entry("export.reserved"))


def review_is_not_shown(forged: Forgery) -> None:
    forged.records["reviews"].pop()


def review_is_shown_as_another_decision(forged: Forgery) -> None:
    forged.records["reviews"][0]["decision"] = "approve"


def revision_is_not_shown(forged: Forgery) -> None:
    forged.records["revisions"].pop(0)


def permit_is_wider(forged: Forgery) -> None:
    forged.records["permits"][0]["persons"] += 1


def permit_is_shown_as_suspended(forged: Forgery) -> None:
    forged.records["permits"][0]["stored_status"] = "suspended"


def permit_is_not_shown(forged: Forgery) -> None:
    forged.records["permits"].clear()


def grading_was_another(forged: Forgery) -> None:
    forged.records["gradings"][0]["tags"] = []


def it_is_about_something_else(forged: Forgery) -> None:
    forged.manifest["subject"] = "pm_something_else"


def review_with_other_conditions(forged: Forgery) -> None:
    forged.records["reviews"][-1]["conditions"] = {"persons": 5}


def permit_with_other_conditions(forged: Forgery) -> None:
    forged.records["permits"][0]["conditions"] = [{"stage": "legal", "persons": 5}]


def permit_is_shown_as_ended(forged: Forgery) -> None:
    forged.records["permits"][0]["status"] = "expired"


def permit_is_shown_with_a_duty_overdue(forged: Forgery) -> None:
    forged.records["permits"][0]["overdue"] = ["ob_made_up"]


def less_went_than_was_reported(forged: Forgery) -> None:
    forged.records["permits"][0]["sent"]["persons"] -= 1


def export_does_not_count(forged: Forgery) -> None:
    export = next(one for one in forged.records["exports"] if one["counts"])
    export["counts"] = False


def evidence_of_another_size(forged: Forgery) -> None:
    next(one for one in forged.records["evidence"] if one["size"] is not None)["size"] += 1


def another_evidence_file(forged: Forgery) -> None:
    name = next(name for name in forged.files if name.startswith("evidence/"))
    forged.files[name] += b"more"


def another_evidence_hash(forged: Forgery) -> None:
    next(one for one in forged.records["evidence"] if one["sha256"] is None)["sha256"] = "00" * 32


FORGERIES: dict[Callable[[Forgery], None], set[str]] = {
    review_by_the_author: {"separation"},
    two_stages_by_one_person: {"separation"},
    two_stages_by_keys_of_one_maker: {"separation"},
    a_paper_that_a_reviewer_filed: {"separation"},
    a_key_that_nobody_else_had_seen: {"records"},
    nobody_could_have_graded: {"records"},
    somebody_else_filed_it: {"records"},
    on_behalf_of_the_author: {"separation"},
    review_after_standing_back: {"separation"},
    reviewer_is_a_system: {"separation"},
    reviewed_another_content: {"reviews", "records"},
    another_content: {"reviews", "law"},
    approval_is_missing: {"approval"},
    approval_was_taken_back: {"approval"},
    issued_on_the_first_revision: {"approval"},
    another_mechanism: {"law"},
    less_evidence: {"law"},
    another_count_of_the_year: {"law"},
    used_while_suspended: {"standing"},
    used_after_its_end: {"standing"},
    used_for_another_purpose: {"standing"},
    used_for_another_recipient: {"standing"},
    used_for_another_dataset: {"standing"},
    used_for_more_fields: {"standing"},
    more_went_than_allowed: {"quota", "standing"},
    narrowed_below_what_went: {"quota", "standing"},
    export_is_not_shown: {"records"},
    export_was_smaller: {"records"},
    export_is_made_up: {"records"},
    end_of_an_export_without_its_beginning: {"records"},
    review_is_not_shown: {"records"},
    review_is_shown_as_another_decision: {"records"},
    revision_is_not_shown: {"records"},
    permit_is_wider: {"records"},
    permit_is_shown_as_suspended: {"records", "standing"},
    permit_is_not_shown: {"records"},
    grading_was_another: {"records"},
    review_with_other_conditions: {"records"},
    permit_with_other_conditions: {"records"},
    permit_is_shown_as_ended: {"standing"},
    permit_is_shown_with_a_duty_overdue: {"standing"},
    less_went_than_was_reported: {"quota"},
    export_does_not_count: {"records"},
    evidence_of_another_size: {"evidence"},
    it_is_about_something_else: {"records"},
    another_evidence_file: {"evidence"},
    another_evidence_hash: {"evidence"},
}


@pytest.mark.parametrize(("forge", "claims"), FORGERIES.items(), ids=[forge.__name__ for forge in FORGERIES])
def test_what_cannot_have_been_so_is_found_whoever_signed_it(
    pack: Path, tmp_path: Path, forge: Callable[[Forgery], None], claims: set[str]
) -> None:
    forged = Forgery(pack)
    forge(forged)
    assert broken(forged.save(tmp_path / "forged.zip")) == claims


@pytest.mark.parametrize(("forge", "claims"), FORGERIES.items(), ids=[forge.__name__ for forge in FORGERIES])
def test_the_verifier_in_one_file_finds_the_same_but_for_the_law(
    pack: Path, verifier: Path, tmp_path: Path, forge: Callable[[Forgery], None], claims: set[str]
) -> None:
    forged = Forgery(pack)
    forge(forged)
    code, verdicts = by_file(verifier, forged.save(tmp_path / "forged.zip"))
    assert {name for name, verdict in verdicts.items() if verdict == "broken"} == claims - {"law"}
    assert code == (1 if claims - {"law"} else 3)
    assert verdicts["law"] == "not checked here"


def test_the_verifier_in_one_file_says_what_it_does_not_check(pack: Path, verifier: Path) -> None:
    code, verdicts = by_file(verifier, pack)
    assert verdicts.pop("law") == "not checked here"
    assert verdicts.pop("witnesses") == "nothing to check"
    assert set(verdicts.values()) == {"held"}
    assert code == 3


def test_the_verifier_in_one_file_is_the_one_that_the_pack_names(pack: Path, verifier: Path) -> None:
    sha256 = hashlib.sha256(verifier.read_bytes()).hexdigest()
    with zipfile.ZipFile(pack) as file:
        manifest, readme = json.loads(file.read("manifest.json")), file.read("README.txt").decode()
    assert manifest["verifier_sha256"] == sha256
    assert readme.count(sha256) == 2
    assert readme.count(f" {manifest['version']}") == 2
    assert "pip install" not in readme
    # A member's bytes depend on the program alone, not on the machine.
    with zipfile.ZipFile(verifier) as file:
        assert {one.date_time for one in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {one.compress_type for one in file.infolist()} == {zipfile.ZIP_STORED}


def test_the_verifier_in_one_file_finds_another_key_and_another_witness(
    pack: Path, verifier: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(pack) as file:
        vkey = json.loads(file.read("keys.json"))["log"][0]
    forged = Forgery(pack).save(tmp_path / "forged.zip")
    _, verdicts = by_file(verifier, forged, "--vkey", vkey)
    assert {name for name, verdict in verdicts.items() if verdict == "broken"} == {"manifest", "checkpoint"}
    _, verdicts = by_file(verifier, pack, "--witness", Signer(pem(), "witness.example", COSIGNATURE).vkey)
    assert verdicts["witnesses"] == "broken"


def another(value: Any) -> Any:
    """Return another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, list):
        return [*value, "more"]
    if isinstance(value, dict):
        return {**value, "more": True}
    return "2026-01-02" if value is None else f"{value} "


def shown_cells(records: dict[str, list[Json]]) -> dict[tuple[str, str, str], bytes]:
    return {
        cell.place: cell.content
        for kind, some in records.items()
        for record in some
        for cell in pack_columns.cells_of(kind, record)
    }


def test_a_record_in_which_any_column_is_another_is_noticed(pack: Path, verifier: Path, tmp_path: Path) -> None:
    """Whoever holds the log's key makes the pack anew, but cannot have the log say that the acts wrote otherwise."""
    forged, tried = Forgery(pack), set[str]()
    forged.save(tmp_path / "whole.zip")
    whole = shown_cells(forged.records)
    chance = random.Random(17)  # noqa: S311
    columns = [
        (kind, member)
        for kind, told in pack_columns.RECORD_KINDS.items()
        for member in told.members
        if forged.records[kind]
    ]
    for kind, member in columns:
        record = chance.choice(forged.records[kind])
        if member in pack_columns.RECORD_KINDS[kind].optional and record[member] is None:
            continue
        before, record[member] = record[member], another(record[member])
        if member in pack_columns.RECORD_KINDS[kind].hexadecimal:
            record[member] = "00" * 32
        forged.save(tmp_path / "forged.zip", is_honest=False)
        found = verify.verify(tmp_path / "forged.zip")
        expected = {place for place, content in shown_cells(forged.records).items() if whole.get(place) != content}
        assert found.claims["columns"].verdict == "broken", (kind, member)
        assert expected <= found.differing, (kind, member)
        record[member] = before
        tried.add(f"{kind}.{member}")
    assert len(tried) > 80
    forged.records["reviews"][0]["at"] = "2026-01-02T00:00:00Z"
    code, verdicts = by_file(verifier, forged.save(tmp_path / "forged.zip", is_honest=False))
    assert (code, verdicts["columns"]) == (1, "broken")


def test_every_member_that_a_pack_shows_is_covered_by_a_claim(pack: Path) -> None:
    covered = {name for names in pack_columns.claimed_members().values() for name in names}
    told = verify.document(verify.verify(pack))
    assert {name for claim in told["claims"] for name in claim["covers"]} == covered
    shown_members = set[str]()
    with zipfile.ZipFile(pack) as file:
        for name in file.namelist():
            if name.startswith("records/"):
                kind = name.removeprefix("records/").removesuffix(".ndjson")
                for record in map(json.loads, file.read(name).splitlines()):
                    shown_members |= {f"{kind}.{member}" for member in record}
                    for nested in ("stages", "datasets"):
                        for one in record.get(nested, []):
                            if isinstance(one, dict):
                                shown_members |= {f"{kind}.{nested}.{member}" for member in one}
    shown_members -= {"revisions.stages", "permits.datasets"}
    assert shown_members <= covered
    assert set(CLAIMS) >= pack_columns.claimed_members().keys()


def test_what_an_act_wrote_cannot_be_left_out_or_be_another(pack: Path, tmp_path: Path) -> None:
    whole = dict(members(pack))
    lines = whole["effects.ndjson"].splitlines(keepends=True)
    forged = Forgery(pack)

    def verdict(effects: list[bytes]) -> str:
        files = [(name, b"".join(effects) if name == "effects.ndjson" else content) for name, content in whole.items()]
        return verify.verify(written(tmp_path / "changed.zip", files)).claims["columns"].verdict

    assert len(lines) > 5
    for place in range(len(lines)):
        assert verdict([*lines[:place], *lines[place + 1 :]]) in {"broken", "cannot be checked"}
    later = json.loads(lines[-1])
    assert verdict([*lines[:-1], line({**later, "value": later["value"] + " "}) + b"\n"]) == "broken"
    assert verdict([*lines, line({**later, "seq": later["seq"] + 10_000}) + b"\n"]) == "broken"
    assert forged.records["permits"]


def verdicts(path: Path) -> dict[str, str]:
    found = verify.verify(path)
    return {name: claim.verdict for name, claim in found.claims.items() if claim.verdict != "nothing to check"}


def test_a_pack_holds_beside_what_others_do_at_the_same_handler(world: World, tmp_path: Path) -> None:
    """The year's count of a handler is shown in each pack, and was set last by an export under another permit."""
    used = Used(world)
    dataset, recipient = world.dataset(used.handler, "personal"), world.recipient()
    other = world.approved(used.handler, [dataset], recipient, persons=500)
    export = world.export(dataset, recipient, 5)
    assert export.status_code == 201, export.text
    sent = {"persons": 5, "sensitive_persons": 0}
    assert world.exporter.post(f"/v1/exports/{export.json()['id']}/complete", sent).status_code == 200
    for about in ({"permit": used.permit}, {"permit": other["permit"]}, {"dataset": used.dataset["id"]}):
        path = packed(world, tmp_path, **about)
        assert set(verdicts(path).values()) == {"held"}, list(verify.sentences(verify.verify(path)))
    hidden = next(one for one in Forgery(packed(world, tmp_path, permit=used.permit)).records["exports"])
    forged = Forgery(packed(world, tmp_path, permit=used.permit))
    forged.entries = [
        one for one in forged.entries if (one["action"], one["subject"]) != ("export.reserved", hidden["id"])
    ]
    forged.records["exports"].remove(hidden)
    assert "records" in broken(forged.save(tmp_path / "hidden.zip")), (
        "its end is told, and no beginning under the permit of the pack"
    )


def with_a_duty_beside(pack: Path, **other: str) -> tuple[Forgery, Json]:
    """Return a pack whose last act wrote an obligation that is not shown, and the line that would tell whose it is."""
    forged = Forgery(pack)
    duty = {**forged.records["obligations"][0], "id": "ob_another", **other}
    forged.records["obligations"].append(duty)
    forged.effects, forged.salts = forged.written()
    forged.records["obligations"].pop()
    own = [one for one in forged.salts if one["row"] == "ob_another"]
    forged.salts = [one for one in forged.salts if one["row"] != "ob_another"]
    (name,) = other or ("transfer",)
    told = next(one for one in own if name in one["salts"])
    return forged, told | {"values": {name: duty[name]}}


def test_an_obligation_that_is_not_shown_is_one_of_others_or_was_left_out(pack: Path, tmp_path: Path) -> None:
    def saved(forged: Forgery) -> set[str]:
        return broken(forged.save(tmp_path / "forged.zip", is_honest=False))

    for other in ({"transfer": "tr_another"}, {"handler": "hd_another"}):
        forged, told = with_a_duty_beside(pack, **other)
        assert saved(forged) == {"columns"}, "nothing says whose it is"
        forged.salts.append(told)
        assert saved(forged) == set(), other
        forged.salts[-1] = told | {"values": {next(iter(other)): "another one"}}
        assert saved(forged) == {"columns"}, "what is said is not what the act wrote"
        forged.salts[-1] = told | {"seq": told["seq"] - 1}
        assert saved(forged) == {"columns"}
    forged, told = with_a_duty_beside(pack)
    forged.salts.append(told)
    assert saved(forged) == {"columns"}, "it is of a request that is shown"
    forged.salts[-1] = told | {"values": {"transfer": "tr_another"}}
    assert saved(forged) == {"columns"}


def test_another_key_than_the_logs_is_found(pack: Path, tmp_path: Path) -> None:
    vkey = json.loads(zipfile.ZipFile(pack).read("keys.json"))["log"][0]
    forged = Forgery(pack).save(tmp_path / "forged.zip")
    assert broken(pack, vkey) == set()
    assert broken(forged, vkey) == {"manifest", "checkpoint"}


# Somebody who has no key


def members(path: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as pack:
        return [(name, pack.read(name)) for name in pack.namelist()]


def written(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as pack:
        for name, content in files:
            pack.writestr(name, content)
    return path


def noticed(path: Path) -> bool:
    """Tell whether a pack is refused, or one of its claims is broken."""
    try:
        return verify.code(verify.verify(path)) == 1
    except verify.PackError:
        return True


Change = Callable[[random.Random, bytes], bytes]


def flipped(chance: random.Random, content: bytes) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]


def cut(chance: random.Random, content: bytes) -> bytes:
    return content[: chance.randrange(len(content))]


def line_removed(chance: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    lines.pop(chance.randrange(len(lines)))
    return b"".join(lines)


def line_doubled(chance: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    return b"".join(lines)


def lines_swapped(chance: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


@pytest.mark.parametrize("change", [flipped, cut, line_removed, line_doubled, lines_swapped])
def test_a_change_of_any_member_is_noticed(pack: Path, tmp_path: Path, change: Change) -> None:
    whole, chance = members(pack), random.Random(change.__name__)  # noqa: S311
    for place, (name, content) in enumerate(whole):
        changed = change(chance, content)
        files = [*whole[:place], (name, changed), *whole[place + 1 :]]
        assert changed == content or noticed(written(tmp_path / "changed.zip", files)), name


def test_a_flip_of_any_bit_of_the_small_members_is_noticed(pack: Path, tmp_path: Path) -> None:
    whole, chance = members(pack), random.Random(7)  # noqa: S311
    small = [place for place, (name, _) in enumerate(whole) if not name.startswith(("report", "law/", "README"))]
    for _ in range(times(120, 3000)):
        place = chance.choice(small)
        name, content = whole[place]
        changed = flipped(chance, content)
        files = [*whole[:place], (name, changed), *whole[place + 1 :]]
        assert noticed(written(tmp_path / "changed.zip", files)), name


def test_a_member_that_is_missing_added_renamed_or_there_twice_is_noticed(pack: Path, tmp_path: Path) -> None:
    whole = members(pack)
    for place, (name, content) in enumerate(whole):
        rest = [*whole[:place], *whole[place + 1 :]]
        assert noticed(written(tmp_path / "changed.zip", rest)), name
        assert noticed(written(tmp_path / "changed.zip", [*rest, (f"{name}.bak", content)])), name
        with pytest.warns(UserWarning, match="Duplicate"):
            twice = written(tmp_path / "changed.zip", [*whole, (name, content)])
        assert noticed(twice), name
    assert noticed(written(tmp_path / "changed.zip", [*whole, ("more.txt", b"more")]))


def test_two_members_with_each_others_content_are_noticed(pack: Path, tmp_path: Path) -> None:
    whole, chance = members(pack), random.Random(11)  # noqa: S311
    for _ in range(40):
        (one, first), (other, second) = chance.sample(whole, 2)
        swapped = {one: second, other: first}
        files = [(name, swapped.get(name, content)) for name, content in whole]
        assert first == second or noticed(written(tmp_path / "changed.zip", files)), (one, other)


def hidden(pack: Path, path: Path) -> Path:
    """Put a report between the last member and the directory: whoever reads header after header takes it for the report."""
    whole = pack.read_bytes()
    with zipfile.ZipFile(pack) as file:
        begin = file.start_dir
    forged = BytesIO()
    with zipfile.ZipFile(forged, "w") as file:
        file.writestr("report.en.html", "<p>All was well.</p>")
        size = file.start_dir
    between = forged.getvalue()[:size]
    end = whole[-22:-6] + struct.pack("<L", begin + len(between)) + whole[-2:]
    path.write_bytes(whole[:begin] + between + whole[begin:-22] + end)
    with zipfile.ZipFile(path) as file:
        assert file.read("README.txt")  # to a reader of the directory it is the pack
    return path


def test_bytes_that_belong_to_no_member_are_noticed(pack: Path, verifier: Path, tmp_path: Path) -> None:
    whole = pack.read_bytes()
    changed = [hidden(pack, tmp_path / "between.zip")]
    for name, content in (("before", b"#!/bin/sh\n" + whole), ("after", whole + b"more")):
        changed.append(tmp_path / f"{name}.zip")
        changed[-1].write_bytes(content)
    for path in changed:
        assert noticed(path), path
        done = subprocess.run([sys.executable, "-I", "-S", verifier, path], capture_output=True, check=False)
        assert done.returncode in {1, 2}, path
    assert broken(changed[0]) == {"files"}


def test_a_byte_of_the_file_itself_never_ends_in_anything_but_a_verdict(pack: Path, tmp_path: Path) -> None:
    whole, chance = pack.read_bytes(), random.Random(13)  # noqa: S311
    for _ in range(times(120, 3000)):
        (tmp_path / "changed.zip").write_bytes(flipped(chance, whole))
        noticed(tmp_path / "changed.zip")


# The command


def command(*arguments: str, module: str = "service.verifier.pack") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)


def test_the_exit_code_tells_the_verdict(pack: Path, tmp_path: Path) -> None:
    forged = Forgery(pack)
    used_while_suspended(forged)
    (tmp_path / "text.zip").write_text("no pack")
    witness = Signer(pem(), "witness.example", COSIGNATURE).vkey
    assert command(str(pack)).returncode == 0
    assert command(str(forged.save(tmp_path / "forged.zip"))).returncode == 1
    assert command(str(tmp_path / "text.zip")).returncode == 2
    assert command(str(pack), "--witness", witness).returncode == 1
    assert command(str(pack), "--vkey", "no key").returncode == 2


def test_it_tells_json_and_says_whose_key_it_believed(pack: Path) -> None:
    told: Any = json.loads(command(str(pack), "--json").stdout)
    assert told["verdict"] == "held"
    assert told["keys_believed"] == ["log", "witnesses"]
    assert {claim["verdict"] for claim in told["claims"]} == {"held", "nothing to check"}
    assert json.loads(command(str(pack), "--json", "--vkey", told["vkeys"][0]).stdout)["keys_believed"] == ["witnesses"]
    assert "Ask the operator for it another way" in command(str(pack)).stdout


def test_the_command_line_has_it_too(pack: Path) -> None:
    done = command("verify", str(pack), module="service.cli")
    assert (done.returncode, done.stdout.strip().rpartition("\n")[2]) == (0, "Verdict: held")


def test_it_stands_alone() -> None:
    program = "import service.verifier.pack, sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"sqlalchemy", "asyncpg", "fastapi", "httpx", "starlette", "rfc8785"} & set(done.stdout.split())
