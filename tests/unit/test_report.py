"""The report of an evidence pack: what it says, in both languages, and that nothing in it can be more than text."""

import base64
import hashlib
import os
import re
import string
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import date
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pypdf
import pytest

from service.drawing.flow_diagram import Captions, Gate, Source, Target, draw_flow
from service.drawing.svg import COLOURS, Box, Curve, Drawing, Label, fit_text, svg, text_width
from service.law.facts import LegalBasis, Method, Necessity, RecipientKind, Route
from service.law.stages import Stage
from service.packs import report
from service.packs.chapters.document import document
from service.packs.document import Document, Table, by_number, trusted
from service.packs.report_data import Actor, ReportData, ReportLedgerYear, TimelineAct
from service.transfers.workflow import Decision, Status
from service.words.catalogue import LANGUAGES, Words, load_catalogue
from tests.law.strategies import BOOK
from tests.unit.stories import (
    HASH,
    LEGAL,
    OWNER,
    PRIVACY,
    REQUESTER,
    REVIEWS,
    SYSTEM,
    a_dataset,
    a_grading,
    a_log,
    a_paper,
    a_permit,
    a_recipient,
    a_review,
    a_revision,
    a_story,
    a_transfer,
    an_answer,
    an_empty_story,
    at,
    exports,
)

TEXTS = load_catalogue("report")
HOSTILE = '<script>alert(1)</script> #read("/etc/passwd") *_$ \\ @x `y` = z </style> {{ 7*7 }} &amp; “q” مرحبا 😀'


def texts(value: Any) -> Iterator[str]:
    """Every text of a document, its drawings' words included."""
    if isinstance(value, str):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from texts(getattr(value, field.name))
    elif isinstance(value, tuple):
        for one in value:
            yield from texts(one)


def told(story: ReportData, section: str | None = None, language: str = "en") -> str:
    """What a document says, or one section of it, a text a line."""
    page = document(story, language, BOOK)
    return "\n".join(texts(page if section is None else next(s for s in page.sections if s.anchor == section)))


def printed(pdf: bytes) -> str:
    return "".join(page.extract_text() for page in pypdf.PdfReader(BytesIO(pdf)).pages)


def close(text: str) -> str:
    """A text without its spaces and line breaks, which a page puts where its columns want them."""
    return re.sub(r"\s", "", text)


# The words


@pytest.mark.parametrize("key", TEXTS)
def test_every_text_is_there_in_both_languages_and_takes_the_same_values(key: str) -> None:
    english, chinese = ({name for _, name, _, _ in string.Formatter().parse(text) if name} for text in TEXTS[key])
    assert all(text.strip() for text in TEXTS[key])
    assert english == chinese


def test_no_text_is_left_over() -> None:
    package = Path(report.__file__).parent
    source = "".join(file.read_text(encoding="utf-8") for file in package.rglob("*.py"))
    spoken = {"what", "verify", "kind", "line", "held", "period"} | set(re.findall(r'\.of\(\s*"(\w+)"', source))
    spoken |= {"method", "basis"}  # of a request
    named = set(re.findall(r"""["']([\w.]+)["']""", source))
    assert [key for key in TEXTS if key not in named and key.split(".")[0] not in spoken] == []


@pytest.mark.parametrize(
    ("vocabulary", "values"),
    [
        ("stage", Stage),
        ("status", Status),
        ("decision", Decision),
        ("method", Method),
        ("basis", {*LegalBasis, *Necessity}),
        ("route", Route),
        ("recipient", RecipientKind),
    ],
)
def test_every_value_of_a_closed_vocabulary_has_its_word(vocabulary: str, values: Any) -> None:
    assert {f"{vocabulary}.{value}" for value in values} <= TEXTS.keys()


def test_a_value_that_has_no_word_is_told_as_it_is() -> None:
    assert Words(TEXTS, 1).of("route", "by_balloon") == "by_balloon"


def test_there_are_two_languages() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        document(a_story(), "de", BOOK)


# What is said


def test_the_title_page_says_what_it_is_about_and_that_it_is_no_legal_advice() -> None:
    page = document(a_story(), "en", BOOK)
    front = "\n".join(texts((page.title, page.subtitle, page.facts, page.notices)))
    for part in (
        "Data handler: lanting-ride",
        "Lanting Ride 兰汀出行 (invented sample)",
        "91310000MA1K00000X",
        "2026-01-01 to 2026-09-30",
        "2026-10-02 10:30:05 UTC (2026-10-02 18:30:05 in Beijing)",
        "1,204 entries, signed 2026-10-02 09:30:05 UTC",
        "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
        "witness.example/w1",
        "not legal advice",
    ):
        assert part in front


