"""Huge pages for the PostgreSQL of a run, as docs/operators.md advises them: it takes them by itself where the machine lets it.

How many a machine lets programs take is a setting of the whole machine, for root alone to change. Where we are, it is raised for the
run and put back after it; the page tells whether PostgreSQL had any (`huge_pages_status`).
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from service.database.embedded import MIB, memory

CEILING: Final = Path("/proc/sys/vm/nr_overcommit_hugepages")
"""How many may be made on demand: none is set aside before somebody takes it, and each is ordinary memory again when it is given back."""
TOGETHER: Final = Path("/proc/sys/vm/compact_memory")
"""Whatever is written there has the machine move what its programs hold together: memory that was used for long has no huge pages left."""
SHARE: Final = 3
"""A third of the memory: PostgreSQL's shared memory is a quarter of it, and little more."""
LEAST: Final = 2 * MIB
"""Bytes of a huge page; where they are larger PostgreSQL takes fewer of them."""


@contextmanager
def lent() -> Iterator[None]:
    """Let PostgreSQL take huge pages while the block runs, where the machine has them and we may."""
    before = _told()
    if before is None:
        yield
        return
    with suppress(OSError):  # we may not
        CEILING.write_text(str(max(before, memory() // SHARE // LEAST)), "ascii")
        TOGETHER.write_text("1", "ascii")
    try:
        yield
    finally:
        if _told() != before:
            CEILING.write_text(str(before), "ascii")


def _told() -> int | None:
    try:
        return int(CEILING.read_text("ascii"))
    except (OSError, ValueError):
        return None
