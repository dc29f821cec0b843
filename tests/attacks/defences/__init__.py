"""The list of defences, by the parts of `docs/security.md`, each with what takes it away and the test that must fail without it.

`removing.py` takes them away one by one; the ordinary suite checks that each original still stands once in its file, so that the
list cannot rot, and that every attack of the page has a defence here, or a reason why none can be taken out of a file of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.attacks.defences import (
    approval,
    database,
    exports,
    floods,
    framing,
    gate,
    ground,
    keys,
    provider,
    register,
    said,
    sessions,
    silence,
    tenants,
    wire,
)
from tests.attacks.defences.model import Defence

DEFENCES: Final[tuple[Defence, ...]] = (
    *approval.DEFENCES,
    *register.DEFENCES,
    *exports.DEFENCES,
    *tenants.DEFENCES,
    *keys.DEFENCES,
    *provider.DEFENCES,
    *wire.DEFENCES,
    *database.DEFENCES,
    *sessions.DEFENCES,
    *silence.DEFENCES,
    *floods.DEFENCES,
    *gate.DEFENCES,
    *framing.DEFENCES,
    *said.DEFENCES,
    *ground.DEFENCES,
)

ELSEWHERE: Final[Mapping[str, str]] = {
    "A91": "a head with such a line is refused (A210), and an id with one is not sent back: each would do alone",
    "A97": "what nobody thought of has no defence of its own: the run looks for whatever the others have left open",
}
"""Attacks whose defence stands in no file of ours, and where it stands instead."""
