"""Derives the response headers of the OpenAPI document from its own paths and schemas."""

from typing import Any, Final

Json = dict[str, Any]

_TEXT: Final = {"type": "string"}
_COMPONENTS: Final[dict[str, Json]] = {
    "X-Request-ID": {
        "description": "Id of the request, as it was sent or a new one; it is in the logs.",
        "schema": _TEXT,
    },
    "ETag": {
        "description": "Tag of the resource: send it as If-Match for a conditional change, as If-None-Match to get 304 if it is unchanged.",
        "required": True,
        "schema": _TEXT,
    },
    "Location": {"description": "Path of the created resource.", "required": True, "schema": _TEXT},
    "Retry-After": {
        "description": "Seconds after which to repeat the request.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"description": "Authentication scheme (RFC 6750).", "required": True, "schema": _TEXT},
    "Content-Disposition": {"description": "Name of the file.", "required": True, "schema": _TEXT},
    "Digest": {"description": "SHA-256 of the file in base64, after `sha-256=`.", "required": True, "schema": _TEXT},
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
