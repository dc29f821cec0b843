"""A reservation as it comes over HTTP, where persons may be announced: by hash, so that only those count who are not counted yet."""

from dataclasses import dataclass
from typing import Any, Final, Self

from fastapi import Request

from service.exports import person_counts
from service.exports.person_counts import ByHash
from service.exports.schemas import ExportIn
from service.gate import questions
from service.gate.announced_growth import AnnouncedPersons
from service.http.idempotency import Sent
from service.law.schemas import MAX_PERSONS
from service.ledger.counting import KINDS
from service.validation.problems import Invalid


class ReserveIn(ExportIn, ByHash):
    """An export that is about to happen; for each kind of persons a number, hashes or a sketch of who will go."""

    def announced(self) -> AnnouncedPersons | None:
        """Return who will go; None where numbers are all that is told.

        Raises:
            Invalid: one kind is told in two ways, or more persons are than there can be.
        """
        told = self.completion()
        errors = [
            (told[kind].pointer, f"At most {MAX_PERSONS} persons can go at once.")
            for kind in KINDS
            if told[kind].report.persons > MAX_PERSONS
        ]
        if errors:
            raise Invalid("More persons are announced than there can be.", errors=errors)
        if all(told[kind].way == "number" for kind in KINDS):
            return None
        return {kind: told[kind].report for kind in KINDS}


BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": ReserveIn.model_json_schema()}}}
}


@dataclass(frozen=True, slots=True)
class ReservationBody:
    """What is to be reserved, and what a repeat of the request has the same."""

    asked: questions.Export
    """With the number of those who are announced; no hash and no sketch goes on from here to what is recorded."""
    announced: AnnouncedPersons | None
    sent: Sent

    @classmethod
    async def read(cls, request: Request, limit: int) -> Self:
        """Read the body of a reservation.

        Args:
            request: whose body has not been read.
            limit: bytes at most beside hashes and sketches.

        Raises:
            Malformed, Invalid, TooLarge, UnsupportedMediaType: as `reports.read_json` and `ReserveIn` tell.
        """
        value, sent = await person_counts.read_json(request, "Send the body as application/json.", beside=limit)
        body = person_counts.validate_body(ReserveIn, value)
        document = body.model_dump(exclude_unset=True, include=set(ExportIn.model_fields))
        announced = body.announced()
        if announced is not None:
            document |= {kind: announced[kind].persons for kind in KINDS}
        return cls(questions.convert(questions.Export, document), announced, sent)
