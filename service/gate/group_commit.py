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

A batch that takes too long is cancelled, and a job that has waited too long gets 503 with Retry-After. A batch that fails is retried job by
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
from service.connections import ANSWER_MARGIN, FROZEN_SILENCES, MAX_LOCK_SILENCES, SILENCE, Bounds, connect
from service.database.faults import is_conflict, is_disconnected, is_lock_timeout, is_unavailable, pause
from service.database.locks import GATE_LOCK
from service.database.logins import Login
from service.database.session import ATTEMPTS, Time
from service.gate import batch_read, batch_write
from service.gate.announced_growth import load_growths
from service.gate.batch_decisions import DecisionBatch, lapse_time
from service.gate.batch_read import Snapshot
from service.gate.batch_write import StoredAnswer
from service.gate.jobs import EarlierAnswer, Job, Reservation, admit_caller
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
_ROLLBACK: Final = "rollback; select pg_advisory_unlock_all()"
HEARTBEATS_PER_SILENCE: Final = 3
"""Heartbeats that an idle worker sends within the allowed silence."""
CONNECTION_NAME: Final = "outbound gate"
SETTINGS: Final = {
    "jit": "off",
    # Each statement has one good plan, by its indexes; to plan it for every batch would cost more than to run it.
    "plan_cache_mode": "force_generic_plan",
    # A plan is made once, perhaps while a table is still empty, where reading all of it looks cheapest; and serves when it is large.
    "enable_seqscan": "off",
}

Outcome = Reply | Exception


class QueuedJob(Struct, eq=False):
    """A job in the queue, with the callback that gets its outcome."""

    job: Job
    asks: int
    notify: Callable[[Outcome], None]
    since: float
    """The start of its wait, by the clock of the event loop."""
    is_abandoned: bool = False
    """True if the caller no longer waits for the outcome: a job that is not decided yet is then dropped."""


@dataclass(slots=True)
class _Worker:
    connection: asyncpg.Connection | None = None
    task: asyncio.Task[None] | None = None
    has_turn: bool = False
    """True while it holds the turn lock: the other worker waits until this one has decided."""
    since: float = 0.0
    """The start of its turn, by the clock of the event loop."""
    has_begun: bool = False
    """True while it is in a transaction that holds the gate's lock."""


class _Admission(Struct, eq=False):
    """A job of a batch, with the rows read for it and its outcome so far."""

    job: Job
    snapshots: Sequence[Snapshot]
    caller: Caller | None = None
    use: Use | None = None
    outcome: Outcome | None = None
    earlier: EarlierAnswer | None = None
    """The earlier answer to its `Idempotency-Key`, where that was a yes."""


