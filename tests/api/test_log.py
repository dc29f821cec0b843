"""The log through HTTP: checkpoints, proofs that are verified here, and tiles that another tool could read."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from service.audit.tlog import signed_note, tiles
from service.audit.tlog.merkle import leaf_hash, root_of, verify_consistency, verify_inclusion
from service.audit.tlog.signed_note import Checkpoint, Verifier
from tests.waiting import seen
from tests.world import World

Json = dict[str, Any]


def hashes_of(told: list[str]) -> list[bytes]:
    return [base64.b64decode(each) for each in told]


def sequenced(world: World, **wanted: str) -> Json:
    """The newest entry of a thing, once it is in the log, as `/entries/{seq}` shows it."""
    seq = world.auditor.get("/v1/audit/entries", **wanted, limit=200).json()["items"][-1]["seq"]

    def look() -> Json | None:
        entry: Json = world.auditor.get(f"/v1/audit/entries/{seq}").json()
        return None if entry["leaf"] is None else entry

    return seen(look)


def verifiers(world: World) -> list[Verifier]:
    return [Verifier.of(line) for line in world.http.get("/tlog/vkey").text.splitlines()]


def opened(world: World, note: str) -> Checkpoint:
    return Checkpoint.of(signed_note.open(note, verifiers(world)).text)


def test_an_entry_comes_with_the_proof_that_a_signed_checkpoint_holds_it(world: World) -> None:
    entry = sequenced(world, subject=world.handler()["id"])
    checkpoint = opened(world, entry["checkpoint"])
    proof = entry["inclusion"]
    assert (proof["leaf"], proof["size"]) == (entry["leaf"], checkpoint.size)
    assert base64.b64decode(proof["hash"]) == leaf_hash(entry["body"].encode())
    assert base64.b64decode(proof["root"]) == checkpoint.root
    assert verify_inclusion(
        entry["leaf"], checkpoint.size, leaf_hash(entry["body"].encode()), hashes_of(proof["proof"]), checkpoint.root
    )


def test_the_log_of_each_size_is_proved_to_begin_with_every_earlier_one(world: World) -> None:
    size = sequenced(world, subject=world.handler()["id"])["inclusion"]["size"]
    for old in {0, 1, size // 3, size // 2, size - 1, size}:
        told = world.auditor.get("/v1/audit/proofs/consistency", **{"from": old, "to": size}).json()
        assert (told["from"], told["to"]) == (old, size)
        roots = hashes_of([told["from_root"], told["to_root"]])
        assert verify_consistency(old, size, *roots, hashes_of(told["proof"]))


def test_a_leaf_is_proved_at_any_size_that_holds_it(world: World) -> None:
    entry = sequenced(world, subject=world.handler()["id"])
    leaf, size = entry["leaf"], entry["inclusion"]["size"]
    for at in {leaf + 1, size}:
        told = world.auditor.get("/v1/audit/proofs/inclusion", leaf=leaf, size=at).json()
        hash_, root = hashes_of([told["hash"], told["root"]])
        assert verify_inclusion(leaf, at, hash_, hashes_of(told["proof"]), root)


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("inclusion?leaf=0&size=999999999", "/size"),
        ("inclusion?leaf=1&size=1", "/leaf"),
        ("consistency?from=0&to=999999999", "/to"),
        ("consistency?from=2&to=1", "/from"),
    ],
)
def test_what_cannot_be_proved_is_refused_with_the_reason(world: World, path: str, pointer: str) -> None:
    sequenced(world, subject=world.handler()["id"])
    answer = world.auditor.get(f"/v1/audit/proofs/{path}")
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_checkpoints_are_listed_and_the_newest_is_the_last_of_them(world: World) -> None:
    sequenced(world, subject=world.handler()["id"])
    sizes, cursor = [], None
    while True:
        page = world.auditor.get("/v1/audit/checkpoints", limit=200, **({"cursor": cursor} if cursor else {})).json()
        for item in page["items"]:
            checkpoint = opened(world, item["note"])
            assert (checkpoint.origin, checkpoint.size) == (item["origin"], item["size"])
            assert checkpoint.root == base64.b64decode(item["root"])
            assert checkpoint.time is not None
            sizes.append(item["size"])
        if (cursor := page["next_cursor"]) is None:
            break
    assert sizes == sorted(sizes)
    assert world.auditor.get("/v1/audit/checkpoint").json()["size"] >= sizes[-1]


def test_the_log_can_be_read_and_rebuilt_from_tiles_alone(world: World) -> None:
    sequenced(world, subject=world.handler()["id"])
    checkpoint = opened(world, world.auditor.get("/tlog/checkpoint").text)
    hashes: list[bytes] = []
    for number in range(-(-checkpoint.size // 256)):
        width = min(256, checkpoint.size - 256 * number)
        end = tiles.path_of(number) + ("" if width == 256 else f".p/{width}")
        bundle = world.auditor.get(f"/tlog/tile/entries/{end}")
        tile = world.auditor.get(f"/tlog/tile/0/{end}")
        assert ("immutable" in tile.headers["Cache-Control"]) == (width == 256)
        entries, rest = [], bundle.content
        while rest:
            length = int.from_bytes(rest[:2])
            entries.append(rest[2 : 2 + length])
            rest = rest[2 + length :]
        assert b"".join(map(leaf_hash, entries)) == tile.content
        hashes += [leaf_hash(entry) for entry in entries]
    assert root_of(hashes) == checkpoint.root
    for number in range(checkpoint.size // 65536):
        above = world.auditor.get(f"/tlog/tile/1/{tiles.path_of(number)}").content
        assert above == b"".join(root_of(hashes[at : at + 256]) for at in range(0, 65536, 256))


@pytest.mark.parametrize(
    "path", ["0/999", "0/x000/000", "0/000.p/256", "0/000.p/0", "9/000", "entries/999", "entries/x001", "-1/000", "0/1"]
)
def test_tiles_that_are_not_there_are_not_found(world: World, path: str) -> None:
    assert world.auditor.get(f"/tlog/tile/{path}").status_code == 404


def test_the_log_as_a_whole_is_for_auditors_of_all_handlers(world: World) -> None:
    handler = world.handler()
    sequenced(world, subject=handler["id"])
    auditor = world.person("auditor", handler=handler["id"])
    for path in ("/tlog/checkpoint", "/tlog/tile/0/000.p/1", "/tlog/tile/entries/000.p/1"):
        assert world.requester.get(path).status_code == 403
        assert auditor.get(path).status_code == 403
        assert world.auditor.get(path).status_code == 200
    assert auditor.get("/v1/audit/checkpoint").status_code == 200


def test_the_health_of_the_log_tells_its_size_and_what_waits(world: World) -> None:
    entry = sequenced(world, subject=world.handler()["id"])
    told = world.auditor.get("/v1/audit/health").json()
    assert told["healthy"] is True
    assert told["complaints"] == []
    assert told["size"] >= entry["inclusion"]["size"]
    assert told["checkpoint_at"] is not None
    assert told["witnesses"] == []