@pytest.mark.parametrize(
    ("since", "until", "period"),
    [
        (None, None, "from the beginning to the moment of the pack"),
        (date(2026, 1, 1), None, "from 2026-01-01 to the moment of the pack"),
        (None, date(2026, 9, 30), "from the beginning to 2026-09-30"),
    ],
)
def test_the_period_may_be_open(since: date | None, until: date | None, period: str) -> None:
    assert period in told(a_story(since=since, until=until))


def test_a_handler_without_a_credit_code_shows_none() -> None:
    story = a_story()
    assert "Unified social credit code" not in told(replace(story, handler=replace(story.handler, uscc=None)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_story_of_nothing_says_so_in_every_section(language: str) -> None:
    page = document(an_empty_story(), language, BOOK)
    said = "\n".join(texts(page))
    words = Words(TEXTS, LANGUAGES.index(language))
    for key in (
        "flow.none",
        "timeline.none",
        "datasets.none",
        "recipients.none",
        "requests.none",
        "reviews.none",
        "evidence.none",
        "permits.none",
        "exports.none",
        "ledger.none",
        "law.none",
        "unproved.1",
        "look.unproved",
    ):
        assert words(key) in said
    assert words("summary.no_exports", refused=0) in said
    assert all(section.blocks for section in page.sections)


def test_the_summary_counts_and_names_what_the_law_asked_for() -> None:
    said = told(a_story(), "summary")
    assert "approved (1)" in said
    assert "a filed standard contract or a certificate (1)" in said
    assert "Exports reserved: 36, under permits: 1. Completed: 33, with 6,000 persons" in said
    assert "each stage was approved by another person, none of them the requester" in said


@pytest.mark.parametrize(
    "reviews",
    [
        (a_review("data_owner", OWNER), a_review("privacy", OWNER)),
        (a_review("privacy", REQUESTER),),
    ],
)
def test_the_summary_says_where_duties_were_not_kept_apart(reviews: Any) -> None:
    said = told(a_story([a_transfer(revisions=(a_revision(reviews=reviews),))]), "summary")
    assert "one person decided on two stages, or the requester decided: T1" in said
    assert "none of them the requester" not in said


def test_an_approval_that_was_taken_back_does_not_count_against_separation() -> None:
    reviews = (a_review("privacy", OWNER, taken_back_at=at(3, 6)), a_review("data_owner", OWNER))
    said = told(a_story([a_transfer(revisions=(a_revision(reviews=reviews),))]), "summary")
    assert "none of them the requester" in said
    assert "Decisions of reviewers that were taken back: 1." in said


def test_nothing_stands_out_where_all_is_well() -> None:
    story = a_story()
    assert "Nothing that the service itself can see stands out." in told(
        replace(story, counts=replace(story.counts, refused=0)), "summary"
    )


@pytest.mark.parametrize(
    ("story", "sentence"),
    [
        (a_story(log=a_log(witnesses=())), "No witness cosigned the checkpoint."),
        (a_story([a_transfer(permit=a_permit(status="suspended"))]), "Permit P1 is suspended."),
        (
            a_story([a_transfer(permit=a_permit(sent_persons=150_001))]),
            "Permit P1: 150,001 persons were reported as sent, more than the 150,000 that it allows.",
        ),
        (
            a_story([a_transfer(revisions=(a_revision(reviews=(a_review(hash="sha256:00"),)),))]),
            "Decisions bound to a hash that is not the hash of their revision: 1.",
        ),
        (a_story([a_transfer(evidence=(a_paper(ended_at=at(5, 1)),))]), "Papers that were withdrawn or replaced: 1."),
        (a_story([a_transfer(evidence=(a_paper(member=None),))]), "Papers on record without a file: 1."),
        (
            a_story(ledger=(ReportLedgerYear(2026, 1_000_000, 0),)),
            "The year 2026 reached the line “security assessment, persons” (1,000,000 / 1,000,000).",
        ),
    ],
)
def test_the_summary_points_at_what_deserves_a_look(story: ReportData, sentence: str) -> None:
    assert sentence in told(story, "summary")


def test_the_picture_shows_dataset_permit_recipient_and_country() -> None:
    said = told(a_story(), "flow")
    for part in (
        "Customer master 客户主数据 1",
        "P1 · active",
        "48,210 of 150,000 persons",
        "Lanting Mobility",
        "Singapore",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("tags", "tone"),
    [
        (None, "quiet"),
        ((), "green"),
        (("personal",), "blue"),
        (("personal", "sensitive"), "amber"),
        (("important",), "red"),
        (("core", "personal"), "red"),
    ],
)
def test_a_dataset_has_the_ink_of_its_gravest_tag(tags: tuple[str, ...] | None, tone: str) -> None:
    page = document(a_story(datasets=(a_dataset(tags=tags),)), "en", BOOK)
    drawing = next(value.drawing for s in page.sections for value in s.blocks if value.kind == "picture")
    assert any(isinstance(shape, Box) and shape.width == 5 and shape.fill == tone for shape in drawing.shapes)


@pytest.mark.parametrize("status", ["rejected", "in_review"])
def test_a_request_without_a_permit_is_drawn_as_a_broken_line(status: str) -> None:
    page = document(a_story([a_transfer(permit=None, status=status)], exports=()), "en", BOOK)
    drawing = page.sections[1].blocks[0].drawing  # type: ignore[union-attr]
    curves = [shape for shape in drawing.shapes if isinstance(shape, Curve)]
    assert curves
    assert all(curve.dashed for curve in curves)
    assert "T1 · No permit" in told(a_story([a_transfer(permit=None, status=status)]), "flow")


def test_what_needed_no_permit_is_drawn_and_counted_by_itself() -> None:
    free = (
        exports(date(2026, 5, 2), permit=None, exports=9, refused=2),
        exports(date(2026, 5, 3), permit=None, exports=1),
    )
    story = a_story((), exports=free)
    assert "No permit needed" in told(story, "flow")
    assert "7 exports" in told(story, "flow")
    assert "Exports that needed no permit" in told(story, "exports")


def test_the_timeline_names_act_stage_decision_revision_reviewer_and_leaf() -> None:
    said = told(a_story(), "timeline")
    assert "Decision: approved (data owner, revision 1)" in said
    assert "Qiao Wen 乔文" in said
    assert "a person (…equester)" in said
    assert said.index("Dataset graded") < said.index("Request submitted") < said.index("Permit issued")


def test_the_timeline_gathers_acts_that_are_alike_and_tells_how_many() -> None:
    acts = tuple(TimelineAct(at(2, 20), "dataset.graded", f"ds_{n}", REQUESTER, 10 + n) for n in range(40))
    late = TimelineAct(at(2, 21), "dataset.graded", a_recipient().id, SYSTEM, None)
    said = told(a_story(timeline=(*acts, late), act_count=50), "timeline")
    assert "40 times" in said
    assert "10 … 49" in said
    assert "not in the tree yet" in said
    assert "lanting-singapore-1" in said
    assert "system ride-export" in said
    assert "Of 50 acts the newest 41 are shown" in said


def test_the_timeline_calls_the_handler_by_its_key_and_an_unknown_act_by_its_name() -> None:
    acts = (
        TimelineAct(at(2, 1), "handler.created", "hd_01kb7y3m000000000000handler", Actor("operator", "system"), 0),
        TimelineAct(at(2, 2), "moon.landed", "xx_1", Actor("operator", "person"), 1),
    )
    said = told(a_story(timeline=acts), "timeline")
    assert "lanting-ride" in said
    assert "moon.landed" in said
    assert "the operator" in said


@pytest.mark.parametrize(
    ("action", "decision", "look"),
    [
        ("transfer.reviewed", "reject", "bad"),
        ("transfer.reviewed", "return", "warn"),
        ("permit.revoked", None, "bad"),
        ("permit.suspended", None, "warn"),
        ("permit.resumed", None, "good"),
        ("transfer.changed", None, "plain"),
    ],
)
def test_an_act_has_the_look_of_what_it_did(action: str, decision: str | None, look: str) -> None:
    acts = (TimelineAct(at(2, 1), action, "tr_1", LEGAL, 0, None, decision),)
    page = document(a_story(timeline=acts, act_count=1), "en", BOOK)
    assert page.sections[2].blocks[-1].days[0].lines[0].emphasis == look  # type: ignore[union-attr]


def test_the_register_tells_tags_gradings_and_facts() -> None:
    gradings = (
        a_grading(),
        a_grading(number=2, state="superseded", tags=(), confirmed_by=LEGAL, ended_at=at(5, 1)),
    )
    facts = {"ciio": True, "pi_subjects": 5_000, "list": ["a", "b"]}
    story = a_story(datasets=(a_dataset(), a_dataset(2, tags=None, grading=None, facts=facts)), gradings=gradings)
    said = told(story, "register")
    for part in (
        "personal",
        "not graded",
        "general data",
        "GB/T 43697-2024 (invented sample)",
        "confirmed by Fang Zhao 方钊",
        "until 2026-05-01 09:30",
        "domestic data added: yes; origin: domestic",
        "critical information infrastructure operator: yes; list: a, b; persons whose information it handles: 5,000",
        "Singapore (SG)",
        "affiliate",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("language", "parts"),
    [
        (
            "en",
            (
                "CBDF art. 8",
                "Obtain each individual's separate consent",
                "PIPL art. 39; CBDF art. 10",
                "150,000 persons",
            ),
        ),
        ("zh", ("CBDF第8条", "取得个人对出境的单独同意。", "PIPL第39条；CBDF第10条", "150000人")),
    ],
)
def test_a_determination_is_told_with_its_articles_and_the_words_of_the_law_data(language: str, parts: Any) -> None:
    said = told(a_story(), "requests", language)
    for part in (*parts, HASH, an_answer()["rules_version"]):
        assert part in said


def test_the_same_determination_is_told_once_and_another_one_again() -> None:
    other = an_answer(transfer={"persons": 500})
    revisions = (a_revision(), a_revision(2), a_revision(3, determination=other))
    said = told(a_story([a_transfer(revisions=revisions)]), "requests")
    assert said.count("Obtain each individual's separate consent") == 2
    assert "the transfer is exempt (small volume)" in said
    assert "The determination is the same as for revision 1, letter by letter." in said


def test_a_request_that_was_never_submitted_says_so() -> None:
    draft = a_transfer(status="draft", revisions=(), permit=None, evidence=())
    story = a_story([draft])
    assert "It was never submitted" in told(story, "requests")
    assert "Nobody has decided on anything." in told(story, "reviews")
    assert "No paper is on record." in told(story, "evidence")
    assert "No permit was issued." in told(story, "permits")


def test_a_bare_request_and_a_determination_under_a_companys_policy_are_told() -> None:
    answer = an_answer() | {"policy": "sha256:policy", "requirements": [], "warnings": an_answer()["obligations"][:1]}
    request = {"purpose": "hr", "fields": None, "systems": ["hr-sync"], "persons": 5, "sensitive_persons": 5}
    said = told(a_story([a_transfer(revisions=(a_revision(request=request, determination=answer),))]), "requests")
    assert "Hash of the company’s own rules: sha256:policy" in said
    assert "5, of them 5 with sensitive information" in said
    assert "hr-sync" in said


def test_reviews_are_told_by_stage_with_names_and_what_they_are_bound_to() -> None:
    reviews = (
        *REVIEWS[:1],
        a_review("privacy", PRIVACY, on_behalf_of=LEGAL, decision="return", taken_back_at=at(3, 6), hash="sha256:00"),
        a_review(
            "privacy", PRIVACY, carried_from="rv_1", conditions={"persons": 1000, "fields": ["city"], "terms": []}
        ),
    )
    said = told(a_story([a_transfer(revisions=(a_revision(reviews=reviews),))]), "reviews")
    for part in (
        "Qiao Wen 乔文",
        "Bai Lu 白露",
        "on behalf of Fang Zhao 方钊",
        "taken back 2026-03-06 09:30",
        "another hash",
        "this revision",
        "carried over",
        "with conditions: fields: city; persons: 1,000",
        "Stages without a decision: legal.",
    ):
        assert part in said
    assert "terms" not in said


def test_whoever_else_could_have_decided_is_told_beside_the_reviewer() -> None:
    reviews = (a_review("privacy", PRIVACY, seen_by=(LEGAL, OWNER)), *REVIEWS[2:])
    said = told(a_story([a_transfer(revisions=(a_revision(reviews=reviews),))]), "reviews")
    assert said.count("who had seen the key or lent the role") == 1
    line = next(line for line in said.splitlines() if "who had seen the key" in line)
    assert line.startswith("or by ")
    assert all(actor.name is not None and actor.name in line for actor in (LEGAL, OWNER))


def test_a_revision_that_waits_for_its_first_review_tells_its_stages() -> None:
    said = told(a_story([a_transfer(revisions=(a_revision(reviews=()),), permit=None)]), "reviews")
    assert "Stages without a decision: data owner, privacy, legal." in said


def test_evidence_is_told_with_hash_days_and_who_verified_it() -> None:
    papers = (
        a_paper(),
        a_paper(
            2,
            kind="other",
            sha256=None,
            member=None,
            valid_until=None,
            verified_by=None,
            ended_at=at(5, 1),
            replaced_by=a_paper().id,
        ),
    )
    said = told(a_story([a_transfer(evidence=papers)]), "evidence")
    for part in (
        "E1 · The standard contract, in effect",
        "ab" * 32,
        "application/pdf · 182,331 bytes",
        "verified by Fang Zhao 方钊, 2026-03-03 09:30",
        "issued 2026-03-01",
        "until 2028-03-01",
        "E2 · other",
        "no file",
        "not verified",
        "no stated end",
        "ended 2026-05-01 09:30",
        f"replaced by E1 · {a_paper().id}",
    ):
        assert part in said


def test_a_permit_is_told_with_its_scope_and_what_it_rests_on() -> None:
    permit = a_permit(
        fields=None, systems=("ride-export",), route=None, evidence=(), supersedes="pm_0", superseded_by="pm_2"
    )
    for story, parts in (
        (
            a_story(),
            (
                "Permit P1",
                a_permit().id,
                f"T1 · {a_transfer().id}",
                "city, amount",
                f"E1 · {a_paper().id}",
                "standard contract",
            ),
        ),
        (
            a_story([a_transfer(permit=permit)]),
            ("ride-export", "none", "pm_0", "pm_2", "Lanting Mobility Singapore 1 (invented) (Singapore)"),
        ),
    ):
        said = told(story, "permits")
        for part in parts:
            assert part in said


def rows(table: Table) -> list[list[str]]:
    return [[" ".join(span.text for span in cell) for cell in row] for row in table.rows]


def test_exports_are_added_up_by_month_for_each_permit() -> None:
    page = document(a_story(), "en", BOOK)
    [table] = [block for block in page.sections[8].blocks if isinstance(block, Table)]
    assert rows(table) == [
        ["2026-04", "24", "22", "2", "4,000", "0"],
        ["2026-05", "12", "11", "1", "2,000", "0"],
    ]
    assert table.foot is not None
    assert [cell[0].text for cell in table.foot] == ["Sum", "36", "33", "3", "6,000", "0"]


def test_exports_of_several_datasets_say_which_and_unknown_ids_stay_ids() -> None:
    story = a_story(
        exports=(
            exports(date(2026, 4, 2)),
            exports(date(2026, 4, 2), dataset="ds_gone", recipient="rc_gone"),
            exports(date(2026, 4, 2), permit="pm_gone"),
        )
    )
    said = told(story, "exports")
    assert "→ Lanting Mobility Singapore 1 (invented) (Singapore)" in said
    assert "ds_gone" in said
    assert "→ rc_gone" in said
    assert "Exports under permit pm_gone" in said


def test_the_ledger_stands_beside_the_lines_of_the_law_of_the_last_day() -> None:
    page = document(a_story(ledger=(ReportLedgerYear(2026, 148_210, 300),)), "en", BOOK)
    [table] = [block for block in page.sections[9].blocks if isinstance(block, Table)]
    assert rows(table) == [
        ["2026", "security assessment, persons", "148,210", "1,000,000", "14.8%", "below"],
        ["2026", "security assessment, sensitive information", "300", "10,000", "3.0%", "below"],
        ["2026", "standard contract, persons", "148,210", "100,000", "148.2%", "reached"],
        ["2026", "standard contract, sensitive information", "300", "1", "> 999%", "reached"],
    ]


def test_before_2024_there_were_other_lines() -> None:
    page = document(a_story(until=date(2023, 6, 30), ledger=(ReportLedgerYear(2023, 100_000, 0),)), "en", BOOK)
    [table] = [block for block in page.sections[9].blocks if isinstance(block, Table)]
    assert rows(table)[0] == ["2023", "security assessment, persons", "100,000", "100,000", "100.0%", "reached"]
    assert len(table.rows) == 2


def test_before_there_was_any_line_the_ledger_has_none() -> None:
    story = a_story(since=None, until=date(2020, 1, 1), ledger=(ReportLedgerYear(2020, 1, 0),))
    assert "No year has a count." in told(story, "ledger")


def test_every_instrument_cited_is_named_with_its_articles() -> None:
    answer = an_answer()
    answer["requirements"][0]["citations"] += [
        {"instrument": "POLICY", "article": "no-maps"},
        {"instrument": "CERT-2025", "article": None},
    ]
    said = told(a_story([a_transfer(revisions=(a_revision(determination=answer),))]), "law")
    assert "Personal Information Protection Law" in said
    assert "39, 55, 56" in said
    assert "8, 10" in said
    assert "The company’s own rules" in said
    assert "国家互联网信息办公室令第16号" in told(a_story(), "law", "zh")


@pytest.mark.parametrize(
    ("article", "english", "chinese"),
    [
        ("8", "CBDF art. 8", "CBDF第8条"),
        ("7(2)", "CBDF art. 7(2)", "CBDF第7条第2款"),
        ("5(1) item 4", "CBDF art. 5(1) item 4", "CBDF第5条第1款第4项"),
        (None, "CBDF", "CBDF"),
    ],
)
def test_an_article_is_cited_as_lawyers_of_each_language_do(article: str | None, english: str, chinese: str) -> None:
    answer = an_answer()
    answer["requirements"][0]["citations"] = [{"instrument": "CBDF", "article": article}]
    story = a_story([a_transfer(revisions=(a_revision(determination=answer),))])
    assert english in told(story, "requests").split("\n")
    assert chinese in told(story, "requests", "zh").split("\n")


def test_an_article_of_the_companys_own_rules_keeps_its_name() -> None:
    answer = an_answer()
    answer["requirements"][0]["citations"] = [{"instrument": "POLICY", "article": "no-maps"}]
    story = a_story([a_transfer(revisions=(a_revision(determination=answer),))])
    assert "no-maps" in told(story, "law", "zh").split("\n")


def test_how_to_verify_shows_the_checkpoint_whole_and_the_counts() -> None:
    said = told(a_story(), "verify")
    assert "outbound verify PACK.zip --vkey 'VKEY'" in said
    assert a_log().note in said
    assert a_log().vkeys[0] in said
    assert "180" in said


def test_a_long_table_and_a_long_section_are_cut_and_say_so() -> None:
    story = a_story(
        [a_transfer(number, permit=None, evidence=()) for number in range(1, 104)],
        datasets=tuple(map(a_dataset, range(1, 308))),
    )
    assert "Of 307 rows the first 300 are shown; the pack holds them all." in told(story, "register")
    assert "Left out here: 3 more." in told(story, "requests")
    assert "Request T100: analytics" in told(story, "requests")
    assert "Request T101: analytics" not in told(story, "requests")


# Text is text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("invoice\u202efdp.exe", "invoice<U+202E>fdp.exe"),
        ("a\x00b\x1b[31m", "a<U+0000>b<U+001B>[31m"),
        ("\ue000", "<U+E000>"),
        ("one\r\ntwo\rthree\tfour", "one\ntwo\nthree four"),
        ("مرحبا שלום 😀 👨‍👩‍👧", "مرحبا שלום 😀 👨‍👩‍👧"),
        ("plain", "plain"),
    ],
)
def test_what_hides_or_turns_text_is_shown_by_its_number(text: str, safe: str) -> None:
    assert trusted(text) == safe


