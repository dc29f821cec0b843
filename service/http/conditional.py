"""Conditional requests (RFC 9110): `ETag`, `If-Match` as an optimistic lock, `If-None-Match`."""

import hashlib

from fastapi import Request

from service.validation.problems import PreconditionFailed, PreconditionRequired


def etag_of(representation: bytes) -> str:
    """Return the strong ETag of a representation; it changes with any byte."""
    return f'"{hashlib.sha256(representation).hexdigest()[:32]}"'


def require_match(request: Request, current: str, *, required: bool) -> None:
    """Refuse a change of a resource that is no longer in the state that the caller has read.

    Raises:
        PreconditionRequired: `If-Match` is missing where it is required (428).
        PreconditionFailed: it does not name the current tag (412).
    """
    header_lines = request.headers.getlist("if-match")
    if not header_lines:
        if required:
            raise PreconditionRequired("Read the resource first and send its ETag in If-Match.")
        return
    tags = [tag.strip() for line in header_lines for tag in line.split(",")]
    if "*" not in tags and current not in tags:
        raise PreconditionFailed("Read the resource again, look at what changed, and send the new ETag in If-Match.")


def has_precondition(request: Request) -> bool:
    """Return True if the caller makes a change depend on the state that it has read (`If-Match`)."""
    return "if-match" in request.headers


def is_unchanged(request: Request, current: str) -> bool:
    """Return True if the caller has this representation already (`If-None-Match`)."""
    tags = [
        tag.strip().removeprefix("W/") for line in request.headers.getlist("if-none-match") for tag in line.split(",")
    ]
    return current in tags or "*" in tags
