"""What a load generator is asked for, and what it has measured."""

import re
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

GRACE: Final = 60
"""Seconds after its time in which a generator must have ended."""

RANDOM: Final = re.compile(r"\{\{ randomInt\((\d+), (\d+)\) \}\}")
UUID: Final = "{{ uuid() }}"


class LoadError(RuntimeError):
    """The generator itself did not run."""


@dataclass(frozen=True, slots=True)
class Request:
    """What each connection sends.

    Args:
        url: an address on 127.0.0.1.
        body: its text; `{{ randomInt(1, 9) }}` and `{{ uuid() }}` are filled in anew each time.
        expects: a text that every answer must hold.
        headers: sent with each; filled in likewise.
        status: what every answer must come with.
        refused: another status that is no failure.
        bodies: whole bodies of which each request takes one at random, instead of `body`.
        decisions: how many decisions one request asks for.
    """

    url: str
    body: str
    expects: str
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    refused: int | None = None
    bodies: Sequence[str] = ()
    decisions: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of load measured: requests a second, milliseconds, answers by status, cores kept busy."""

    rate: float
    median: float
    p99: float
    statuses: Mapping[int, int]
    wrong: int
    """Answers of another status, or without the expected text."""
    cores: Mapping[str, float] = field(default_factory=dict)
    decisions: int = 1

    @property
    def answers(self) -> int:
        """How many answers came."""
        return sum(self.statuses.values())

    @property
    def decision_rate(self) -> float:
        """Decisions a second."""
        return self.rate * self.decisions

    def fault(self) -> str | None:
        """Return in words why this run does not count, or None."""
        if self.answers == 0:
            return "no answer at all"
        if self.wrong:
            told = ", ".join(f"{count} with {status or 'no answer'}" for status, count in self.statuses.items())
            return f"{self.wrong} of {self.answers} answers were not what was expected ({told})"
        return None


def generators_spent() -> float:
    """Return the processor seconds of all generators that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