def test_every_text_of_a_story_is_shown_so() -> None:
    page = document(
        a_story(title="x\u202ey", handler=replace(a_story().handler, facts={"k\u202e": ["\u202e", 1]})), "en", BOOK
    )
    assert "\u202e" not in "".join(texts(page))


def hostile() -> ReportData:
    facts = {"ciio": HOSTILE}
    story = a_story(
        [
            a_transfer(
                purpose=HOSTILE,
                evidence=(a_paper(reference=HOSTILE, issuer="W" * 400),),
                revisions=(a_revision(request=a_revision().request | {"description": HOSTILE}),),
            )
        ],
        title=HOSTILE,
        datasets=(a_dataset(title=HOSTILE, key="k" * 500, facts=facts),),
        recipients=(a_recipient(name=HOSTILE),),
    )
    return replace(story, handler=replace(story.handler, name=HOSTILE))


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_text_is_text_in_the_page(language: str) -> None:
    page = report.html(hostile(), language)
    seen = Page(page)
    assert not {"script", "iframe", "img", "object", "link"} & {tag for tag, _ in seen.tags}
    assert HOSTILE in seen.texts
    assert "<script>" not in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_text_is_text_in_the_pdf(language: str) -> None:
    text = close(printed(report.pdf(hostile(), language)))
    assert close('<script>alert(1)</script> #read("/etc/passwd") *_$ \\ @x `y` = z </style> {{ 7*7 }} &amp;') in text
    assert "root:" not in text


