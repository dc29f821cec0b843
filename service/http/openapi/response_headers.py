"""Derives the response headers of the OpenAPI document from its own paths and schemas."""

from typing import Any, Final

Json = dict[str, Any]

_TEXT: Final = {"type": "string"}
_COMPONENTS: Final[dict[str, Json]] = {
    "X-Request-ID": {"description": "As it was sent, or a new one: it stands in the logs.", "schema": _TEXT},
    "ETag": {
        "description": "Names what was read or left: send it as If-Match to change no other, as If-None-Match to be told 304.",
        "required": True,
        "schema": _TEXT,
    },
    "Location": {"description": "The path of what was made.", "required": True, "schema": _TEXT},
    "Retry-After": {
        "description": "Seconds after which to come back.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"description": "How to show who is calling (RFC 6750).", "required": True, "schema": _TEXT},
    "Content-Disposition": {"description": "The name of the file.", "required": True, "schema": _TEXT},
    "Digest": {"description": "The file's SHA-256 in base64, after `sha-256=`.", "required": True, "schema": _TEXT},
}
_REFUSALS: Final = {"401": ("WWW-Authenticate",), "429": ("Retry-After",), "503": ("Retry-After",)}
_VIEWS: Final = frozenset({"/v1/queue", "/v1/audit/health"})
"""Answers to GET that are no resources and have no ETag."""
_UNADDRESSED: Final = frozenset({"/v1/gradings"})
"""Paths of POST that creates several resources at once, without a Location."""


def add_headers(document: Json) -> None:
    """Add its headers to every answer; each is defined once under `components`."""
    document["components"]["headers"] = _COMPONENTS
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                names = ("X-Request-ID", *_REFUSALS.get(status, ()), *_of_success(path, method, operation, status))
                answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _of_success(path: str, method: str, operation: Json, status: str) -> list[str]:
    if not status.startswith("2") or not path.startswith("/v1/"):
        return []
    content = operation["responses"][status].get("content", {})
    if content.keys() - {"application/json"}:  # a file
        return ["ETag", "Content-Disposition", "Digest"]
    schema = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    if method == "get":
        is_list = schema.startswith("#/components/schemas/Page_")
        return [] if is_list or path in _VIEWS else ["ETag"]
    if not any(parameter["in"] == "header" for parameter in operation.get("parameters", [])):
        return []  # a question creates no resource
    return ["ETag", "Location"] if status != "200" and path not in _UNADDRESSED else ["ETag"]
