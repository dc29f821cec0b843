"""A story as it is read: with the words of a language, the law, and the short names of what is in it. Pure.

Requests, permits and papers have short names (T1, P1, E1), so that a sentence can name them; their ids stand beside them once.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any, Final

from service.law.explanation import country, mechanism, tag
from service.law.facts import FIRST_DAY
from service.law.rule_book import RuleBook
from service.packs.document import Cell, Look, Span
from service.packs.report_data import Actor, Json, ReportData, ReportDataset, ReportPermit, ReportRecipient
from service.words.catalogue import LANGUAGES, Words
from service.words.formats import format_count, format_in_china, format_second

_ARTICLE: Final = re.compile(r"(\d+)(?:\((\d+)\))?(?: item (\d+))?")

_GOOD: Final = frozenset({"active", "approved", "effective"})
BAD: Final = frozenset({"rejected", "revoked"})
_WARN: Final = frozenset({"suspended", "returned", "exhausted", "pending", "withdrawn", "expired"})


def look_of(status: str) -> Look:
    """Return how a status is shown."""
    if status in _GOOD:
        return "good"
    if status in BAD:
        return "bad"
    return "warn" if status in _WARN else "plain"


@dataclass(frozen=True)
class ReportContext:
    """A story as it is read: with the words of a language, the law, and the short names of what is in it."""

    story: ReportData
    book: RuleBook
    words: Words

    @cached_property
    def short(self) -> Mapping[str, str]:
        """Short names of requests, permits and papers, by id."""
        names = {one.id: f"T{number}" for number, one in enumerate(self.story.transfers, 1)}
        names |= {one.id: f"P{number}" for number, one in enumerate(self.permits, 1)}
        papers = (paper for transfer in self.story.transfers for paper in transfer.evidence)
        return names | {paper.id: f"E{number}" for number, paper in enumerate(papers, 1)}

    @cached_property
    def permits(self) -> Sequence[ReportPermit]:
        """All permits, in the order of their requests."""
        return [transfer.permit for transfer in self.story.transfers if transfer.permit is not None]

    @cached_property
    def datasets(self) -> Mapping[str, ReportDataset]:
        """Datasets by id."""
        return {one.id: one for one in self.story.datasets}

    @cached_property
    def recipients(self) -> Mapping[str, ReportRecipient]:
        """Recipients by id."""
        return {one.id: one for one in self.story.recipients}

    @cached_property
    def paper_names(self) -> Mapping[str, str]:
        """Names of the kinds of evidence, as the law data has them, the latest wording last."""
        return {
            entry.code: self.text(entry.text)
            for begins in self.book.days
            for entry in self.book.edition(begins).evidence
        }

    @property
    def last_day(self) -> date:
        """The last day that the report is about: its law is the law of that day."""
        last = self.story.made_at.date() if self.story.until is None else self.story.until
        return max(last, FIRST_DAY)

    def named(self, id_: str) -> str:
        """Return the short name of something with its id; the id alone, if it has none."""
        return f"{self.short[id_]} · {id_}" if id_ in self.short else id_

    def called(self, id_: str) -> str:
        """Return what people call something; its id, if it has no name."""
        if id_ == self.story.handler.id:
            return self.story.handler.key
        found = self.datasets.get(id_) or self.recipients.get(id_)
        return self.short.get(id_, id_) if found is None else found.key

    def dataset(self, id_: str) -> str:
        """Return the key of a dataset; its id, if it is not in the pack."""
        return self.datasets[id_].key if id_ in self.datasets else id_

    def recipient(self, id_: str) -> str:
        """Return the name and the country of a recipient; its id, if it is not in the pack."""
        if id_ not in self.recipients:
            return id_
        found = self.recipients[id_]
        return self.words.aside(found.name, self.country(found.country))

    def country(self, code_: str) -> str:
        """Return the name of a country."""
        return country(code_, self.words.language)

    def actor(self, actor: Actor) -> str:
        """Return who did something: the name of a reviewer or a system; nobody else is named."""
        if actor.kind == "system":
            return self.words("actor.system", name=actor.name or actor.id)
        if actor.id == "operator":
            return self.words("actor.operator")
        return actor.name or self.words("actor.person", id=actor.id[-8:])

    def seen_by(self, others: Sequence[Actor]) -> Span | None:
        """Return who else could have done something; None: nobody."""
        if not others:
            return None
        return Span(self.words("seen_by", actors=self.words.listed([self.actor(one) for one in others])), "warn")

    def tags(self, tags: Sequence[str] | None) -> str:
        """Return the tags of a dataset in words."""
        if tags is None:
            return self.words("ungraded")
        return self.words.listed([tag(one, self.words.language) for one in tags]) if tags else self.words("general")

    def mechanism(self, name: str) -> str:
        """Return what a mechanism asks for."""
        return mechanism(name, self.words.language)

    def facts(self, facts: Json) -> str:
        """Return facts of the register in words; those that are not known are left out."""
        told = [
            self.words.pair(self.words.of("fact", name), self.value(value))
            for name, value in sorted(facts.items())
            if value is not None
        ]
        return self.words.parts(told)

    def value(self, value: object) -> str:
        """Return a value of a fact or a condition in words."""
        if isinstance(value, bool):
            return self.words("yes" if value else "no")
        if isinstance(value, int):
            return format_count(value)
        if isinstance(value, (list, tuple)):
            return self.words.listed([self.value(one) for one in value])
        return self.words.of("value", value)

    def citations(self, citations: Iterable[Mapping[str, str | None]]) -> str:
        """Return articles as a sentence cites them."""
        told = [
            f"{one['instrument']}{self.article(one['article'], cited=True) if one['article'] else ''}"
            for one in citations
        ]
        return self.words.parts(told)

    def article(self, number: str, *, cited: bool = False) -> str:
        """Return the number of an article: in Chinese with its paragraph and item, in English as it stands, `cited` after a name."""
        parts = _ARTICLE.fullmatch(number)
        if self.words.language == 0 or parts is None:
            return f" art. {number}" if cited and self.words.language == 0 else number
        return "".join(f"第{part}{unit}" for part, unit in zip(parts.groups(), "条款项", strict=True) if part)

    def text(self, texts: Mapping[Any, str]) -> str:
        """Return the text of the report's language."""
        return texts[LANGUAGES[self.words.language]]

    def status(self, status: str) -> Cell:
        """Return a status in words, with its look."""
        return (Span(self.words.of("status", status), look_of(status)),)


def describe_persons(persons: int, sensitive: int, words: Words) -> str:
    """Return how many persons, and how many of them with sensitive information."""
    return words("persons.told", persons=format_count(persons), sensitive=format_count(sensitive))


def list_or_all(names: Sequence[str] | None, all_: str, words: Words) -> str:
    """Return names as a list; None stands for all of them."""
    return all_ if names is None else words.listed(list(names))


def describe_instant(at: datetime, words: Words) -> str:
    """Return a moment in UTC and in China Standard Time."""
    return words("moment.both", utc=format_second(at), china=format_in_china(at))
