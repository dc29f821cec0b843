"""Context of a report: its data, the words of a language, the law, and short names. Pure.

Transfers, permits and evidence items have short names (T1, P1, E1) for use in sentences; their ids are shown next to them once.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any, Final

from service.law.explanation import country_name, mechanism_phrase, tag_name
from service.law.facts import FIRST_DAY
from service.law.rule_book import RuleBook
from service.packs.document import Cell, Emphasis, Span
from service.packs.report_data import Actor, Json, ReportData, ReportDataset, ReportPermit, ReportRecipient
from service.words.catalogue import LANGUAGES, Words
from service.words.formats import format_count, format_in_china, format_second

_ARTICLE: Final = re.compile(r"(\d+)(?:\((\d+)\))?(?: item (\d+))?")

_GOOD: Final = frozenset({"active", "approved", "effective"})
BAD: Final = frozenset({"rejected", "revoked"})
_WARN: Final = frozenset({"suspended", "returned", "exhausted", "pending", "withdrawn", "expired"})


def emphasis_of(status: str) -> Emphasis:
    """Return the emphasis of a status."""
    if status in _GOOD:
        return "good"
    if status in BAD:
        return "bad"
    return "warn" if status in _WARN else "plain"


@dataclass(frozen=True)
class ReportContext:
    """Data of a report with the words of its language, the law and short names."""

    data: ReportData
    book: RuleBook
    words: Words

    @cached_property
    def short(self) -> Mapping[str, str]:
        """Short names of transfers, permits and evidence items, by id."""
        names = {transfer.id: f"T{number}" for number, transfer in enumerate(self.data.transfers, 1)}
        names |= {permit.id: f"P{number}" for number, permit in enumerate(self.permits, 1)}
        items = (item for transfer in self.data.transfers for item in transfer.evidence)
        return names | {item.id: f"E{number}" for number, item in enumerate(items, 1)}

    @cached_property
    def permits(self) -> Sequence[ReportPermit]:
        """All permits, in the order of their transfers."""
        return [transfer.permit for transfer in self.data.transfers if transfer.permit is not None]

    @cached_property
    def datasets(self) -> Mapping[str, ReportDataset]:
        """Datasets by id."""
        return {dataset.id: dataset for dataset in self.data.datasets}

    @cached_property
    def recipients(self) -> Mapping[str, ReportRecipient]:
        """Recipients by id."""
        return {recipient.id: recipient for recipient in self.data.recipients}

    @cached_property
    def evidence_names(self) -> Mapping[str, str]:
        """Names of the kinds of evidence in the latest wording of the law data."""
        return {
            entry.code: self.text(entry.text)
            for begins in self.book.days
            for entry in self.book.edition(begins).evidence
        }

    @property
    def last_day(self) -> date:
        """Last day of the report, whose law applies."""
        last = self.data.made_at.date() if self.data.until is None else self.data.until
        return max(last, FIRST_DAY)

    def named(self, id_: str) -> str:
        """Return a short name with the id; the id alone without a short name."""
        return f"{self.short[id_]} · {id_}" if id_ in self.short else id_

    def called(self, id_: str) -> str:
        """Return the key or the short name of an id; the id without either."""
        if id_ == self.data.handler.id:
            return self.data.handler.key
        registered = self.datasets.get(id_) or self.recipients.get(id_)
        return self.short.get(id_, id_) if registered is None else registered.key

    def dataset(self, id_: str) -> str:
        """Return the key of a dataset; its id, if it is not in the pack."""
        return self.datasets[id_].key if id_ in self.datasets else id_

    def recipient(self, id_: str) -> str:
        """Return the name and the country of a recipient; its id, if it is not in the pack."""
        if id_ not in self.recipients:
            return id_
        recipient = self.recipients[id_]
        return self.words.aside(recipient.name, self.country(recipient.country))

    def country(self, code_: str) -> str:
        """Return the name of a country."""
        return country_name(code_, self.words.language)

    def actor(self, actor: Actor) -> str:
        """Return the name of a reviewer or a system, or a description of another actor."""
        if actor.kind == "system":
            return self.words("actor.system", name=actor.name or actor.id)
        if actor.id == "operator":
            return self.words("actor.operator")
        return actor.name or self.words("actor.person", id=actor.id[-8:])

    def seen_by(self, others: Sequence[Actor]) -> Span | None:
        """Return the other persons who could have made an act; None without any."""
        if not others:
            return None
        return Span(self.words("seen_by", actors=self.words.listed([self.actor(actor) for actor in others])), "warn")

    def tags(self, tags: Sequence[str] | None) -> str:
        """Return the tags of a dataset in words."""
        if tags is None:
            return self.words("ungraded")
        return (
            self.words.listed([tag_name(name, self.words.language) for name in tags]) if tags else self.words("general")
        )

    def mechanism(self, name: str) -> str:
        """Return what a mechanism asks for."""
        return mechanism_phrase(name, self.words.language)

    def facts(self, facts: Json) -> str:
        """Return the registered facts in words, without unknown ones."""
        pairs = [
            self.words.pair(self.words.of("fact", name), self.value(value))
            for name, value in sorted(facts.items())
            if value is not None
        ]
        return self.words.parts(pairs)

    def value(self, value: object) -> str:
        """Return a value of a fact or a condition in words."""
        if isinstance(value, bool):
            return self.words("yes" if value else "no")
        if isinstance(value, int):
            return format_count(value)
        if isinstance(value, (list, tuple)):
            return self.words.listed([self.value(item) for item in value])
        return self.words.of("value", value)

    def citations(self, citations: Iterable[Mapping[str, str | None]]) -> str:
        """Return citations as part of a sentence."""
        articles = [
            f"{citation['instrument']}{self.article(citation['article'], cited=True) if citation['article'] else ''}"
            for citation in citations
        ]
        return self.words.parts(articles)

    def article(self, number: str, *, cited: bool = False) -> str:
        """Return the number of an article: in Chinese with paragraph and item, in English unchanged; `cited` if it follows a name."""
        parts = _ARTICLE.fullmatch(number)
        if self.words.language == 0 or parts is None:
            return f" art. {number}" if cited and self.words.language == 0 else number
        return "".join(f"第{part}{unit}" for part, unit in zip(parts.groups(), "条款项", strict=True) if part)

    def text(self, texts: Mapping[Any, str]) -> str:
        """Return the text in the report's language."""
        return texts[LANGUAGES[self.words.language]]

    def status(self, status: str) -> Cell:
        """Return a status in words, with its emphasis."""
        return (Span(self.words.of("status", status), emphasis_of(status)),)


def describe_persons(persons: int, sensitive: int, words: Words) -> str:
    """Return a number of persons, and of those with sensitive information."""
    return words("persons.text", persons=format_count(persons), sensitive=format_count(sensitive))


def list_or_all(names: Sequence[str] | None, all_: str, words: Words) -> str:
    """Return names as a list; None stands for all of them."""
    return all_ if names is None else words.listed(list(names))


def describe_instant(at: datetime, words: Words) -> str:
    """Return an instant in UTC and in China Standard Time."""
    return words("moment.both", utc=format_second(at), china=format_in_china(at))
