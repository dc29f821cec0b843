"""Compares each Chinese page with the English page that it translates, section by section.

`python -m tests.translations` prints each section that has to be translated again, with the comment that the Chinese section then carries.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
READERS = ("tutorial", "registrars", "callers", "reviewers", "auditors", "security")
PAGES = {"README.md": "README.zh-CN.md"} | {f"docs/{name}.md": f"docs/zh-CN/{name}.md" for name in READERS}
"""English pages, each with its Chinese twin."""

HEADING = re.compile(r"(#+) (.*)")
SOURCE = re.compile(r"<!-- en ([0-9a-f]{12}) -->\n")
CODE_COMMENT = re.compile(r"\s*#.*$")
SPAN = re.compile(r"`([^`\n]+)`")
FENCES = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK_TARGET = re.compile(r"\]\([^)]*\)")
LANGUAGE_LINK = re.compile(r"^\[(?:English|中文)\]\([^)]*\)$", re.MULTILINE)
CHINESE = re.compile(r"[\u4e00-\u9fff]")
ATTACK = re.compile(r"\| (A\d+) \|.*\| (`[^|]+`) \|")


@dataclass(frozen=True, slots=True)
class Section:
    """One heading of a page with the text below it, down to the next heading."""

    level: int
    title: str
    body: str

    @property
    def digest(self) -> str:
        """Return the hash that a translation of this section carries.

        Line breaks and spaces do not count, nor do code and link targets: those are compared by themselves.
        """
        prose = FENCES.sub("", LANGUAGE_LINK.sub("", f"{self.title}\n{self.body}"))
        words = " ".join(LINK_TARGET.sub("]", SPAN.sub("`", prose)).split())
        return hashlib.sha256(words.encode()).hexdigest()[:12]

    @property
    def source(self) -> str | None:
        """Return the hash of the English section that this translation was made from."""
        comment = SOURCE.search(self.body)
        return comment[1] if comment else None

    @property
    def code(self) -> list[str]:
        """Return the lines of its code blocks, each without its comment and without lines that are in Chinese."""
        lines, is_code = [], False
        for line in self.body.splitlines():
            if line.startswith("```"):
                is_code = not is_code
                lines.append(line)
            elif is_code:
                lines.append(CODE_COMMENT.sub("", line).rstrip())
        return lines

    @property
    def names(self) -> set[str]:
        """Return the code spans of its prose, without those that hold a description between angle brackets."""
        spans = SPAN.findall(FENCES.sub("", self.body))
        return {span for span in spans if not re.search(r"<[^>]{8,}>|<name>", span)}

    @property
    def rows(self) -> list[int]:
        """Return the number of columns of each row of its tables."""
        return [line.count("|") for line in self.body.splitlines() if line.startswith("|")]

    @property
    def attacks(self) -> list[tuple[str, str]]:
        """Return the attacks that its tables list, each with its test."""
        return [(row[1], row[2]) for line in self.body.splitlines() if (row := ATTACK.fullmatch(line))]


def sections(text: str) -> list[Section]:
    """Split a page at its headings."""
    found: list[tuple[int, str, list[str]]] = []
    is_code = False
    for line in text.splitlines(keepends=True):
        is_code ^= line.startswith("```")
        heading = None if is_code else HEADING.match(line)
        if heading:
            found.append((len(heading[1]), heading[2].strip(), []))
        elif found:
            found[-1][2].append(line)
    return [Section(level, title, "".join(body)) for level, title, body in found]


def read(page: str) -> list[Section]:
    """Return the sections of a page of the repository."""
    return sections((ROOT / page).read_text("utf-8"))


def differences(english: list[Section], chinese: list[Section]) -> Iterator[str]:
    """Yield how the pages differ in structure or code, and each section that has to be translated again."""
    if [section.level for section in english] != [section.level for section in chinese]:
        yield f"the headings differ: {len(english)} in English, {len(chinese)} in Chinese"
        return
    for original, translation in zip(english, chinese, strict=True):
        where = f"{original.title!r} ({translation.title})"
        lines = zip(original.code, translation.code, strict=False)
        if len(original.code) != len(translation.code) or any(
            line != other for line, other in lines if not CHINESE.search(other)
        ):
            yield f"{where}: the code blocks differ"
        if original.rows != translation.rows or original.attacks != translation.attacks:
            yield f"{where}: the tables differ"
        if missing := original.names - translation.names:
            yield f"{where}: the translation lacks {', '.join(sorted(missing))}"
        if original.digest != translation.source:
            yield f"{where}: translate it again, then write <!-- en {original.digest} --> below its heading"


def main() -> None:
    """Print the differences of all pages."""
    for page, twin in PAGES.items():
        for difference in differences(read(page), read(twin)):
            sys.stdout.write(f"{twin}: {difference}\n")


if __name__ == "__main__":
    main()
