"""Group commit: all questions and exports that wait share one transaction, and are answered after its commit.

1. A job joins the queue; a full queue refuses it (503). A job that was accepted is never dropped.
2. A worker owns one connection and has one batch in flight; it takes what waits, so batches grow with the load. There are two workers:
   PostgreSQL reads for one while the service decides for the other, and of many questions one worker takes at most half. Reservations
   contend for the same rows, and few questions are not worth two batches: for these a worker holds the turn lock while it reads and
   decides, and releases it before it writes. Waiting for the turn lock times out, so one stuck worker cannot stall the other.
3. Take the gate's lock, shared with other decisions; lock the rows of quotas if anything is to be reserved; read once for the whole batch.
4. Decide each job, in order, in memory. Write one statement per table. Commit. Answer.

Questions take two round trips to PostgreSQL: one takes the lock for the session and reads; the other moves the lock to its own
transaction, writes, and commits by itself. Everything else is one transaction from the start.

A batch that takes too long is cancelled, and a job that has waited too long is told to come back. A batch that fails is retried job by
job, so that a faulty job harms no other. When the connection is lost during a commit its outcome is unknown: every job gets 503.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, cast

import asyncpg
import structlog
from msgspec import Struct, structs

from service.access.caller import Caller
from service.clock import day_in_shanghai
from service.connections import ANSWER, FROZEN_SILENCES, SILENCE, WITH_LOCK, Bounds, connect
from service.database.faults import is_conflict, is_disconnected, is_lock_timeout, is_unavailable, pause
from service.database.locks import GATE_LOCK
from service.database.logins import Login
from service.database.session import ATTEMPTS, Time
from service.gate import batch_read, batch_write
from service.gate.announced_growth import growths
from service.gate.batch_decisions import DecisionBatch, lapse
from service.gate.batch_read import Found
from service.gate.batch_write import Kept
from service.gate.jobs import Before, Job, Reservation, admitted
from service.http import idempotency
from service.http.idempotency import Reply, Use
from service.http.rate_limits import RateLimiter
from service.law.rule_book import RuleBook
from service.validation.problems import Busy, DatabaseUnavailable, Problem

log = structlog.get_logger("outbound.gate")

TURN_TIMEOUT: Final = (0.02, 0.2)
"""Seconds, at least and at most, that a worker waits for the turn lock while jobs wait, before it takes them without it. Between the two it
is twice the time that a batch usually holds the turn."""
CREATED: Final = 201
MAX_ASKS: Final = 2000
"""Asks in one batch at most, unless a single job has more."""
MIN_ASKS_FOR_TWO_WORKERS: Final = 40
"""Asks under way, waiting ones included, that are too few for two workers: a batch costs as much as some asks, whatever is in it."""

_BEGIN: Final = f"begin; select pg_advisory_xact_lock_shared({GATE_LOCK})"
_UNDO: Final = "rollback; select pg_advisory_unlock_all()"
BEATS: Final = 3
"""How often in the time that it may be silent a worker says that it is there."""
NAME: Final = "outbound gate"
SETTINGS: Final = {
    "jit": "off",
    # Each statement has one good plan, by its indexes; to plan it again for every batch would cost more than to run it.
    "plan_cache_mode": "force_generic_plan",
    # A plan is made once, perhaps while a table is still empty, where reading all of it looks cheapest; and serves when it is large.
    "enable_seqscan": "off",
}

Outcome = Reply | Exception


class Waiting(Struct, eq=False):
    """A job in the queue, and who is told of its outcome."""

    job: Job
    asks: int
    tell: Callable[[Outcome], None]
    since: float
    """When it began to wait, on the clock of the loop."""
    is_gone: bool = False
    """Whether nobody waits for the outcome: if nothing was decided by then, nothing is."""


@dataclass(slots=True)
class _Worker:
    connection: asyncpg.Connection | None = None
    task: asyncio.Task[None] | None = None
    has_turn: bool = False
    """Whether the other one waits until this one has decided."""
    since: float = 0.0
    """When it began to decide."""
    has_begun: bool = False
    """Whether it is in a transaction, with the gate's lock."""