def test_a_sign_that_no_font_has_is_printed_by_its_number() -> None:
    assert "<U+13000>" in close(printed(report.pdf(a_story(title="\U00013000 egyptian"), "en")))


# The page


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_loads_nothing_and_runs_nothing(language: str) -> None:
    page = report.html(a_story(), language)
    for tag, attributes in Page(page).tags:
        assert tag not in {"script", "link", "iframe", "img", "base", "form"}
        assert "src" not in attributes
        assert "style" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    [style] = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    assert set(re.findall(r"url\((.{10})", style)) == {"data:font/"}
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert (
        f"default-src 'none'; style-src 'sha256-{digest}'; font-src data:; base-uri 'none'; form-action 'none'" in page
    )


@pytest.mark.parametrize(("language", "tag"), [("en", "en"), ("zh", "zh-CN")])
def test_the_page_can_be_read_by_everybody(language: str, tag: str) -> None:
    tags = Page(report.html(a_story(), language)).tags
    assert ("html", {"lang": tag}) in tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert sum(tag == "caption" for tag, _ in tags) == sum(tag == "table" for tag, _ in tags) > 0
    assert all(attributes.get("scope") in {"col", "row"} for tag, attributes in tags if tag == "th")
    assert all(attributes["aria-label"] for tag, attributes in tags if attributes.get("role") == "img")
    anchors = {attributes["id"] for _, attributes in tags if "id" in attributes}
    assert {attributes["href"][1:] for tag, attributes in tags if tag == "a"} <= anchors  # type: ignore[index]


