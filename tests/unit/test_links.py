"""Links and paths in README and in the documentation lead to a file and heading that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")]
    if path.name != "CHANGELOG.md"
)
FENCES = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
SPAN = re.compile(r"`([^`\n]+)`")
PATH = re.compile(
    r"[\w.-]+(?:/[\w.-]+)*\.(?:py|toml|sql|md|txt|svg|lock|pem)|(?:service|tests|docs|bench|deploy|migrations)/[\w./-]*"
)
MADE = {"sample.env", "batch.key", "log_key.pem", "signing_key.pem", "README.txt", "policy.toml", "witness/key.pem"}
"""Files that the service or a reader makes."""


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    text = re.sub(r"[`*]", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = FENCES.sub("", page.read_text("utf-8"))
    named = re.findall(r'<a id="([^"]+)"></a>', text)
    return {*named, *(slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE))}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    file = ROOT / page
    broken = []
    for target, anchor in LINK.findall(FENCES.sub("", file.read_text("utf-8"))):
        other = (file.parent / target).resolve() if target else file
        if not other.exists() or (anchor and anchor not in anchors(other)):
            broken.append(f"{target}#{anchor}")
    assert broken == []


def is_there(path: str) -> bool:
    """True if a path exists, from the root, from `service/`, or as the end of a path of the tree."""
    return any((base / path).exists() for base in (ROOT, ROOT / "service", ROOT / "docs", ROOT / "tests")) or any(
        str(file).endswith(f"/{path}") for file in FILES
    )


FILES = [
    path
    for folder in ("service", "tests", "docs", "deploy", "bench", "migrations")
    for path in (ROOT / folder).rglob("*")
]


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page: str) -> None:
    spans = SPAN.findall(FENCES.sub("", (ROOT / page).read_text("utf-8")))
    named = {span.partition("::")[0] for span in spans if PATH.fullmatch(span.partition("::")[0])}
    assert sorted(path for path in named - MADE if not is_there(path)) == []
