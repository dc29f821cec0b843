"""Evidence packs through HTTP, and what `verify` says of them."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path
from typing import Any

from service.audit import verify
from tests.world import Json, World


def packed(world: World, tmp: Path, **about: Any) -> Path:
    asked = world.auditor.post("/v1/evidence-packs", about)
    assert asked.status_code == 202, asked.text
    at = asked.headers["Location"]
    until = time.monotonic() + 60
    while (shown := world.auditor.get(at).json())["state"] in {"waiting", "working"} and time.monotonic() < until:
        time.sleep(0.05)
    assert shown["state"] == "ready", shown
    answer = world.auditor.get(shown["content"])
    assert answer.status_code == 200
    path = tmp / f"{shown['id']}.zip"
    path.write_bytes(answer.content)
    return path


def used_permit(world: World) -> Json:
    handler = world.handler()
    dataset = world.dataset(handler, "personal")
    recipient = world.recipient()
    approved = world.approved(handler, [dataset], recipient, persons=100)
    made = world.export(dataset, recipient, 10)
    assert made.status_code == 201, made.text
    done = world.exporter.post(f"/v1/exports/{made.json()['id']}/complete", {"persons": 7, "sensitive_persons": 0})
    assert done.status_code == 200, done.text
    return approved


def test_a_pack_of_a_permit_is_verified(world: World, tmp_path: Path) -> None:
    approved = used_permit(world)
    path = packed(world, tmp_path, permit=approved["permit"])
    found = verify.verify(path)
    print(*verify.sentences(found), sep="\n")
    print(json.dumps(zipfile.ZipFile(path).namelist()))
    assert verify.code(found) == 0