class Gate:
    """Decides jobs in batches.

    Example:
        gate = Gate(login, book, clock=clock, lease=timedelta(minutes=15), timeout=5, batch_timeout=10, queue=10_000)
        await gate.open()
        try:
            reply = await gate.decide(Evaluation(credentials, question))
        finally:
            await gate.close()

    Args:
        login: the database login of the gate.
        book: the law.
        clock: the offset that is added to PostgreSQL's time.
        lease: the time after which a reservation without a report lapses.
        timeout: seconds that one statement, or a connection, may take.
        batch_timeout: seconds that one batch may take in all, and that a job may wait until one takes it.
        queue: maximum number of asks in the queue.
        limits: the rate limits of callers.
        silence: seconds after which PostgreSQL ends a silent session and releases its locks, so that a frozen process cannot block the
            others for longer. An idle worker sends heartbeats.
    """

    def __init__(
        self,
        login: Login,
        book: RuleBook,
        *,
        clock: Time,
        lease: timedelta,
        timeout: float,
        batch_timeout: float,
        queue: int,
        limits: RateLimiter | None = None,
        silence: float = SILENCE,
    ) -> None:
        self._bounds = Bounds(
            statement=timeout,
            silence=silence,
            idle=silence,
            waiting=batch_timeout / 2,
            transaction=MAX_LOCK_SILENCES * silence,
        )
        self._silence = silence
        self._beat = silence / HEARTBEATS_PER_SILENCE
        self._limits = limits if limits is not None and limits.has_gate_rate else None
        self._login = login
        self._book = book
        self._clock = clock
        self._lease = lease
        self._timeout = timeout
        self._batch_timeout = batch_timeout
        self._max_asks = queue
        self._free_asks = queue
        self._queue: deque[QueuedJob] = deque()
        self._arrived = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop
        self._workers = (_Worker(), _Worker())
        self._turn_lock = asyncio.Lock()
        self._usual_turn = 0.0
        """Moving average of the seconds for which a batch holds the turn lock."""
        self._reservations = 0
        """Jobs that reserve and still wait."""

    async def open(self) -> None:
        """Start the workers; a worker connects when it needs to."""
        self._loop = asyncio.get_running_loop()
        for worker in self._workers:
            worker.task = self._loop.create_task(self._run(worker))

    async def close(self) -> None:
        """Stop the workers; jobs that still wait get 503."""
        for worker in self._workers:
            if worker.task is not None:
                worker.task.cancel()
        await asyncio.gather(
            *(worker.task for worker in self._workers if worker.task is not None), return_exceptions=True
        )
        while self._queue:
            self._answer(self._pop_job(), DatabaseUnavailable())
        for worker in self._workers:
            await _drop_connection(worker)

    async def decide(self, job: Job) -> Reply:
        """Return the answer to a job, committed.

        Raises:
            TooManyRequests: the caller asks too often.
            Busy: too many wait already.
            DatabaseUnavailable: PostgreSQL cannot be reached, or does not answer in time.
            Problem: the refusal of the job.
        """
        answered: asyncio.Future[Reply] = self._loop.create_future()
        queued = self.submit(job, partial(_resolve, answered))
        try:
            return await answered
        finally:
            queued.is_abandoned = True

    def submit(self, job: Job, notify: Callable[[Outcome], None]) -> QueuedJob:
        """Add a job to the queue, and call `notify` with its outcome after the commit: a reply, or what `decide` would raise.

        Raises:
            TooManyRequests: the caller asks too often.
            Busy: too many wait already.
        """
        asks = len(job.lookups)
        if self._limits is not None:
            self._limits.require_asks(job.credentials.rate_limit_key, asks)
        if asks > self._free_asks:
            raise Busy
        self._free_asks -= asks
        queued = QueuedJob(job, asks, notify, self._loop.time())
        self._queue.append(queued)
        self._reservations += job.reserves
        self._arrived.set()
        return queued

    def _answer(self, queued: QueuedJob, outcome: Outcome) -> None:
        """Notify the caller of the outcome; a decision stays on record even if the caller has disconnected."""
        self._free_asks += queued.asks
        try:
            queued.notify(outcome)
        except Exception as error:  # a caller that cannot be notified must not delay the others
            log.exception("an answer could not be told", error=type(error).__name__)

    async def _run(self, worker: _Worker) -> None:
        while True:
            if not self._arrived.is_set():
                await self._idle(worker)
            worker.has_turn = self._needs_turn() and await self._acquire_turn()
            try:
                worker.since = self._loop.time()
                if self._reservations:
                    await self._begin(worker)
                batch = self._take_batch(whole=worker.has_turn)
                if batch:
                    await self._answer_batch(worker, batch)
                elif worker.has_begun:
                    await _roll_back(worker)
            finally:
                self._release_turn(worker)

    async def _idle(self, worker: _Worker) -> None:
        """Wait for a job, and send heartbeats meanwhile: PostgreSQL ends a silent session."""
        while not self._arrived.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._beat):
                    await self._arrived.wait()
                return
            try:
                async with asyncio.timeout(ANSWER_MARGIN):
                    if worker.connection is not None:
                        await worker.connection.execute("select 1")
            except Exception:  # noqa: BLE001 - the next batch connects anew
                await _drop_connection(worker)

    async def _begin(self, worker: _Worker) -> None:
        """Begin the transaction before the batch is taken, so that jobs which arrive meanwhile join it; the batch retries a failure."""
        if worker.connection is None:
            return
        try:
            await self._ensure_transaction(worker)
        except Exception:  # noqa: BLE001 - the batch meets the same fault and reports it
            await _roll_back(worker)

    async def _ensure_transaction(self, worker: _Worker) -> asyncpg.Connection:
        """Return the worker's connection, in a transaction that holds the gate's lock."""
        connection = await self._ensure_connection(worker)
        if not worker.has_begun:
            await connection.execute(_BEGIN, timeout=min(self._timeout, self._batch_timeout))
            worker.has_begun = True
        return connection

    async def _ensure_connection(self, worker: _Worker) -> asyncpg.Connection:
        """Return the worker's connection."""
        if worker.connection is None:
            worker.connection = await connect(
                self._login.url,
                name=CONNECTION_NAME,
                bounds=self._bounds,
                timeout=self._timeout,
                settings=SETTINGS | self._login.settings,
            )
        return worker.connection

    async def _acquire_turn(self) -> bool:
        """Wait for the turn lock; False if the oldest job still waits after the time-out, so that it is taken without the lock."""
        while True:
            oldest = self._queue[0] if self._queue else None
            try:
                async with asyncio.timeout(min(max(TURN_TIMEOUT[0], 2 * self._usual_turn), TURN_TIMEOUT[1])):
                    return await self._turn_lock.acquire()
            except TimeoutError:
                if oldest is not None and self._queue and self._queue[0] is oldest:
                    return False

    def _release_turn(self, worker: _Worker) -> None:
        if worker.has_turn:
            worker.has_turn = False
            self._usual_turn += (self._loop.time() - worker.since - self._usual_turn) / 8
            self._turn_lock.release()

    def _needs_turn(self) -> bool:
        """Return True if one worker must take all waiting jobs: with the turn lock."""
        return self._reservations > 0 or self._under_way < MIN_ASKS_FOR_TWO_WORKERS

    @property
    def _under_way(self) -> int:
        """Asks that were accepted and are not answered yet, waiting ones included."""
        return self._max_asks - self._free_asks

    def _take_batch(self, *, whole: bool) -> list[QueuedJob]:
        """Remove one batch from the queue: all of it, or half of the asks under way."""
        batch: list[QueuedJob] = []
        asks = 0
        oldest = self._loop.time() - self._batch_timeout
        half = (self._under_way + 1) // 2
        most = MAX_ASKS if whole or self._reservations else min(half, MAX_ASKS)
        while self._queue and (not batch or asks + self._queue[0].asks <= most):
            queued = self._pop_job()
            if queued.is_abandoned:
                self._free_asks += queued.asks
                continue
            if queued.since < oldest:
                self._answer(queued, Busy())
                continue
            batch.append(queued)
            asks += queued.asks
        if not self._queue:
            self._arrived.clear()
        return batch

    def _pop_job(self) -> QueuedJob:
        queued = self._queue.popleft()
        self._reservations -= queued.job.reserves
        return queued

    async def _answer_batch(self, worker: _Worker, batch: Sequence[QueuedJob]) -> None:
        outcomes: Sequence[Outcome]
        try:
            async with asyncio.timeout(self._batch_timeout):
                outcomes = await self._decide_jobs(worker, [queued.job for queued in batch])
        except TimeoutError:
            log.warning("a batch took too long and is given up", jobs=len(batch))
            await _roll_back(worker)
            outcomes = [DatabaseUnavailable()] * len(batch)
        except asyncio.CancelledError:
            for queued in batch:
                self._answer(queued, DatabaseUnavailable())
            raise
        for queued, outcome in zip(batch, outcomes, strict=True):
            self._answer(queued, outcome)

    async def _decide_jobs(self, worker: _Worker, jobs: Sequence[Job]) -> Sequence[Outcome]:
        """Return the outcomes of some jobs: decided in one transaction, or each in its own if that fails."""
        try:
            return await self._decide_with_retry(worker, jobs)
        except Exception as error:  # noqa: BLE001 - each job gets its own outcome
            if len(jobs) == 1 or _means_unavailable(error):
                return [_to_outcome(error)] * len(jobs)
            log.warning("a batch failed and is tried again one by one", jobs=len(jobs), error=type(error).__name__)
        outcomes: list[Outcome] = []
        for job in jobs:
            # Once the database is unavailable, the remaining jobs fail at once.
            is_over = bool(outcomes) and isinstance(outcomes[-1], DatabaseUnavailable | Busy)
            outcomes += [DatabaseUnavailable()] if is_over else await self._decide_jobs(worker, [job])
        return outcomes

    async def _decide_with_retry(self, worker: _Worker, jobs: Sequence[Job]) -> Sequence[Outcome]:
        """Decide in one transaction; retry a conflict, or a connection that was lost before the commit."""
        until = self._loop.time() + min(self._timeout, self._batch_timeout) - (self._bounds.lock or 0)
        for attempt in range(1, ATTEMPTS + 1):
            committing = _Commit()
            began = self._loop.time()
            try:
                return await self._transaction(worker, jobs, committing)
            except Exception as error:
                await _roll_back(worker)
                if committing.is_sent and not isinstance(error, asyncpg.PostgresError):
                    # Only PostgreSQL itself can say that nothing was committed.
                    raise DatabaseUnavailable from error
                now = self._loop.time()
                is_late = (
                    now - began >= FROZEN_SILENCES * self._silence
                )  # a process that was frozen for so long must not act late
                is_first_loss = is_disconnected(error) and attempt == 1 and not committing.is_sent and not is_late
                is_retryable = (
                    is_conflict(error) or is_first_loss or (is_lock_timeout(error) and not is_late and now < until)
                )
                if not is_retryable or attempt == ATTEMPTS:
                    raise
            await pause(attempt)
        raise AssertionError("unreachable")  # pragma: no cover

    async def _transaction(self, worker: _Worker, jobs: Sequence[Job], committing: "_Commit") -> Sequence[Outcome]:
        if any(job.reserves for job in jobs):
            await self._ensure_transaction(worker)
        connection = await self._ensure_connection(worker)
        now, admissions = await self._load_admissions(connection, jobs, lock=None if worker.has_begun else GATE_LOCK)
        batch = DecisionBatch(self._book, now, lapse_time(now, self._lease))
        await _find_repeats(connection, admissions)
        announcing = [
            admission
            for admission in admissions
            if admission.job.announced is not None and admission.outcome is None and admission.earlier is None
        ]
        if announcing:
            await _load_growth(connection, announcing, day_in_shanghai(now).year)
        for admission in admissions:
            _decide_job(admission, batch)
        answers = [
            StoredAnswer(admission.use, admission.caller.principal, admission.outcome)
            for admission in admissions
            if admission.use is not None and admission.caller is not None and isinstance(admission.outcome, Reply)
        ]
        self._release_turn(worker)
        if (batch.entries.openings or batch.contradictions) and not worker.has_begun:
            await self._ensure_transaction(worker)
            await batch_write.unlock(connection)
        if worker.has_begun:
            await batch_write.write(connection, batch, answers)
            committing.is_sent = True
            worker.has_begun = False
            await connection.execute("commit")
        else:
            committing.is_sent = True
            await batch_write.write_and_commit(connection, batch)
        return [cast("Outcome", admission.outcome) for admission in admissions]

    async def _load_admissions(
        self, connection: asyncpg.Connection, jobs: Sequence[Job], *, lock: int | None
    ) -> tuple[datetime, list[_Admission]]:
        """Return the instant of the decisions, and the jobs with their rows and callers."""
        lookups = [lookup for job in jobs for lookup in job.lookups]
        reserving = [lookup for job in jobs if job.reserves for lookup in job.lookups]
        now, snapshots = (
            await batch_write.lock_and_read(connection, lookups, reserving, self._clock.ahead)
            if reserving
            else await batch_read.read_now(connection, lookups, self._clock.ahead, lock)
        )
        place = 0
        admissions: list[_Admission] = []
        for job in jobs:
            admission = _Admission(job, snapshots[place : place + len(job.lookups)])
            place += len(job.lookups)
            try:
                admission.caller = admit_caller(job.credentials, admission.snapshots[0].holder)
                admission.use = job.use_of(admission.caller)
            except Problem as problem:
                admission.outcome = problem
            admissions.append(admission)
        return now, admissions


