"""Chapter of the timeline: acts by day. Pure."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from service.audit.actions import AuditAction
from service.packs.chapters.context import ReportContext
from service.packs.document import Block, Day, Emphasis, Text, Timeline, TimelineLine
from service.packs.report_data import TimelineAct
from service.words.catalogue import Words
from service.words.formats import format_count, format_minute

_MAX_LINES: Final = 600
"""Most lines of the timeline; the log holds all acts."""


def blocks(context: ReportContext) -> Iterator[Block]:
    """Return the timeline; of a long act the newest part."""
    data, words = context.data, context.words
    if not data.timeline:
        yield Text(words("timeline.none"))
        return
    yield Text(words("timeline.text"))
    runs = [list(run) for _, run in groupby(data.timeline, key=_line_key)][-_MAX_LINES:]
    count = sum(map(len, runs))
    if count < data.act_count:
        yield Text(words("timeline.left_out", all=format_count(data.act_count), shown=format_count(count)), "quiet")
    yield Timeline(
        tuple(
            Day(day_, tuple(_line(run, context) for run in of_day))
            for day_, of_day in groupby(runs, key=lambda run: format_minute(run[0].at)[:10])
        ),
        words("leaf"),
    )


def _line_key(act: TimelineAct) -> tuple[object, ...]:
    """Return the key by which acts share a line: day, action and actor. Imports and bulk gradings make hundreds of such acts."""
    return (format_minute(act.at)[:10], act.action, act.actor.id, act.stage, act.decision, act.revision)


def _line(run: Sequence[TimelineAct], context: ReportContext) -> TimelineLine:
    words, first, last = context.words, run[0], run[-1]
    leaves = [act.leaf for act in run if act.leaf is not None]
    return TimelineLine(
        time=format_minute(first.at)[11:],
        title=_act(first, words),
        subject=context.called(first.subject) if len(run) == 1 else words("times", count=format_count(len(run))),
        by=context.actor(first.actor),
        leaf=words("not_sequenced")
        if not leaves
        else format_count(leaves[0])
        if len(leaves) == 1
        else f"{format_count(leaves[0])} … {format_count(leaves[-1])}",
        emphasis=_emphasis(last),
    )


def _act(act: TimelineAct, words: Words) -> str:
    text = words.of("act", act.action)
    if act.decision is not None:
        text = words.pair(text, words.of("decision", act.decision))
    more = [
        *([] if act.stage is None else [words.of("stage", act.stage)]),
        *([] if act.revision is None else [words("revision", number=act.revision)]),
    ]
    return words.aside(text, words.listed(more)) if more else text


def _emphasis(act: TimelineAct) -> Emphasis:
    if act.action in {AuditAction.PERMIT_ISSUED, AuditAction.PERMIT_RESUMED} or act.decision == "approve":
        return "good"
    if act.action in {AuditAction.PERMIT_REVOKED, AuditAction.EXPORT_REFUSED} or act.decision == "reject":
        return "bad"
    if (
        act.action in {AuditAction.PERMIT_SUSPENDED, AuditAction.TRANSFER_WITHDRAWN, AuditAction.STAGE_OVERDUE}
        or act.decision == "return"
    ):
        return "warn"
    return "plain"