class _Admitted(Struct, eq=False):
    """A job of a batch with what was found for it, and what has come of it so far."""

    job: Job
    found: Sequence[Found]
    caller: Caller | None = None
    use: Use | None = None
    outcome: Outcome | None = None
    before: Before | None = None
    """Where its key came before, and was answered with a yes."""


class Gate:
    """Decides in batches.

    Args:
        login: the gate's, to the database.
        book: the law.
        clock: by how far PostgreSQL's time is taken to be ahead.
        lease: how long what is reserved stays reserved without a report.
        timeout: seconds that one statement, or a connection, may take.
        longest: seconds that one batch may take in all, and that a job may wait until one takes it.
        queue: asks that may wait at most.
        limits: how much one caller may ask.
        silence: seconds for which a worker may say nothing to PostgreSQL before that ends its session, and whatever lock it has: a frozen
            process keeps nobody waiting for longer. A worker that has nothing to do says in time that it is there.
    """

    def __init__(
        self,
        login: Login,
        book: RuleBook,
        *,
        clock: Time,
        lease: timedelta,
        timeout: float,
        longest: float,
        queue: int,
        limits: RateLimiter | None = None,
        silence: float = SILENCE,
    ) -> None:
        self._bounds = Bounds(
            statement=timeout, silence=silence, idle=silence, waiting=longest / 2, transaction=WITH_LOCK * silence
        )
        self._silence = silence
        self._beat = silence / BEATS
        self._limits = limits if limits is not None and limits.has_gate_rate else None
        self._login = login
        self._book = book
        self._clock = clock
        self._lease = lease
        self._timeout = timeout
        self._longest = longest
        self._size = queue
        self._room = queue
        self._queue: deque[Waiting] = deque()
        self._arrived = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop
        self._workers = (_Worker(), _Worker())
        self._turn_lock = asyncio.Lock()
        self._usual = 0.0
        """Seconds for which a batch usually has the turn."""
        self._reservations = 0
        """Jobs that reserve and still wait."""

    async def open(self) -> None:
        """Begin to take jobs; connections are made when they are needed."""
        self._loop = asyncio.get_running_loop()
        for worker in self._workers:
            worker.task = self._loop.create_task(self._run(worker))

    async def close(self) -> None:
        """Stop; whoever still waits gets 503."""
        for worker in self._workers:
            if worker.task is not None:
                worker.task.cancel()
        await asyncio.gather(
            *(worker.task for worker in self._workers if worker.task is not None), return_exceptions=True
        )
        while self._queue:
            self._answer(self._next(), DatabaseUnavailable())
        for worker in self._workers:
            await _leave(worker)

    async def decide(self, job: Job) -> Reply:
        """Return the answer to a job, committed.

        Raises:
            TooManyRequests: the caller asks too often.
            Busy: too many wait already.
            DatabaseUnavailable: PostgreSQL is not there, or not in time.
            Problem: whatever the job is refused with.
        """
        answered: asyncio.Future[Reply] = self._loop.create_future()
        waiting = self.submit(job, partial(_set, answered))
        try:
            return await answered
        finally:
            waiting.is_gone = True

    def submit(self, job: Job, tell: Callable[[Outcome], None]) -> Waiting:
        """Take a job in, and have its outcome told once it is committed: a reply, or what `decide` would raise.

        Raises:
            TooManyRequests: the caller asks too often.
            Busy: too many wait already.
        """
        asks = len(job.wanted)
        if self._limits is not None:
            self._limits.require_asks(job.credentials.counted, asks)
        if asks > self._room:
            raise Busy
        self._room -= asks
        waiting = Waiting(job, asks, tell, self._loop.time())
        self._queue.append(waiting)
        self._reservations += job.reserves
        self._arrived.set()
        return waiting

    def _answer(self, waiting: Waiting, outcome: Outcome) -> None:
        """Tell the outcome; where the caller has gone away, what was decided is on record all the same."""
        self._room += waiting.asks
        try:
            waiting.tell(outcome)
        except Exception as error:  # one caller who cannot be told must not keep it from the others
            log.exception("an answer could not be told", error=type(error).__name__)

    async def _run(self, worker: _Worker) -> None:
        while True:
            if not self._arrived.is_set():
                await self._idle(worker)
            worker.has_turn = self._is_for_one() and await self._acquire_turn()
            try:
                worker.since = self._loop.time()
                if self._reservations:
                    await self._begin(worker)
                batch = self._take_batch(whole=worker.has_turn)
                if batch:
                    await self._answer_all(worker, batch)
                elif worker.has_begun:
                    await _undo(worker)
            finally:
                self._release_turn(worker)

    async def _idle(self, worker: _Worker) -> None:
        """Wait for a job, and let PostgreSQL hear of the worker meanwhile: it ends a session that says nothing."""
        while not self._arrived.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._beat):
                    await self._arrived.wait()
                return
            try:
                async with asyncio.timeout(ANSWER):
                    if worker.connection is not None:
                        await worker.connection.execute("select 1")
            except Exception:  # noqa: BLE001 - whatever it is, the next batch makes another connection
                await _leave(worker)

    async def _begin(self, worker: _Worker) -> None:
        """Begin before the batch is taken, so that whoever comes meanwhile is in it; the batch itself tries again where that fails."""
        if worker.connection is None:
            return
        try:
            await self._ensure_transaction(worker)
        except Exception:  # noqa: BLE001 - the batch will find out what it is, and tell whoever waits
            await _undo(worker)

    async def _ensure_transaction(self, worker: _Worker) -> asyncpg.Connection:
        """Return the worker's connection, in a transaction with the gate's lock."""
        connection = await self._ensure_connection(worker)
        if not worker.has_begun:
            await connection.execute(_BEGIN, timeout=min(self._timeout, self._longest))
            worker.has_begun = True
        return connection

    async def _ensure_connection(self, worker: _Worker) -> asyncpg.Connection:
        """Return the worker's connection."""
        if worker.connection is None:
            worker.connection = await connect(
                self._login.url,
                name=NAME,
                bounds=self._bounds,
                timeout=self._timeout,
                settings=SETTINGS | self._login.settings,
            )
        return worker.connection

    async def _acquire_turn(self) -> bool:
        """Wait for the turn; False: whoever waits longest still does after some patience, and is to be taken without it."""
        while True:
            longest = self._queue[0] if self._queue else None
            try:
                async with asyncio.timeout(min(max(TURN_TIMEOUT[0], 2 * self._usual), TURN_TIMEOUT[1])):
                    return await self._turn_lock.acquire()
            except TimeoutError:
                if longest is not None and self._queue and self._queue[0] is longest:
                    return False

    def _release_turn(self, worker: _Worker) -> None:
        if worker.has_turn:
            worker.has_turn = False
            self._usual += (self._loop.time() - worker.since - self._usual) / 8
            self._turn_lock.release()

    def _is_for_one(self) -> bool:
        """Tell whether one worker is to take all that waits."""
        return self._reservations > 0 or self._under_way < MIN_ASKS_FOR_TWO_WORKERS

    @property
    def _under_way(self) -> int:
        """Asks that were taken in and are not answered yet, waiting ones included."""
        return self._size - self._room

    def _take_batch(self, *, whole: bool) -> list[Waiting]:
        """Take from the queue as much as one batch may hold: all of it, or half of what is under way."""
        batch: list[Waiting] = []
        asks = 0
        oldest = self._loop.time() - self._longest
        half = (self._under_way + 1) // 2
        most = MAX_ASKS if whole or self._reservations else min(half, MAX_ASKS)
        while self._queue and (not batch or asks + self._queue[0].asks <= most):
            waiting = self._next()
            if waiting.is_gone:
                self._room += waiting.asks
                continue
            if waiting.since < oldest:
                self._answer(waiting, Busy())
                continue
            batch.append(waiting)
            asks += waiting.asks
        if not self._queue:
            self._arrived.clear()
        return batch

    def _next(self) -> Waiting:
        waiting = self._queue.popleft()
        self._reservations -= waiting.job.reserves
        return waiting

    async def _answer_all(self, worker: _Worker, batch: Sequence[Waiting]) -> None:
        outcomes: Sequence[Outcome]
        try:
            async with asyncio.timeout(self._longest):
                outcomes = await self._decide_jobs(worker, [waiting.job for waiting in batch])
        except TimeoutError:
            log.warning("a batch took too long and is given up", jobs=len(batch))
            await _undo(worker)
            outcomes = [DatabaseUnavailable()] * len(batch)
        except asyncio.CancelledError:
            for waiting in batch:
                self._answer(waiting, DatabaseUnavailable())
            raise
        for waiting, outcome in zip(batch, outcomes, strict=True):
            self._answer(waiting, outcome)

    async def _decide_jobs(self, worker: _Worker, jobs: Sequence[Job]) -> Sequence[Outcome]:
        """Return what came of some jobs: of all in one transaction, or of each in its own where that failed."""
        try:
            return await self._decide_with_retry(worker, jobs)
        except Exception as error:  # noqa: BLE001 - each waiter is told of its own
            if len(jobs) == 1 or _is_away(error):
                return [_told(error)] * len(jobs)
            log.warning("a batch failed and is tried again one by one", jobs=len(jobs), error=type(error).__name__)
        outcomes: list[Outcome] = []
        for job in jobs:
            # Once the database is away, nobody is made to wait for finding that out again.
            is_over = bool(outcomes) and isinstance(outcomes[-1], DatabaseUnavailable | Busy)
            outcomes += [DatabaseUnavailable()] if is_over else await self._decide_jobs(worker, [job])
        return outcomes

    async def _decide_with_retry(self, worker: _Worker, jobs: Sequence[Job]) -> Sequence[Outcome]:
        """Decide in one transaction; try again where another one was in the way, or the connection had gone before."""
        until = self._loop.time() + min(self._timeout, self._longest) - (self._bounds.lock or 0)
        for attempt in range(1, ATTEMPTS + 1):
            committing = _Commit()
            began = self._loop.time()
            try:
                return await self._transaction(worker, jobs, committing)
            except Exception as error:
                await _undo(worker)
                if committing.begun and not isinstance(error, asyncpg.PostgresError):
                    # Only PostgreSQL itself can say that nothing was committed.
                    raise DatabaseUnavailable from error
                now = self._loop.time()
                is_late = now - began >= FROZEN_SILENCES * self._silence  # who was frozen for so long does nothing late
                is_first_loss = is_disconnected(error) and attempt == 1 and not committing.begun and not is_late
                again = is_conflict(error) or is_first_loss or (is_lock_timeout(error) and not is_late and now < until)
                if not again or attempt == ATTEMPTS:
                    raise
            await pause(attempt)
        raise AssertionError("unreachable")  # pragma: no cover

    async def _transaction(self, worker: _Worker, jobs: Sequence[Job], committing: "_Commit") -> Sequence[Outcome]:
        if any(job.reserves for job in jobs):
            await self._ensure_transaction(worker)
        connection = await self._ensure_connection(worker)
        now, admissions = await self._load_admissions(connection, jobs, lock=None if worker.has_begun else GATE_LOCK)
        sitting = DecisionBatch(self._book, now, lapse(now, self._lease))
        await _repeats(connection, admissions)
        announcing = [
            one for one in admissions if one.job.announced is not None and one.outcome is None and one.before is None
        ]
        if announcing:
            await _grow(connection, announcing, day_in_shanghai(now).year)
        for admission in admissions:
            _settle(admission, sitting)
        kept = [
            Kept(one.use, one.caller.principal, one.outcome)
            for one in admissions
            if one.use is not None and one.caller is not None and isinstance(one.outcome, Reply)
        ]
        self._release_turn(worker)
        if (sitting.entries.openings or sitting.contradictions) and not worker.has_begun:
            await self._ensure_transaction(worker)
            await batch_write.unlock(connection)
        if worker.has_begun:
            await batch_write.write(connection, sitting, kept)
            committing.begun = True
            worker.has_begun = False
            await connection.execute("commit")
        else:
            committing.begun = True
            await batch_write.write_at_once(connection, sitting)
        return [cast("Outcome", admission.outcome) for admission in admissions]

    async def _load_admissions(
        self, connection: asyncpg.Connection, jobs: Sequence[Job], *, lock: int | None
    ) -> tuple[datetime, list[_Admitted]]:
        """Return the moment, and the jobs with what there is for each at that, and who its caller is."""
        wanted = [one for job in jobs for one in job.wanted]
        reserving = [one for job in jobs if job.reserves for one in job.wanted]
        now, found = (
            await batch_write.held(connection, wanted, reserving, self._clock.ahead)
            if reserving
            else await batch_read.read_now(connection, wanted, self._clock.ahead, lock)
        )
        place = 0
        admissions: list[_Admitted] = []
        for job in jobs:
            admission = _Admitted(job, found[place : place + len(job.wanted)])
            place += len(job.wanted)
            try:
                admission.caller = admitted(job.credentials, admission.found[0].holder)
                admission.use = job.use_of(admission.caller)
            except Problem as problem:
                admission.outcome = problem
            admissions.append(admission)
        return now, admissions


