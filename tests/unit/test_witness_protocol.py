"""What a witness cosigns and what it refuses, and what its answers mean to the log."""

from datetime import UTC, datetime, timedelta

import pytest

from service.audit.tlog import merkle, signed_note
from service.audit.tlog.signed_note import Checkpoint
from service.audit.tlog.witness_protocol import (
    MAX_PROOF,
    SIZE_TYPE,
    Cosigned,
    Failed,
    NamedWitness,
    OtherSize,
    Refusal,
    Submission,
    Trouble,
    WitnessStatus,
    list_complaints,
    parse_log_keys,
    parse_witnesses,
    read_reply,
    smaller_than_cosigned,
    verify_submission,
)
from tests.logs import SmallLog, a_witness

LOG = SmallLog()
FORK = SmallLog(forked_at=3)
WITNESS = a_witness()
KNOWN = {LOG.origin: [LOG.signer.verifier]}
NOW = 1_800_000_000


def refused(submission: Submission, seen: Checkpoint | None) -> Refusal:
    with pytest.raises(Refusal) as told:
        verify_submission(submission, KNOWN, {} if seen is None else {LOG.origin: seen})
    return told.value


# What is asked


def test_a_submission_is_what_the_specification_shows() -> None:
    asked = LOG.submission(3, 5)
    assert asked.body().decode().split("\n\n", 1)[0].splitlines()[0] == "old 3"
    assert asked.body().decode().endswith(f"\n\n{LOG.note(5)}")
    assert Submission.of(asked.body()) == asked
    assert Submission.of(LOG.submission(0, 5).body()) == LOG.submission(0, 5)


HASH = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0",
        b"old 0\n",
        b"\xff\n\nnote",
        b"old 01\n\nnote",
        b"old -1\n\nnote",
        b"old  1\n\nnote",
        b"OLD 1\n\nnote",
        b"1\n\nnote",
        b"old 1\r\n\nnote",
        b"old 1\nnot base64\n\nnote",
        b"old 1\nAAAA\n\nnote",
        b"old 1\n" + f"{HASH}\n".encode() * (MAX_PROOF + 1) + b"\nnote",
    ],
)
def test_what_is_no_submission_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever line is wrong
        Submission.of(body)


def test_a_proof_may_have_63_lines() -> None:
    assert len(Submission.of(b"old 1\n" + f"{HASH}\n".encode() * MAX_PROOF + b"\nnote").proof) == MAX_PROOF


# What a witness vouches for


def test_every_growth_of_a_log_is_vouched_for() -> None:
    for old in range(18):
        for new in range(old, 18):
            seen = {LOG.origin: LOG.checkpoint(old)}
            checkpoint, opened = verify_submission(LOG.submission(old, new), KNOWN, seen)
            assert checkpoint == LOG.checkpoint(new)
            assert opened.text == checkpoint.text()


def test_the_first_checkpoint_of_a_log_needs_no_proof() -> None:
    for size in range(5):
        assert verify_submission(LOG.submission(0, size), KNOWN, {})[0].size == size


def test_no_growth_of_a_rewritten_log_is_vouched_for() -> None:
    for old in range(4, 18):
        for new in range(old, 18):
            refusal = refused(FORK.submission(old, new), LOG.checkpoint(old))
            assert (refusal.status, refusal.is_fork) == (422, new == old)


def test_no_proof_but_the_one_is_taken() -> None:
    asked = LOG.submission(6, 13)
    for at in range(len(asked.proof)):
        less = asked.proof[:at] + asked.proof[at + 1 :]
        other = (*asked.proof[:at], merkle.EMPTY, *asked.proof[at + 1 :])
        more = (*asked.proof[:at], merkle.EMPTY, *asked.proof[at:])
        for proof in (less, other, more):
            assert refused(Submission(6, proof, asked.note), LOG.checkpoint(6)).status == 422


def test_a_proof_from_nothing_must_be_empty() -> None:
    assert refused(Submission(0, (merkle.EMPTY,), LOG.note(3)), None).status == 422


def test_an_empty_log_has_the_root_of_the_empty_tree() -> None:
    wrong = signed_note.sign(Checkpoint(LOG.origin, 0, bytes(32)).text(), LOG.signer)
    assert refused(Submission(0, (), wrong), None).status == 422


