"""Which data categories are sensitive personal information: dated law as data, in `sensitive_categories.toml`.

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
_BETWEEN: Final = re.compile(r"[\s,;|]+")


@lru_cache(maxsize=4096)
def is_sensitive_category(text: str) -> bool:
    """Tell whether what a field says of its category names one that is sensitive, or one below it; it may name several.

    Args:
        text: for instance `user.contact.email, user.biometric.fingerprint`.
    """
    return any(_is_sensitive(category) for category in _BETWEEN.split(text.lower()))


def _is_sensitive(category: str) -> bool:
    parts = category.split(".")
    return any(".".join(parts[:length]) in _SENSITIVE for length in range(1, len(parts) + 1))