def test_the_page_brings_the_chinese_signs_that_it_shows() -> None:
    page = report.html(a_story(), "zh")
    [face] = re.findall(r'"Report CJK";[^}]*base64,([^)]*)', page)
    assert base64.b64decode(face)[:4] in {b"OTTO", b"\0\1\0\0"}
    assert len(face) > len(re.findall(r'"Report CJK";[^}]*base64,([^)]*)', report.html(a_story(), "en"))[0])


# The PDF


def embedded(pdf: bytes) -> dict[str, bool]:
    """Of every font of a PDF, whether its shapes are in the file."""
    found: dict[str, bool] = {}
    for page in pypdf.PdfReader(BytesIO(pdf)).pages:
        for reference in page["/Resources"]["/Font"].values():
            font = reference.get_object()
            inner = font["/DescendantFonts"][0].get_object() if "/DescendantFonts" in font else font
            found[str(font["/BaseFont"])] = any(str(key).startswith("/FontFile") for key in inner["/FontDescriptor"])
    return found


@pytest.mark.parametrize(
    ("language", "parts"),
    [
        ("en", ("Evidence of data exports", "No legal advice", "CBDF art. 8", "Qiao Wen 乔文", "客户主数据")),
        ("zh", ("数据出境证据报告", "不构成法律意见", "CBDF第8条", "个人信息保护法", "Qiao Wen 乔文", "Singapore")),
    ],
)
def test_the_pdf_holds_its_text_and_embeds_all_of_its_fonts(language: str, parts: tuple[str, ...]) -> None:
    pdf = report.pdf(a_story(), language)
    text = close(printed(pdf))
    for part in parts:
        assert close(part) in text
    found = embedded(pdf)
    assert all(found.values())
    assert all(re.match(r"/[A-Z]{6}\+(Noto|DejaVuSansMono)", name) for name in found)  # subsets of our own fonts alone
    assert any("NotoSansCJK" in name for name in found)


