"""`ETag` and `If-Match`: nobody overwrites what they have not seen (RFC 9110)."""

import hashlib

from fastapi import Request

from service.validation.problems import PreconditionFailed, PreconditionRequired


def etag_of(representation: bytes) -> str:
    """Return the strong tag of a representation: it changes exactly when a byte of the answer does."""
    return f'"{hashlib.sha256(representation).hexdigest()[:32]}"'


def require_match(request: Request, current: str, *, required: bool) -> None:
    """Refuse a change to something else than the caller has read.

    Raises:
        PreconditionRequired: `If-Match` is missing where it is required (428).
        PreconditionFailed: it names no current tag (412).
    """
    given = request.headers.getlist("if-match")
    if not given:
        if required:
            raise PreconditionRequired("Read the resource first and send its ETag in If-Match.")
        return
    tags = [tag.strip() for line in given for tag in line.split(",")]
    if "*" not in tags and current not in tags:
        raise PreconditionFailed("Read the resource again, look at what changed, and send the new ETag in If-Match.")


def is_unchanged(request: Request, current: str) -> bool:
    """Tell whether the caller holds this representation already (`If-None-Match`)."""
    tags = [
        tag.strip().removeprefix("W/") for line in request.headers.getlist("if-none-match") for tag in line.split(",")
    ]
    return current in tags or "*" in tags
