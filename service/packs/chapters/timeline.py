"""The report's timeline: what happened, day by day. Pure."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from service.packs.chapters.context import Reading
from service.packs.document import Block, Day, Look, Moment, Text, Timeline
from service.packs.report_data import Happening
from service.words.catalogue import Words, moment, whole

_MOMENTS: Final = 600
"""Lines of the timeline; a reader of more than that reads the log."""


def blocks(reading: Reading) -> Iterator[Block]:
    """Return the timeline, the newest part of it if it is long."""
    story, words = reading.story, reading.words
    if not story.timeline:
        yield Text(words("timeline.none"))
        return
    yield Text(words("timeline.told"))
    runs = [list(run) for _, run in groupby(story.timeline, key=_alike)][-_MOMENTS:]
    shown = sum(map(len, runs))
    if shown < story.happenings:
        yield Text(words("timeline.left_out", all=whole(story.happenings), shown=whole(shown)), "quiet")
    yield Timeline(
        tuple(
            Day(day_, tuple(_moment(run, reading) for run in of_day))
            for day_, of_day in groupby(runs, key=lambda run: moment(run[0].at)[:10])
        ),
        words("leaf"),
    )


def _alike(one: Happening) -> tuple[object, ...]:
    """What makes acts one line: the same day, act and actor, as imports and gradings in bulk have them by the hundred."""
    return (moment(one.at)[:10], one.action, one.actor.id, one.stage, one.decision, one.revision)


def _moment(run: Sequence[Happening], reading: Reading) -> Moment:
    words, first, last = reading.words, run[0], run[-1]
    leaves = [one.leaf for one in run if one.leaf is not None]
    return Moment(
        time=moment(first.at)[11:],
        what=_act(first, words),
        subject=reading.called(first.subject) if len(run) == 1 else words("times", count=whole(len(run))),
        by=reading.actor(first.actor),
        leaf=words("not_sequenced")
        if not leaves
        else whole(leaves[0])
        if len(leaves) == 1
        else f"{whole(leaves[0])} … {whole(leaves[-1])}",
        look=_look_of_act(last),
    )


def _act(one: Happening, words: Words) -> str:
    told = words.of("act", one.action)
    if one.decision is not None:
        told = words.pair(told, words.of("decision", one.decision))
    more = [
        *([] if one.stage is None else [words.of("stage", one.stage)]),
        *([] if one.revision is None else [words("revision", number=one.revision)]),
    ]
    return words.aside(told, words.listed(more)) if more else told


def _look_of_act(one: Happening) -> Look:
    if one.action in {"permit.issued", "permit.resumed"} or one.decision == "approve":
        return "good"
    if one.action in {"permit.revoked", "export.refused"} or one.decision == "reject":
        return "bad"
    if one.action in {"permit.suspended", "transfer.withdrawn", "stage.overdue"} or one.decision == "return":
        return "warn"
    return "plain"