def test_the_pdf_is_made_to_be_kept_and_read_by_everybody() -> None:
    reader = pypdf.PdfReader(BytesIO(report.pdf(a_story(), "zh")))
    metadata = reader.trailer["/Root"]["/Metadata"].get_object().get_data().decode()
    assert re.search(r"pdfaid:part>2<.*pdfaid:conformance>A<", metadata, flags=re.DOTALL)
    assert "pdfuaid:part>1<" in metadata
    assert reader.trailer["/Root"]["/Lang"] == "zh-CN"
    assert reader.metadata is not None
    assert reader.metadata.creation_date == at(10, 2, 10)
    assert not {"/OpenAction", "/AA", "/Names"} & {*reader.trailer["/Root"]} or "/JavaScript" not in str(
        reader.trailer["/Root"]
    )


def test_no_font_of_the_machine_is_looked_at() -> None:
    own = {"DejaVu Sans Mono", "Libertinus Serif", "New Computer Modern", "New Computer Modern Math"}
    assert {family for family in report.load_fonts().families() if not family.startswith("Noto ")} == own


def test_the_same_story_gives_the_same_bytes_in_every_process() -> None:
    program = (
        "import hashlib; from service.packs import report; from tests.unit.stories import a_story;"
        "print(*(hashlib.sha256(report.html(a_story(), l).encode() + report.pdf(a_story(), l)).hexdigest() for l in ('en', 'zh')))"
    )
    told_by = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told_by) == 1