async def _find_repeats(connection: asyncpg.Connection, admissions: Sequence[_Admission]) -> None:
    """Find jobs whose key was answered before, and refuse those whose first request is under way.

    A stored no is repeated. A stored yes is decided anew: its export may have ended, or its permit may no longer be valid.
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
    locked, stored = await batch_write.find_earlier_answers(connection, list(uses.values()))
    for admission in admissions:
        use = admission.use
        if use is None:
            continue
        if use.digest in stored:
            admission.outcome, admission.use = _earlier_outcome(use, stored[use.digest]), None
        elif use.digest not in locked:
            admission.outcome, admission.use = idempotency.in_flight(), None
    await _reload_granted_exports(connection, admissions)


async def _reload_granted_exports(connection: asyncpg.Connection, admissions: Sequence[_Admission]) -> None:
    """Remove each stored yes from the outcomes, and load the present state of its export."""
    granted = [
        (json.loads(admission.outcome.body)["id"], admission, admission.outcome)
        for admission in admissions
        if isinstance(admission.outcome, Reply) and admission.outcome.status == CREATED
    ]
    if not granted:
        return
    exports = await batch_write.find_earlier_exports(connection, [export for export, _, _ in granted])
    for export, admission, reply in granted:
        admission.outcome, admission.earlier = None, EarlierAnswer(reply, exports[export])


def _earlier_outcome(use: Use, row: asyncpg.Record) -> Outcome:
    try:
        return use.repeated(row["request"], row["content"], row["status"], json.loads(row["headers"]), row["body"])
    except Problem as problem:
        return problem


async def _load_growth(connection: asyncpg.Connection, announcing: Sequence[_Admission], year: int) -> None:
    """Load the growth of totals by announced persons; their rows are locked."""
    announcements = [(admission.snapshots[0], admission.job.announced or {}) for admission in announcing]
    for admission, growth in zip(announcing, await load_growths(connection, announcements, year), strict=True):
        admission.snapshots = [structs.replace(admission.snapshots[0], growth=growth)]


def _decide_job(admission: _Admission, batch: DecisionBatch) -> None:
    if admission.outcome is None and admission.caller is not None:
        job, earlier = admission.job, admission.earlier
        try:
            if earlier is not None and isinstance(job, Reservation):
                admission.outcome = job.repeat(batch, admission.snapshots, admission.caller, earlier)
            else:
                admission.outcome = job.settle(batch, admission.snapshots, admission.caller)
        except Problem as problem:
            admission.outcome = problem


def _resolve(answered: asyncio.Future[Reply], outcome: Outcome) -> None:
    if answered.done():  # the caller has disconnected
        return
    if isinstance(outcome, Reply):
        answered.set_result(outcome)
    else:
        answered.set_exception(outcome)


def _to_outcome(error: Exception) -> Exception:
    """Return the error that a job reports: a problem where the database is the cause."""
    if is_lock_timeout(error):
        return Busy()
    return DatabaseUnavailable() if _means_unavailable(error) else error


def _means_unavailable(error: BaseException) -> bool:
    return isinstance(error, DatabaseUnavailable) or is_unavailable(error) or is_conflict(error)


async def _roll_back(worker: _Worker) -> None:
    """Roll back a failed transaction and release the gate's lock; drop a connection that cannot do so."""
    worker.has_begun = False
    try:
        if worker.connection is not None:
            async with asyncio.timeout(ANSWER_MARGIN):
                await worker.connection.execute(_ROLLBACK)
    except Exception:  # noqa: BLE001 - any error of the driver makes the connection useless
        await _drop_connection(worker)


async def _drop_connection(worker: _Worker) -> None:
    if worker.connection is not None:
        worker.connection.terminate()
        worker.connection = None


@dataclass(slots=True)
class _Commit:
    """State of a commit; once sent, its outcome is unknown until PostgreSQL answers."""

    is_sent: bool = False
