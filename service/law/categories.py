"""Recognises data categories that are sensitive personal information, listed in `sensitive_categories.toml`.

Source: PIPL art. 28.
"""

import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Final

_FILE: Final = Path(__file__).parent / "sensitive_categories.toml"
_SENSITIVE: Final = frozenset(
    category for kind in tomllib.loads(_FILE.read_text(encoding="utf-8"))["kind"] for category in kind["categories"]
)
_SEPARATOR: Final = re.compile(r"[\s,;|]+")


@lru_cache(maxsize=4096)
def is_sensitive_category(text: str) -> bool:
    """Return True if one of the categories of a field is sensitive, or below a sensitive one.

    Args:
        text: categories, separated by spaces, commas or the like.

    Example:
        assert is_sensitive_category("user.contact.email, user.biometric.fingerprint")
    """
    return any(_is_sensitive(category) for category in _SEPARATOR.split(text.lower()))


def _is_sensitive(category: str) -> bool:
    parts = category.split(".")
    return any(".".join(parts[:length]) in _SENSITIVE for length in range(1, len(parts) + 1))
