"""What is made of settings without a server."""

from __future__ import annotations

import pytest

from service.settings import Settings


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "0.0.0.0", "port": 80}, "http://127.0.0.1:80"),  # noqa: S104 - nothing is bound
        ({"host": "::", "port": 80}, "http://[::1]:80"),
        ({"host": "2001:db8::1"}, "http://[2001:db8::1]:8000"),
        ({"host": "gate.internal"}, "http://gate.internal:8000"),
        ({"public_url": "https://gate.example.com/"}, "https://gate.example.com"),
        ({"public_url": "https://example.com/gate", "host": "::"}, "https://example.com/gate"),
    ],
)
def test_the_service_says_its_address_as_its_operator_does(given: dict[str, object], expected: str) -> None:
    assert Settings.model_validate(given).base_url == expected
