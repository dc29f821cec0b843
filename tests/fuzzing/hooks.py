"""Hooks of the fuzz: who makes a generated request, and what of it is replaced by something real.

The tool loads them into its own process. What is chosen for a request depends on the request and on the salt alone: the same request,
made again, is the same.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from pathlib import Path
from random import Random
from typing import Any

import schemathesis

from tests.fuzzing.planting import MARK, SEALED, planted, unmarked

CORPUS: dict[str, Any] = json.loads(Path(os.environ["OUTBOUND_FUZZ_CORPUS"]).read_text(encoding="utf-8"))
ENDING = {
    "POST /v1/principals/{principal_id}/disable",
    "POST /v1/api-keys/{key_id}/revoke",
    "POST /v1/grants/{grant_id}/withdraw",
}
UNIQUE = {"key", "name", "subject"}
"""Members of examples that must be new each time."""


def chance(case: Any, purpose: str) -> Random:
    """Return the chances of one request."""
    told = (purpose, CORPUS["salt"], case.operation.label, case.path_parameters, case.query, case.body, case.headers)
    return Random(hashlib.sha256(repr(told).encode("utf-8", "replace")).digest())  # noqa: S311 - no secret: a choice


@schemathesis.auth(refresh_interval=None, retry_on=[])
class Callers:
    """Somebody of those who may call; `None` is nobody."""

    def get(self, case: Any, _: Any) -> Any:
        callers = CORPUS["callers"]
        return chance(case, "caller").choices(callers, [caller["weight"] for caller in callers])[0]

    def set(self, case: Any, data: Any, _: Any) -> None:
        case.headers.pop("Authorization", None)
        if data["secret"] is not None:
            case.headers["Authorization"] = f"Bearer {data['secret']}"


@schemathesis.hook
def before_call(_: Any, case: Any, __: Any) -> None:
    """Put real things into a request, and keep those who call."""
    luck = chance(case, "content")
    examples = CORPUS["examples"].get(case.operation.label)
    if examples:
        _borrow(case, luck.choice(examples), luck)
    if case.operation.label in ENDING:
        _keep(case)
    for name in ("path_parameters", "query", "body"):
        if MARK in repr(given := getattr(case, name)):
            setattr(case, name, unmarked(given))
    if isinstance(case.body, dict):
        _plant(case, chance(case, "words"))


def _borrow(case: Any, example: Any, luck: Random) -> None:
    phase = case.meta.phase.name.value if case.meta is not None else ""
    if case.path_parameters and luck.random() < {"stateful": 0.1, "coverage": 0.6}.get(phase, 0.7):
        case.path_parameters = {**case.path_parameters, **example["path"]}
    if case.headers.get("If-Match") is not None and luck.random() < 0.5:
        case.headers["If-Match"] = "*"
    if phase == "coverage" and luck.random() < 0.7:
        return
    if isinstance(case.query, dict) and case.query:
        case.query = {name: _real(name, value, luck, 0.4) for name, value in case.query.items()}
    if case.media_type == example["media"] == "application/json" and isinstance(case.body, dict):
        case.body = _mixed(case.body, example["body"], luck)
    elif case.media_type == example["media"] and isinstance(example["body"], str) and luck.random() < 0.4:
        case.body = example["body"].encode()


def _mixed(body: dict[str, Any], example: Any, luck: Random) -> Any:
    """Return the generated body with real ids, or a body that the operation takes, with at most two members of the generated one."""
    if not isinstance(example, dict) or luck.random() < 0.4:
        return {name: _real(name, value, luck, 0.6) for name, value in body.items()}
    made = copy.deepcopy(example)
    for name in luck.sample(sorted(body), min(len(body), luck.choice([0, 0, 1, 1, 2]))):
        made[name] = _real(name, body[name], luck, 0.5)
    for name in UNIQUE & made.keys():
        if isinstance(made[name], str) and made[name] == example.get(name) and name not in CORPUS["things"]:
            made[name] = f"{made[name][:60]}-{luck.getrandbits(48):x}"
    return made


def _real(name: str, value: Any, luck: Random, often: float) -> Any:
    things = CORPUS["things"].get(name)
    if things is None or luck.random() > often:
        return value
    if isinstance(value, list):
        return luck.sample(things, min(len(things), luck.randint(1, 2)))
    return luck.choice(things) if isinstance(value, str) else value


def _keep(case: Any) -> None:
    """Nobody ends those who call: who is named by chance is somebody else."""
    for name, (kept, other) in CORPUS["kept"].items():
        if str(case.path_parameters.get(name)) in kept:
            case.path_parameters = {**case.path_parameters, name: other}


def _plant(case: Any, luck: Random) -> None:
    """Mark texts that the log must not hold in clear: what was written elsewhere as well, by chance, would be found in it all the same."""
    members = SEALED.get(case.operation.label, frozenset())
    if case.body.get("kind") == "system":
        members -= {"name"}
    for name in sorted(members & case.body.keys()):
        if case.body[name] and isinstance(case.body[name], str) and luck.random() < 0.6:
            case.body = {**case.body, name: planted(case.body[name], luck.getrandbits(48))}
