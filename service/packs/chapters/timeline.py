"""The report's timeline: what happened, day by day. Pure."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from service.packs.chapters.context import ReportContext
from service.packs.document import Block, Day, Look, Moment, Text, Timeline
from service.packs.report_data import TimelineAct
from service.words.catalogue import Words
from service.words.formats import format_count, format_minute

_MOMENTS: Final = 600
"""Lines of the timeline; a reader of more than that reads the log."""


def blocks(reading: ReportContext) -> Iterator[Block]:
    """Return the timeline, the newest part of it if it is long."""
    story, words = reading.story, reading.words
    if not story.timeline:
        yield Text(words("timeline.none"))
        return
    yield Text(words("timeline.told"))
    runs = [list(run) for _, run in groupby(story.timeline, key=_alike)][-_MOMENTS:]
    shown = sum(map(len, runs))
    if shown < story.act_count:
        yield Text(words("timeline.left_out", all=format_count(story.act_count), shown=format_count(shown)), "quiet")
    yield Timeline(
        tuple(
            Day(day_, tuple(_moment(run, reading) for run in of_day))
            for day_, of_day in groupby(runs, key=lambda run: format_minute(run[0].at)[:10])
        ),
        words("leaf"),
    )


def _alike(one: TimelineAct) -> tuple[object, ...]:
    """What makes acts one line: the same day, act and actor, as imports and gradings in bulk have them by the hundred."""
    return (format_minute(one.at)[:10], one.action, one.actor.id, one.stage, one.decision, one.revision)


def _moment(run: Sequence[TimelineAct], reading: ReportContext) -> Moment:
    words, first, last = reading.words, run[0], run[-1]
    leaves = [one.leaf for one in run if one.leaf is not None]
    return Moment(
        time=format_minute(first.at)[11:],
        what=_act(first, words),
        subject=reading.called(first.subject) if len(run) == 1 else words("times", count=format_count(len(run))),
        by=reading.actor(first.actor),
        leaf=words("not_sequenced")
        if not leaves
        else format_count(leaves[0])
        if len(leaves) == 1
        else f"{format_count(leaves[0])} … {format_count(leaves[-1])}",
        look=_look_of_act(last),
    )


def _act(one: TimelineAct, words: Words) -> str:
    told = words.of("act", one.action)
    if one.decision is not None:
        told = words.pair(told, words.of("decision", one.decision))
    more = [
        *([] if one.stage is None else [words.of("stage", one.stage)]),
        *([] if one.revision is None else [words("revision", number=one.revision)]),
    ]
    return words.aside(told, words.listed(more)) if more else told


def _look_of_act(one: TimelineAct) -> Look:
    if one.action in {"permit.issued", "permit.resumed"} or one.decision == "approve":
        return "good"
    if one.action in {"permit.revoked", "export.refused"} or one.decision == "reject":
        return "bad"
    if one.action in {"permit.suspended", "transfer.withdrawn", "stage.overdue"} or one.decision == "return":
        return "warn"
    return "plain"