async def _repeats(connection: asyncpg.Connection, admissions: Sequence[_Admitted]) -> None:
    """Find those that were answered before, and refuse those whose first request is under way.

    A no is answered again. A yes is not: what it let happen may have ended, or what it rested on; so it is looked at as it is now.
    """
    uses: dict[bytes, Use] = {}
    for admission in admissions:
        if admission.use is not None:
            if admission.use.digest in uses:
                admission.outcome, admission.use = idempotency.in_flight(), None
            else:
                uses[admission.use.digest] = admission.use
    if not uses:
        return
    held, stored = await batch_write.earlier(connection, list(uses.values()))
    for admission in admissions:
        use = admission.use
        if use is None:
            continue
        if use.digest in stored:
            admission.outcome, admission.use = _repeated(use, stored[use.digest]), None
        elif use.digest not in held:
            admission.outcome, admission.use = idempotency.in_flight(), None
    await _look_again(connection, admissions)


async def _look_again(connection: asyncpg.Connection, admissions: Sequence[_Admitted]) -> None:
    """Take back each yes that was answered before, and find what has become of its export."""
    granted = [
        (json.loads(one.outcome.body)["id"], one, one.outcome)
        for one in admissions
        if isinstance(one.outcome, Reply) and one.outcome.status == CREATED
    ]
    if not granted:
        return
    exports = await batch_write.earlier_exports(connection, [export for export, _, _ in granted])
    for export, admission, reply in granted:
        admission.outcome, admission.before = None, Before(reply, exports[export])