# Drawings


def crowd(count: int) -> Drawing:
    sources = [Source(f"ds_{n}", f"Dataset {n}", f"key-{n}", "personal", "blue") for n in range(count)]
    targets = [Target(f"rc_{n}", f"Recipient {n}", f"key-{n}", f"Country {n % 5}") for n in range(count)]
    gates = [
        Gate(
            f"pm_{n}",
            f"P{n}",
            ("2026", "5 of 9"),
            "blue",
            "pale_blue",
            open=True,
            sources=(f"ds_{n}", "ds_gone"),
            target=f"rc_{n}",
        )
        for n in range(count)
    ]
    captions = Captions(
        "Handler",
        "Datasets",
        "Permits",
        "Recipients",
        "Border",
        "{} more datasets".format,
        "{} more".format,
        "{} more recipients".format,
    )
    return draw_flow(sources, gates, targets, captions)


@pytest.mark.parametrize("count", [0, 1, 5, 100, 500])
def test_a_picture_keeps_its_size_and_everything_within_it(count: int) -> None:
    drawing = crowd(count)
    assert drawing.width == 760
    assert drawing.height < 1_400
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            assert 0 <= shape.x <= shape.x + shape.width <= drawing.width
            assert 0 <= shape.y <= shape.y + shape.height <= drawing.height
    assert all(0 <= label.x <= drawing.width and 0 <= label.y <= drawing.height for label in drawing.labels)


