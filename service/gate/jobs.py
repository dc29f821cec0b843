"""Jobs of the gate: one question, several, or a reservation.

A job is decided in the batch that it joins, and answered after its commit.
"""

import json
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from service.access.caller import Caller, Credential, format_roles
from service.gate import questions
from service.gate.announced_growth import AnnouncedPersons
from service.gate.batch_decisions import DATASET, Answer, DecisionBatch, EarlierExport, encode
from service.gate.batch_read import EXPORTERS, Holder, Lookup, Snapshot
from service.http import conditional
from service.http.idempotency import Reply, Sent, Use
from service.validation.problems import MEDIA_TYPE, Forbidden, Problem, Unauthenticated

EXPORTS_PATH: Final = "/v1/exports"
_ENDS: Final = {"deny_on_first_deny": False, "permit_on_first_permit": True}


class Job(Protocol):
    """Job for the gate to decide."""

    @property
    def credentials(self) -> Credential:
        """The caller's credential."""

    @property
    def lookups(self) -> Sequence[Lookup]:
        """Lookup keys of the rows to read, one for each ask."""

    @property
    def reserves(self) -> bool:
        """True if it may take from a quota, whose rows are then locked first."""

    @property
    def announced(self) -> AnnouncedPersons | None:
        """The persons announced by hash, if there are any."""

    def use_of(self, caller: Caller) -> Use | None:
        """Return the use of its `Idempotency-Key`, if it has one."""

    def settle(self, batch: DecisionBatch, snapshots: Sequence[Snapshot], caller: Caller) -> Reply:
        """Decide, and return the answer to send after the commit."""


class EarlierAnswer(msgspec.Struct, frozen=True):
    """Earlier answer to the same `Idempotency-Key`, with the present state of its export."""

    reply: Reply
    export: EarlierExport


def admit_caller(credentials: Credential, holder: Holder | None) -> Caller:
    """Return the caller who holds a credential.

    Raises:
        Unauthenticated: the credential is unknown or no longer valid.
        Forbidden: the caller is an exporter of no handler.
    """
    if holder is None or not credentials.match(holder.sha256) or not holder.is_valid:
        raise Unauthenticated("This API key or token is not known, or no longer stands.")
    if not holder.handlers:
        raise Forbidden(f"This takes one of the roles: {format_roles(EXPORTERS)}.")
    return holder.caller


def lookup_of(question: questions.Question, credentials: Credential) -> Lookup:
    """Return the lookup key of a question. A resource of another type is no dataset, whatever its id."""
    dataset = question.resource.id if question.resource.type == DATASET else ""
    context = question.context
    return Lookup(dataset, context.recipient or None if context else None, credentials.prefix)


class Evaluation:
    """One question."""

    __slots__ = ("_question", "credentials", "lookups")

    reserves = False
    announced = None

    def __init__(self, credentials: Credential, question: questions.Question) -> None:
        self.credentials = credentials
        self._question = question
        self.lookups = (lookup_of(question, credentials),)

    def use_of(self, _: Caller) -> Use | None:
        """Return None: a question may be repeated."""
        return None

    def settle(self, batch: DecisionBatch, snapshots: Sequence[Snapshot], caller: Caller) -> Reply:
        """Answer the question."""
        return Reply(200, encode(batch.evaluate(self._question, snapshots[0], caller)))


class _Answers(msgspec.Struct, frozen=True):
    evaluations: list[Answer | msgspec.Raw]


class Failed(msgspec.Struct, frozen=True):
    """Malformed question among several, with its answer: no."""

    answer: msgspec.Raw


class Evaluations:
    """Several questions, answered in their order, up to the one that ends them; one that failed counts as denied."""

    __slots__ = ("_ends", "_items", "credentials", "lookups")

    reserves = False
    announced = None

    def __init__(self, credentials: Credential, items: Sequence[questions.Question | Failed], semantic: str) -> None:
        self.credentials = credentials
        self._items = items
        self._ends = _ENDS.get(semantic)
        self.lookups = [
            Lookup("", None, credentials.prefix) if isinstance(item, Failed) else lookup_of(item, credentials)
            for item in items
        ]

    def use_of(self, _: Caller) -> Use | None:
        """Return None: questions may be repeated."""
        return None

    def settle(self, batch: DecisionBatch, snapshots: Sequence[Snapshot], caller: Caller) -> Reply:
        """Answer the questions."""
        answers: list[Answer | msgspec.Raw] = []
        for item, snapshot in zip(self._items, snapshots, strict=True):
            answer = item.answer if isinstance(item, Failed) else batch.evaluate(item, snapshot, caller)
            answers.append(answer)
            if (isinstance(answer, Answer) and answer.decision) is self._ends:
                break
        return Reply(200, encode(_Answers(answers)))


class Reservation:
    """An export that is about to happen."""

    __slots__ = ("_key", "_request", "_sent", "announced", "credentials", "lookups")

    reserves = True

    def __init__(
        self,
        credentials: Credential,
        request: questions.Export,
        key: str | None,
        sent: Sent | None,
        announced: AnnouncedPersons | None = None,
    ) -> None:
        self.credentials = credentials
        self.announced = announced
        self._request = request
        self._key, self._sent = key, sent
        self.lookups = (Lookup(request.dataset, request.recipient, credentials.prefix),)

    def use_of(self, caller: Caller) -> Use | None:
        """Return the use of the `Idempotency-Key`, which makes a repeat harmless."""
        if self._key is None or self._sent is None:
            return None
        return Use.of(caller.principal, "POST", EXPORTS_PATH, "", self._key, self._sent)

    def settle(self, batch: DecisionBatch, snapshots: Sequence[Snapshot], caller: Caller) -> Reply:
        """Reserve the export, or refuse it; both are recorded."""
        result = batch.reserve(self._request, snapshots[0], caller)
        if isinstance(result, Problem):
            return _refusal_reply(result)
        body = encode(result)
        headers = {"ETag": conditional.etag_of(body), "Location": f"{EXPORTS_PATH}/{result.id}"}
        return Reply(201, body, headers)

    def repeat(
        self, batch: DecisionBatch, snapshots: Sequence[Snapshot], caller: Caller, earlier: EarlierAnswer
    ) -> Reply:
        """Repeat the earlier answer if the export is reserved and still allowed; else return the present refusal."""
        is_announced = self.announced is not None
        problem = batch.repeat(self._request, snapshots[0], caller, earlier.export, is_announced=is_announced)
        return earlier.reply if problem is None else _refusal_reply(problem)


def _refusal_reply(problem: Problem) -> Reply:
    document = json.dumps(problem.document(EXPORTS_PATH), ensure_ascii=False).encode()
    return Reply(problem.status, document, {"Content-Type": MEDIA_TYPE})


EVALUATION_PATH: Final = "/access/v1/evaluation"
EVALUATIONS_PATH: Final = "/access/v1/evaluations"
