"""Completes the OpenAPI document that FastAPI makes."""

from typing import Any

from fastapi import FastAPI

from service.http.openapi.links import add_links
from service.http.openapi.response_headers import add_headers


def complete_document(app: FastAPI) -> None:
    """Add links, response headers and security schemes to the OpenAPI document."""
    produce = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        completed = produce()
        add_links(completed)
        add_headers(completed)
        schemes = completed.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["api_key"] = {"type": "http", "scheme": "bearer", "bearerFormat": "ob_live_…"}
        meaning = "An access token of the operator's identity provider for this service's audience (RFC 9068: `typ` is `at+jwt`)."
        session = "Session cookie of a person who has signed in with a browser. Changes need `X-CSRF-Token` too (GET /v1/session)."
        schemes["session"] = {"type": "apiKey", "in": "cookie", "name": "__Host-outbound", "description": session}
        schemes["access_token"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": meaning}
        return completed

    app.openapi = document  # type: ignore[method-assign]
