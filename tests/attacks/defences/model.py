"""What a defence is: a piece of the product, what takes it away, and the test that must fail without it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]


@dataclass(frozen=True)
class Edit:
    """A piece of a file that stands there once, and what takes its place."""

    file: str
    original: str
    replacement: str


@dataclass(frozen=True)
class Defence:
    """Something that stands between an attack of `docs/security.md` and its end.

    Where several layers stand there, each of which would do alone, all of them are taken away together, and `what` says so.
    """

    attack: str
    what: str
    edits: tuple[Edit, ...]
    test: str


def one(attack: str, what: str, file: str, original: str, replacement: str, test: str) -> Defence:
    """Return a defence that is one piece of one file."""
    return Defence(attack, what, (Edit(file, original, replacement),), test)