def _repeated(use: Use, row: asyncpg.Record) -> Outcome:
    try:
        return use.repeated(row["request"], row["content"], row["status"], json.loads(row["headers"]), row["body"])
    except Problem as problem:
        return problem


async def _grow(connection: asyncpg.Connection, announcing: Sequence[_Admitted], year: int) -> None:
    """Find out by how much totals would grow with persons who were announced; their rows are held."""
    told = [(one.found[0], one.job.announced or {}) for one in announcing]
    for admission, growth in zip(announcing, await growths(connection, told, year), strict=True):
        admission.found = [structs.replace(admission.found[0], growth=growth)]


def _settle(admission: _Admitted, sitting: DecisionBatch) -> None:
    if admission.outcome is None and admission.caller is not None:
        job, before = admission.job, admission.before
        try:
            if before is not None and isinstance(job, Reservation):
                admission.outcome = job.repeat(sitting, admission.found, admission.caller, before)
            else:
                admission.outcome = job.settle(sitting, admission.found, admission.caller)
        except Problem as problem:
            admission.outcome = problem


def _set(answered: asyncio.Future[Reply], outcome: Outcome) -> None:
    if answered.done():  # the caller has gone away
        return
    if isinstance(outcome, Reply):
        answered.set_result(outcome)
    else:
        answered.set_exception(outcome)


def _told(error: Exception) -> Exception:
    """Return what whoever waits is told of an error."""
    if is_lock_timeout(error):
        return Busy()
    return DatabaseUnavailable() if _is_away(error) else error


def _is_away(error: BaseException) -> bool:
    return isinstance(error, DatabaseUnavailable) or is_unavailable(error) or is_conflict(error)


async def _undo(worker: _Worker) -> None:
    """End a transaction that failed, and let go of the gate's lock; a connection that cannot even do that is given up."""
    worker.has_begun = False
    try:
        if worker.connection is not None:
            async with asyncio.timeout(ANSWER):
                await worker.connection.execute(_UNDO)
    except Exception:  # noqa: BLE001 - whatever the driver says: this connection is no use any more
        await _leave(worker)


async def _leave(worker: _Worker) -> None:
    if worker.connection is not None:
        worker.connection.terminate()
        worker.connection = None


@dataclass(slots=True)
class _Commit:
    """Whether the commit has been sent: from then on nothing is known until it is answered."""

    begun: bool = False
