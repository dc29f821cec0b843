"""Helper processes: what takes too much is ended, whoever is let go of ends, and one caller has one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from service import workers
from service.workers import HelperEndedError, HelperPool, InProcess, QueueFullError
from tests.waiting import until


def in_workshop(act: Callable[[HelperPool], Awaitable[None]]) -> None:
    async def run() -> None:
        workshop = HelperPool()
        try:
            await act(workshop)
        finally:
            await workshop.close()

    asyncio.run(run())


def helpers() -> list[str]:
    """Return the helpers that are alive: children of a foreman that run as this program."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            lines = [(Path("/proc") / one / "cmdline").read_bytes() for one in (process.name, parent)]
        except OSError:
            continue
        found += [process.name] if all(b"service.workers" in line for line in lines) else []
    return found


def test_work_that_takes_too_much_memory_is_ended() -> None:
    async def act(workshop: HelperPool) -> None:
        with pytest.raises(HelperEndedError):
            async with workshop.helper("somebody", bytearray, workers.MAX_MEMORY_BYTES + 1):
                pass
        async with workshop.helper("somebody", bytearray, 10) as helper:
            assert await helper.ask("__len__") == 10

    in_workshop(act)


def test_work_that_is_let_go_of_ends_also_in_the_middle_of_one_long_call() -> None:
    async def act(workshop: HelperPool) -> None:
        before = len(helpers())
        async with workshop.helper("somebody", set) as helper:
            working = asyncio.create_task(helper.ask("isdisjoint", range(10**12)))
            assert not (await asyncio.wait({working}, timeout=0.5))[0]
            assert len(helpers()) > before
        working.cancel()

        async def are_gone() -> bool:
            return len(helpers()) <= before

        await until(are_gone, 20)

    in_workshop(act)


def test_a_fault_of_the_work_is_told_and_no_more_is_known_of_it() -> None:
    async def act(workshop: HelperPool) -> None:
        with pytest.raises(HelperEndedError, match="ValueError"):
            async with workshop.helper("somebody", int, "x"):
                pass

    in_workshop(act)


def test_one_caller_has_one_helper_at_a_time_and_a_queue_has_an_end() -> None:
    async def act(workshop: HelperPool) -> None:
        order: list[str] = []

        async def work(who: str, name: str, begun: asyncio.Event, go: asyncio.Event) -> None:
            async with workshop.helper(who, list):
                order.append(name)
                begun.set()
                await go.wait()

        begun, again, other, go = (asyncio.Event() for _ in range(4))
        first = asyncio.create_task(work("one", "first", begun, go))
        await begun.wait()
        second = asyncio.create_task(work("one", "second", again, go))
        third = asyncio.create_task(work("two", "other", other, go))
        await other.wait()
        assert order == ["first", "other"]
        waiting = [
            asyncio.create_task(work("one", "more", asyncio.Event(), go)) for _ in range(workers.MAX_WAITING - 1)
        ]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await work("three", "none", asyncio.Event(), go)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        go.set()
        await asyncio.gather(first, second, third)
        assert order == ["first", "other", "second"]

    in_workshop(act)


def test_a_foreman_that_has_gone_is_replaced() -> None:
    async def act(workshop: HelperPool) -> None:
        async with workshop.helper("somebody", list) as helper:
            assert await helper.ask("__len__") == 0
        assert workshop._foreman is not None  # noqa: SLF001 - it is killed from outside
        workshop._foreman.kill()  # noqa: SLF001
        await asyncio.to_thread(workshop._foreman.wait)  # noqa: SLF001
        async with workshop.helper("somebody", list) as helper:
            assert await helper.ask("__len__") == 0

    in_workshop(act)


def test_work_for_a_command_is_done_here() -> None:
    assert asyncio.run(InProcess([1, 2]).ask("__len__")) == 2
    assert time.monotonic() > 0
