"""Fast-path eligibility of request bodies.

A body is eligible when the cheap msgspec decode provably accepts exactly what the strict decoder would: no escapes, no unknown or
duplicate members, NFC text without invisible characters. Nothing is refused here: other bodies take the strict decoder.
"""

import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from service.gate.questions import Body, Context, Export, Item, Question, Questions


def members_of_context(context: Context | UnsetType | None) -> int:
    """Count the members of a context, itself included."""
    if context is UNSET:
        return 0
    if context is None:
        return 1
    return (
        1
        + (context.fields is not UNSET)
        + (context.persons is not UNSET)
        + (context.purpose is not UNSET)
        + (context.recipient is not UNSET)
        + (context.sensitive_persons is not UNSET)
    )


def members_of_item(item: Item | Questions) -> int:
    """Count the members of one of several questions, or of the defaults."""
    members = members_of_context(item.context)
    if item.action is not UNSET:
        members += 1 if item.action is None else 2
    if item.resource is not UNSET:
        members += 1 if item.resource is None else 3
    if item.subject is not UNSET:
        members += 1 if item.subject is None else 3
    return members


def members_of_question(question: Question) -> int:
    """Count the members of a question: eight that each has, and those of its context."""
    return 8 + members_of_context(question.context)


def members_of_questions(questions: Questions) -> int:
    """Count the members of several questions."""
    members = members_of_item(questions)
    if questions.evaluations is not UNSET:
        members += 1 + sum([members_of_item(item) for item in questions.evaluations])
    if questions.options is not UNSET:
        members += 1 + (questions.options.evaluations_semantic is not UNSET)
    return members


def members_of_export(export: Export) -> int:
    """Count the members of an export."""
    return (
        3
        + (export.fields is not UNSET)
        + (export.permit is not UNSET)
        + (export.persons is not UNSET)
        + (export.sensitive_persons is not UNSET)
    )


def are_canonical(texts: Sequence[str]) -> bool:
    """Return True if the strict decoder would accept texts without quotes unchanged.

    They have no surrounding spaces and no invisible characters, and are in NFC.
    """
    quoted = '"'.join(("", *texts, ""))
    return (
        quoted.isprintable()
        and '" ' not in quoted
        and ' "' not in quoted
        and (quoted.isascii() or unicodedata.is_normalized("NFC", quoted))
    )


def _texts_of_context(context: Context | UnsetType | None) -> list[str]:
    texts: list[str] = []
    if context:
        if context.recipient:
            texts.append(context.recipient)
        if context.purpose:
            texts.append(context.purpose)
        if context.fields:
            texts += context.fields
    return texts


def texts_of_question(question: Question) -> list[str]:
    """Return every text of a question."""
    resource, subject = question.resource, question.subject
    texts = _texts_of_context(question.context)
    texts += (question.action.name, resource.id, resource.type, subject.id, subject.type)
    return texts


def texts_of_item(item: Item | Questions) -> list[str]:
    """Return every text of one of several questions, or of the defaults."""
    texts = _texts_of_context(item.context)
    if item.action:
        texts.append(item.action.name)
    for party in (item.resource, item.subject):
        if party:
            texts += (party.id, party.type)
    return texts


def texts_of_questions(questions: Questions) -> list[str]:
    """Return every text of several questions, except their options."""
    texts = texts_of_item(questions)
    for item in questions.evaluations or ():
        texts += texts_of_item(item)
    return texts


def texts_of_export(export: Export) -> list[str]:
    """Return every text of an export."""
    return [export.dataset, export.recipient, export.purpose, *(export.fields or ()), *filter(None, (export.permit,))]


SEMANTICS: Final = frozenset({"execute_all", "deny_on_first_deny", "permit_on_first_permit"})


def _has_members(body: bytes, members: int) -> bool:
    """Return True if a body has no members besides the decoded ones: others are unknown, or duplicates.

    Each member has a colon. If texts contain colons too, only those after a quote count: a text contains no quote here, so that each is a
    member, unless space separates a colon from its name.
    """
    if body.count(b":") == members:
        return True
    return body.count(b'":') == members and not any(apart in body for apart in (b" :", b"\n:", b"\r:", b"\t:"))


def _eligible_decoder(
    kind: type[Body],
    members: Callable[[Body], int],
    texts: Callable[[Body], list[str]],
    is_valid: Callable[[Body], bool],
) -> Callable[[bytes], Body | None]:
    decode = msgspec.json.Decoder(kind).decode

    def decode_eligible(body: bytes) -> Body | None:
        if b"\\" in body:
            return None
        try:
            value = decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        is_eligible = _has_members(body, members(value)) and are_canonical(texts(value)) and is_valid(value)
        return value if is_eligible else None

    return decode_eligible


def _has_valid_semantic(questions: Questions) -> bool:
    semantic = UNSET if questions.options is UNSET else questions.options.evaluations_semantic
    return semantic is UNSET or semantic in SEMANTICS


def _has_distinct_fields(export: Export) -> bool:
    return not export.fields or len(set(export.fields)) == len(export.fields)


decode_question = _eligible_decoder(Question, members_of_question, texts_of_question, lambda _: True)
decode_questions = _eligible_decoder(Questions, members_of_questions, texts_of_questions, _has_valid_semantic)
decode_export = _eligible_decoder(Export, members_of_export, texts_of_export, _has_distinct_fields)
"""Decoders of eligible bodies; each returns None for any other body."""
