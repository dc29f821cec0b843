"""What of an entry stands in the log in clear, and what is sealed."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from service.audit import commitments
from service.audit.commitments import Opening, commit_texts, commitments_of, open_commitments

Json = dict[str, Any]


def body(action: str, **details: Any) -> Json:
    return {"action": action, "at": "2026-11-25T00:00:00Z", "actor": "pr_1", "subject": "x", "details": details}


def salts() -> Callable[[], bytes]:
    count = itertools.count(1)
    return lambda: next(count).to_bytes(16, "big")


def sealed(action: str, **details: Any) -> Json:
    told: Json = commit_texts(body(action, **details), salts())[0]["details"]
    return told


def test_a_seal_is_the_sha256_of_the_salt_and_the_canonical_json_of_the_value() -> None:
    told, openings = commit_texts(body("transfer.withdrawn", reason="Frau Müller"), salts())
    expected = hashlib.sha256((1).to_bytes(16, "big") + '"Frau Müller"'.encode()).hexdigest()
    assert told["details"] == {"reason": {"sealed": f"sha256:{expected}"}}
    assert openings == [Opening("/details/reason", (1).to_bytes(16, "big"), '"Frau Müller"')]


def test_equal_values_have_different_seals() -> None:
    told = sealed("transfer.changed", before={"description": "same"}, after={"description": "same"})
    assert told["before"] != told["after"]


@pytest.mark.parametrize("thing", sorted(commitments.PUBLIC_MEMBERS))
def test_a_text_in_a_member_that_nobody_put_on_the_list_is_sealed(thing: str) -> None:
    told = commit_texts(
        body(f"{thing}.made", unheard_of="planted", nested=[{"of": ["planted"], "more": "planted"}]), salts()
    )[0]
    assert json.dumps(told).count("planted") == (1 if "of" in commitments.PUBLIC_MEMBERS[thing] else 0)


def test_an_action_about_a_thing_that_nobody_put_on_the_list_has_all_its_texts_sealed() -> None:
    told = sealed("rumour.spread", handler="hd_1", count=3, on_behalf_of="pr_2")
    assert told == {"handler": told["handler"], "count": 3, "on_behalf_of": "pr_2"}
    assert commitments.is_commitment(told["handler"])


def test_numbers_truth_values_and_null_stay_in_clear() -> None:
    details = {"a": 1, "b": 1.5, "c": True, "d": None, "e": [], "f": {}}
    assert sealed("rumour.spread", **details) == details


@pytest.mark.parametrize("thing", sorted(commitments.PUBLIC_MEMBERS))
def test_what_is_on_the_list_stays_in_clear_with_all_that_is_in_it(thing: str) -> None:
    details = {name: ["x", {"reason": "y"}] for name in commitments.PUBLIC_MEMBERS[thing]}
    assert sealed(f"{thing}.made", **details) == details


def test_before_and_after_are_looked_into() -> None:
    told = sealed("dataset.changed", before={"title": "Old", "tags": ["core"]}, after={"title": "New"})
    assert told["before"]["tags"] == ["core"]
    assert commitments.is_commitment(told["before"]["title"])
    assert commitments.is_commitment(told["after"]["title"])


def test_the_terms_of_a_condition_are_sealed_and_its_bounds_are_not() -> None:
    told = sealed(
        "permit.issued", conditions=[{"stage": "legal", "persons": 5, "fields": ["city"], "terms": ["Call Li"]}]
    )
    (condition,) = told["conditions"]
    assert condition | {"terms": []} == {"stage": "legal", "persons": 5, "fields": ["city"], "terms": []}
    assert commitments.is_commitment(condition["terms"][0])


def test_the_owner_of_a_duty_is_an_id_and_the_owner_of_a_dataset_is_a_text() -> None:
    assert sealed("obligation.assigned", owner="pr_1") == {"owner": "pr_1"}
    assert commitments.is_commitment(sealed("dataset.created", owner="Li")["owner"])


def test_all_openings_together_give_back_what_was_said() -> None:
    said = body("transfer.reviewed", comment="No", conditions={"terms": ["a", "b"], "a/b~c": "d"}, revision=2)
    told, openings = commit_texts(said, salts())
    assert open_commitments(told, openings) == said
    assert [one.pointer for one in openings] == list(commitments_of(told))
    assert "/details/conditions/a~1b~0c" in commitments_of(told)


def test_what_has_no_opening_stays_sealed() -> None:
    told, openings = commit_texts(body("transfer.reviewed", comment="No", why="x"), salts())
    shown = open_commitments(told, openings[1:])
    assert shown["details"] == {"comment": told["details"]["comment"], "why": "x"}


@pytest.mark.parametrize(
    "wrong",
    [
        Opening("/details/comment", b"1" * 16, '"No"'),
        Opening("/details/comment", (1).to_bytes(16, "big"), '"Yes"'),
        Opening("/details/comment", (1).to_bytes(16, "big"), "no JSON"),
        Opening("/details/none", (1).to_bytes(16, "big"), '"No"'),
    ],
)
def test_an_opening_that_is_not_what_was_sealed_opens_nothing(wrong: Opening) -> None:
    told, _ = commit_texts(body("transfer.reviewed", comment="No"), salts())
    assert open_commitments(told, [wrong]) == told


def test_a_body_that_is_too_long_has_its_longest_list_sealed_first() -> None:
    fields = [f"field_{number:05}" for number in range(5000)]
    said = body("dataset.changed", before={"fields": fields[:100]}, after={"fields": fields})
    told, openings = commit_texts(said, salts())
    assert told["details"]["before"] == {"fields": fields[:100]}
    assert commitments.is_commitment(told["details"]["after"]["fields"])
    assert open_commitments(told, openings) == said


def test_what_is_sealed_as_a_whole_is_not_sealed_in_its_parts_as_well() -> None:
    said = body("transfer.terms_accepted", terms=["x" * 4000] * 3000)
    told, openings = commit_texts(said, salts())
    assert [one.pointer for one in openings] == ["/details/terms"]
    assert open_commitments(told, openings) == said


def test_a_body_of_the_greatest_length_is_left_alone() -> None:
    empty = len(rfc8785.dumps(body("dataset.changed", fields=[""])))
    fitting = body("dataset.changed", fields=["x" * (commitments.MAX_BODY_SIZE - empty)])
    assert commit_texts(fitting, salts()) == (fitting, [])
    assert commitments_of(
        commit_texts(body("dataset.changed", fields=["x" * (commitments.MAX_BODY_SIZE - empty + 1)]), salts())[0]
    )


def test_many_short_members_are_sealed_together() -> None:
    said = body("gate.searched", question={f"member_{number}": number for number in range(9000)}, looked_at=1)
    told, openings = commit_texts(said, salts())
    assert [one.pointer for one in openings] == ["/details/question"]
    assert open_commitments(told, openings) == said


def test_every_body_that_can_be_is_brought_below_the_limit() -> None:
    said = body("rumour.spread", **{f"member_{number}": {"a": ["x" * 300] * 2, "b": number} for number in range(300)})
    told, openings = commit_texts(said, salts())
    assert len(rfc8785.dumps(told)) <= commitments.MAX_BODY_SIZE
    assert open_commitments(told, openings) == said


def test_more_members_than_can_be_sealed_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        commit_texts(body("rumour.spread", **{f"member_{number}": "x" for number in range(1000)}), salts())


def test_the_seal_of_a_list_opens_with_the_whole_list() -> None:
    opening = Opening("", b"salt", '[1,"a"]')
    assert opening.commitment == "sha256:" + hashlib.sha256(b'salt[1,"a"]').hexdigest()
    assert opening.value == [1, "a"]


def test_the_guide_for_auditors_lists_what_stays_in_clear() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "auditors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| .+ \|$", guide.split("actions of", 1)[1], re.MULTILINE)
    told = {
        thing: {*re.findall(r"`(\w+)`", names), "on_behalf_of", "break_glass", "credential"} for thing, names in rows
    }
    assert told == commitments.PUBLIC_MEMBERS


def test_an_entry_is_clear_once_every_text_of_it_is_sealed() -> None:
    before = body("permit.revoked", reason="the recipient moved", terms=[{"reason": "sold"}])
    assert not commitments.is_fully_committed(before)
    assert commitments.is_fully_committed(commit_texts(before, salts())[0])
    assert not commitments.is_fully_committed(
        body("permit.revoked", reason="the recipient moved", note=commit_texts(before, salts())[0])
    )