@pytest.mark.parametrize("old", [0, 4, 6])
def test_whoever_begins_elsewhere_is_told_the_size(old: int) -> None:
    refusal = refused(Submission(old, (), LOG.note(9)), LOG.checkpoint(5))
    assert (refusal.status, refusal.size) == (409, 5)


def test_a_log_that_shrank_is_told_the_size() -> None:
    refusal = refused(LOG.submission(3, 4), LOG.checkpoint(5))
    assert (refusal.status, refusal.size, refusal.is_fork) == (409, 5, False)


def test_a_fork_is_told_even_when_the_log_begins_elsewhere() -> None:
    refusal = refused(FORK.submission(0, 5), LOG.checkpoint(5))
    assert (refusal.status, refusal.size, refusal.is_fork) == (409, 5, True)


def test_no_checkpoint_begins_with_a_larger_one() -> None:
    assert refused(Submission(6, (), LOG.note(5)), LOG.checkpoint(6)).status == 400


def test_what_is_no_checkpoint_is_not_vouched_for() -> None:
    assert refused(Submission(0, (), signed_note.sign("hello\n", LOG.signer)), None).status == 400
    assert refused(Submission(0, (), "hello"), None).status == 400


def test_an_unknown_log_is_not_vouched_for() -> None:
    assert refused(SmallLog("example.com/other").submission(0, 3), None).status == 404


def test_a_checkpoint_without_the_logs_signature_is_not_vouched_for() -> None:
    impostor = SmallLog(seed=b"another key")
    assert refused(impostor.submission(0, 3), None).status == 403
    wrong = LOG.note(3).replace("2026-11-25", "2026-11-26")
    assert refused(Submission(0, (), wrong), None).status == 403


def test_one_key_of_a_log_is_enough_while_it_changes() -> None:
    successor = SmallLog(seed=b"another key")
    both = {LOG.origin: [LOG.signer.verifier, successor.signer.verifier]}
    assert parse_log_keys([LOG.signer.vkey, successor.signer.vkey]) == both
    for log in (LOG, successor):
        assert verify_submission(log.submission(0, 3), both, {})[0].size == 3


def test_the_key_of_a_witness_is_not_one_of_a_log() -> None:
    with pytest.raises(ValueError, match="is the key of a witness"):
        parse_log_keys([WITNESS.vkey])


# What its answers mean


def answer(status: int, body: str | bytes, content_type: str = "text/plain") -> Cosigned | OtherSize | Failed:
    content = body.encode() if isinstance(body, str) else body
    return read_reply(status, content_type, content, LOG.note(5), WITNESS.verifier, NOW)


def line(time: int = NOW, log: SmallLog = LOG, name: str = "witness.example/w1") -> str:
    return signed_note.cosign(log.checkpoint(5).text(), a_witness(name), time)


def test_a_cosignature_is_taken_with_its_time() -> None:
    assert answer(200, line()) == Cosigned(line(), NOW)


def test_lines_of_other_keys_are_passed_over_and_the_newest_is_taken() -> None:
    assert answer(200, line(NOW - 9) + line(name="witness.example/w2") + line(NOW - 3)) == Cosigned(
        line(NOW - 3), NOW - 3
    )


@pytest.mark.parametrize(
    "body",
    [
        "",
        "thanks\n",
        b"\xff",
        line(log=FORK),
        line(name="witness.example/w2"),
        line(NOW + 301),
        line()[:-1],
        line().replace("w1 ", "w1 A"),
        LOG.signer.line(LOG.checkpoint(5).text()),
    ],
)
def test_what_the_witness_has_not_signed_is_not_believed(body: str | bytes) -> None:
    told = answer(200, body)
    assert isinstance(told, Failed)
    assert told.trouble == "untrue"


def test_a_clock_a_little_ahead_is_taken() -> None:
    assert answer(200, line(NOW + 300)) == Cosigned(line(NOW + 300), NOW + 300)


def test_a_witness_elsewhere_tells_its_size() -> None:
    assert answer(409, "7\n", SIZE_TYPE) == OtherSize(7)
    assert answer(409, "7\n", f"{SIZE_TYPE}; charset=utf-8") == OtherSize(7)