def test_what_is_too_much_for_a_picture_is_gathered_with_its_number() -> None:
    labels = {label.text for label in crowd(100).labels}
    assert {"84 more datasets", "86 more", "84 more recipients"} <= labels


def test_a_line_to_what_is_in_no_register_is_left_out() -> None:
    gate = Gate("pm_1", "P1", ("", ""), "blue", "pale_blue", open=True, sources=("ds_1",), target="rc_1")
    drawing = draw_flow([], [gate], [], Captions("H", "D", "P", "R", "B", str, str, str))
    assert [shape.dashed for shape in drawing.shapes if isinstance(shape, Curve)] == [True]  # the border alone


def test_a_drawing_is_well_formed_and_says_its_words_or_not() -> None:
    drawing = Drawing(
        10,
        10,
        (
            Box(0, 0, 5.25, 5, stroke=None),
            Box(1, 1, 2, 2, dashed=True),
            Curve(0, 0, 9, 9, arrow=True),
            Curve(0, 0, 1, 1, dashed=True),
        ),
        (Label(1, 1, '<b> & "\n', bold=True, anchor="end"), Label(1, 2, "x")),
    )
    root = ET.fromstring(svg(drawing))  # noqa: S314 - our own drawing
    assert [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")] == ['<b> & " ', "x"]
    assert "<text" not in svg(drawing, labels=False)


@pytest.mark.parametrize(
    ("text", "both_ends", "cut"),
    [
        ("short", False, "short"),
        ("a very long name of a dataset", False, "a very long na…"),
        ("s3://a-very-long/key-of-a-dataset", True, "s3://a-…dataset"),
        ("客户主数据客户主数据客户主数据", False, "客户主数据客户…"),
        ("W" * 50, True, "WWWW…WWW"),
    ],
)
def test_a_text_is_cut_to_its_room(text: str, *, both_ends: bool, cut: str) -> None:
    assert fit_text(text, 80, 10, both_ends=both_ends) == cut
    assert text_width(cut) * 10 <= 80


def test_a_text_that_fits_nowhere_keeps_its_first_letter() -> None:
    assert fit_text("WWWW", 1, 10) == "W…"


def test_signs_that_stand_on_others_take_no_room() -> None:
    assert text_width("e\u0301") == text_width("e")


def test_inks_can_be_read_on_their_grounds() -> None:
    def light(colour: str) -> float:
        channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    grounds = {
        "ink": "panel",
        "quiet": "panel",
        "blue": "pale_blue",
        "red": "pale_red",
        "amber": "pale_amber",
        "green": "paper",
    }
    for ink, ground in grounds.items():
        bright, dark = light(COLOURS[ground]), light(COLOURS[ink])  # type: ignore[index]
        assert (bright + 0.05) / (dark + 0.05) >= 4.5


def test_a_sign_by_its_number_is_plain() -> None:
    assert by_number("\u202e") == "<U+202E>"


def test_a_document_has_its_twelve_sections() -> None:
    page = document(a_story(), "en", BOOK)
    assert isinstance(page, Document)
    assert [section.anchor for section in page.sections] == [
        "summary",
        "flow",
        "timeline",
        "register",
        "requests",
        "reviews",
        "evidence",
        "permits",
        "exports",
        "ledger",
        "law",
        "verify",
    ]
