"""Jobs of the gate: one question, several, or a reservation.

A job is decided in the batch that it joins, and answered after its commit.
"""

import json
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from service.access.caller import Caller, Credential, named
from service.gate import questions
from service.gate.announced_growth import AnnouncedPersons
from service.gate.batch_decisions import DATASET, Answer, DecisionBatch, Earlier, encode
from service.gate.batch_read import EXPORTERS, Found, Holder, Wanted
from service.http import conditional
from service.http.idempotency import Reply, Sent, Use
from service.validation.problems import MEDIA_TYPE, Forbidden, Problem, Unauthenticated

EXPORTS_PATH: Final = "/v1/exports"
_ENDS: Final = {"deny_on_first_deny": False, "permit_on_first_permit": True}


class Job(Protocol):
    """Something to be decided."""

    @property
    def credentials(self) -> Credential:
        """What the caller shows."""

    @property
    def wanted(self) -> Sequence[Wanted]:
        """What must be read for it, an entry an ask."""

    @property
    def reserves(self) -> bool:
        """Whether it may take from a quota: the rows that hold it are then held first."""

    @property
    def announced(self) -> AnnouncedPersons | None:
        """Who will go, by hash, where that is told."""

    def use_of(self, caller: Caller) -> Use | None:
        """Return the use of an `Idempotency-Key` that comes with it."""

    def settle(self, sitting: DecisionBatch, found: Sequence[Found], caller: Caller) -> Reply:
        """Decide, and return what to answer once the transaction is committed."""


class Before(msgspec.Struct, frozen=True):
    """What was answered when the same `Idempotency-Key` came first, and what has become of the export since."""

    reply: Reply
    earlier: Earlier


def admitted(credentials: Credential, holder: Holder | None) -> Caller:
    """Return the caller.

    Raises:
        Unauthenticated: nobody holds the key, or it does not stand.
        Forbidden: an exporter of no handler.
    """
    if holder is None or not credentials.match(holder.sha256) or not holder.stands:
        raise Unauthenticated("This API key or token is not known, or no longer stands.")
    if not holder.reach:
        raise Forbidden(f"This takes one of the roles: {named(EXPORTERS)}.")
    return holder.caller


def wanted_by(asked: questions.Question, credentials: Credential) -> Wanted:
    """Return what must be read for a question. A resource of another type is no dataset, whatever its id."""
    dataset = asked.resource.id if asked.resource.type == DATASET else ""
    context = asked.context
    return Wanted(dataset, context.recipient or None if context else None, credentials.prefix)


class Evaluation:
    """One question."""

    __slots__ = ("_asked", "credentials", "wanted")

    reserves = False
    announced = None

    def __init__(self, credentials: Credential, asked: questions.Question) -> None:
        self.credentials = credentials
        self._asked = asked
        self.wanted = (wanted_by(asked, credentials),)

    def use_of(self, _: Caller) -> Use | None:
        """A question may be repeated."""
        return None

    def settle(self, sitting: DecisionBatch, found: Sequence[Found], caller: Caller) -> Reply:
        """Answer it."""
        return Reply(200, encode(sitting.evaluate(self._asked, found[0], caller)))


class _Answers(msgspec.Struct, frozen=True):
    evaluations: list[Answer | msgspec.Raw]


class Failed(msgspec.Struct, frozen=True):
    """One of several questions that could not be read, and the answer that says so: no."""

    answer: msgspec.Raw


class Evaluations:
    """Several questions, answered in their order, up to the one that ends them; one that failed counts as denied."""

    __slots__ = ("_asked", "_ends", "credentials", "wanted")

    reserves = False
    announced = None

    def __init__(self, credentials: Credential, asked: Sequence[questions.Question | Failed], semantic: str) -> None:
        self.credentials = credentials
        self._asked = asked
        self._ends = _ENDS.get(semantic)
        self.wanted = [
            Wanted("", None, credentials.prefix) if isinstance(one, Failed) else wanted_by(one, credentials)
            for one in asked
        ]

    def use_of(self, _: Caller) -> Use | None:
        """Questions may be repeated."""
        return None

    def settle(self, sitting: DecisionBatch, found: Sequence[Found], caller: Caller) -> Reply:
        """Answer them."""
        answers: list[Answer | msgspec.Raw] = []
        for one, seen in zip(self._asked, found, strict=True):
            answer = one.answer if isinstance(one, Failed) else sitting.evaluate(one, seen, caller)
            answers.append(answer)
            if (isinstance(answer, Answer) and answer.decision) is self._ends:
                break
        return Reply(200, encode(_Answers(answers)))


class Reservation:
    """An export that is about to happen."""

    __slots__ = ("_asked", "_key", "_sent", "announced", "credentials", "wanted")

    reserves = True

    def __init__(
        self,
        credentials: Credential,
        asked: questions.Export,
        key: str | None,
        sent: Sent | None,
        announced: AnnouncedPersons | None = None,
    ) -> None:
        self.credentials = credentials
        self.announced = announced
        self._asked = asked
        self._key, self._sent = key, sent
        self.wanted = (Wanted(asked.dataset, asked.recipient, credentials.prefix),)

    def use_of(self, caller: Caller) -> Use | None:
        """Return what makes a repeat harmless."""
        if self._key is None or self._sent is None:
            return None
        return Use.of(caller.principal, "POST", EXPORTS_PATH, "", self._key, self._sent)

    def settle(self, sitting: DecisionBatch, found: Sequence[Found], caller: Caller) -> Reply:
        """Reserve it, or refuse; both are recorded."""
        made = sitting.reserve(self._asked, found[0], caller)
        if isinstance(made, Problem):
            return _refused(made)
        body = encode(made)
        headers = {"ETag": conditional.etag_of(body), "Location": f"{EXPORTS_PATH}/{made.id}"}
        return Reply(201, body, headers)

    def repeat(self, sitting: DecisionBatch, found: Sequence[Found], caller: Caller, before: Before) -> Reply:
        """Say again that it is reserved, if it is and still may happen; else what stands in its way now."""
        is_announced = self.announced is not None
        problem = sitting.repeat(self._asked, found[0], caller, before.earlier, is_announced=is_announced)
        return before.reply if problem is None else _refused(problem)


def _refused(problem: Problem) -> Reply:
    document = json.dumps(problem.document(EXPORTS_PATH), ensure_ascii=False).encode()
    return Reply(problem.status, document, {"Content-Type": MEDIA_TYPE})


EVALUATION_PATH: Final = "/access/v1/evaluation"
EVALUATIONS_PATH: Final = "/access/v1/evaluations"