@pytest.mark.parametrize(
    ("status", "body", "content_type", "trouble"),
    [
        (409, "-7\n", SIZE_TYPE, "untrue"),
        (409, "", SIZE_TYPE, "untrue"),
        (409, "7\n", "text/plain", "refused"),
        (422, "", "text/plain", "forked"),
        (400, "", "text/plain", "refused"),
        (403, "", "text/plain", "refused"),
        (404, "", "text/plain", "refused"),
        (413, "", "text/plain", "refused"),
        (301, "", "text/plain", "away"),
        (500, "", "text/plain", "away"),
        (503, "", "text/plain", "away"),
    ],
)
def test_no_cosignature_has_a_reason(status: int, body: str, content_type: str, trouble: str) -> None:
    told = answer(status, body, content_type)
    assert isinstance(told, Failed)
    assert told.trouble == trouble
    assert "witness.example/w1" in told.detail
    assert ("does not know the log" in told.detail) == (status in {403, 404})


def test_a_witness_that_has_seen_more_says_that_the_log_shrank() -> None:
    told = smaller_than_cosigned(WITNESS.verifier, 9, 5)
    assert told.trouble == "shrunk"
    assert "9 entries, this log has 5" in told.detail


# Whom the operator has named, and what they have to say


def test_witnesses_are_named_by_key_and_address() -> None:
    other = a_witness("witness.example/w2")
    setting = f"{WITNESS.vkey} https://w1.example/, {other.vkey}  http://127.0.0.1:8010/log"
    assert parse_witnesses(setting) == (
        NamedWitness(WITNESS.verifier, "https://w1.example"),
        NamedWitness(other.verifier, "http://127.0.0.1:8010/log"),
    )
    assert [each.name for each in parse_witnesses(setting)] == ["witness.example/w1", "witness.example/w2"]
    assert parse_witnesses("") == parse_witnesses(" ") == ()


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("hello", "must be"),
        (f"{LOG.signer.vkey} https://w1.example", "not the key of a witness"),
        (WITNESS.vkey, "must begin with https"),
        (f"{WITNESS.vkey} w1.example", "must begin with https"),
        (f"{WITNESS.vkey} ftp://w1.example", "must begin with https"),
        (f"{WITNESS.vkey} https://w1.example https://w2.example", "must begin with https"),
        (f"{WITNESS.vkey} https://w1.example,", "must be"),
        (f"{WITNESS.vkey} https://w1.example,{WITNESS.vkey} https://w2.example", "named twice"),
    ],
)
def test_witnesses_that_cannot_be_used_are_told(setting: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_witnesses(setting)


MOMENT = datetime(2026, 11, 25, 14, tzinfo=UTC)


def standing(age: int | None, trouble: Trouble | None = None) -> WitnessStatus:
    cosigned_at = None if age is None else MOMENT - timedelta(seconds=age)
    detail = trouble and f"it is {trouble}"
    return WitnessStatus("w", "w+1+k", None if age is None else 5, cosigned_at, trouble, detail, trouble and MOMENT)


@pytest.mark.parametrize(
    ("standings", "max_age", "told"),
    [
        ([], None, []),
        ([], 60, ["No witness has cosigned the log yet."]),
        ([standing(None)], None, []),
        ([standing(None)], 60, ["No witness has cosigned the log yet."]),
        ([standing(60)], 60, []),
        ([standing(61)], 60, ["The youngest cosignature is 61 seconds old; 60 are allowed."]),
        ([standing(61)], None, []),
        ([standing(1000), standing(5), standing(None)], 60, []),
        ([standing(-5)], 60, []),
        ([standing(5, "away"), standing(None, "refused"), standing(7, "untrue")], 60, []),
        ([standing(5, "forked")], None, ["it is forked"]),
        ([standing(5), standing(5, "shrunk")], 60, ["it is shrunk"]),
        (
            [standing(99, "forked"), standing(99, "shrunk")],
            60,
            ["it is forked", "it is shrunk", "The youngest cosignature is 99 seconds old; 60 are allowed."],
        ),
    ],
)
def test_what_is_said_against_calling_the_log_healthy(
    standings: list[WitnessStatus], max_age: int | None, told: list[str]
) -> None:
    asked = None if max_age is None else timedelta(seconds=max_age)
    assert list_complaints(standings, MOMENT, asked) == told


def test_a_cosignature_is_never_younger_than_now() -> None:
    assert standing(-5).age(MOMENT) == timedelta()
    assert standing(None).age(MOMENT) is None
