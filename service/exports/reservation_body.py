"""Decodes the body of a reservation. Persons may be announced by hash, so that only new ones count."""

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
        """Return the announced persons; None if the body has numbers only.

        Raises:
            Invalid: one kind is announced in two forms, or the persons are too many.
        """
        completion = self.completion()
        errors = [
            (completion[kind].pointer, f"At most {MAX_PERSONS} persons can go at once.")
            for kind in KINDS
            if completion[kind].report.persons > MAX_PERSONS
        ]
        if errors:
            raise Invalid("More persons are announced than there can be.", errors=errors)
        if all(completion[kind].way == "number" for kind in KINDS):
            return None
        return {kind: completion[kind].report for kind in KINDS}


BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": ReserveIn.model_json_schema()}}}
}


@dataclass(frozen=True, slots=True)
class ReservationBody:
    """Export to reserve, with the content that a repeat of the request must equal."""

    export: questions.Export
    """The export with the number of announced persons; hashes and sketches are never recorded."""
    announced: AnnouncedPersons | None
    sent: Sent

    @classmethod
    async def read(cls, request: Request, limit: int) -> Self:
        """Read the body of a reservation.

        Args:
            request: whose body has not been read.
            limit: bytes at most beside hashes and sketches.

        Raises:
            Malformed, Invalid, TooLarge, UnsupportedMediaType: see `person_counts.read_json` and `ReserveIn`.
        """
        value, sent = await person_counts.read_json(request, "Send the body as application/json.", limit=limit)
        body = person_counts.validate_body(ReserveIn, value)
        document = body.model_dump(exclude_unset=True, include=set(ExportIn.model_fields))
        announced = body.announced()
        if announced is not None:
            document |= {kind: announced[kind].persons for kind in KINDS}
        return cls(questions.convert(questions.Export, document), announced, sent)
