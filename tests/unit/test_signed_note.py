"""Signed notes, checkpoints and cosignatures: the specifications' own examples, every branch, and two other verifiers."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore._internal.trust import Keyring
from sigstore.errors import VerificationError
from sigstore_models.common import v1

from service.audit.tlog import signed_note
from service.audit.tlog.signed_note import COSIGNATURE, ED25519, MAX_SIZE, Checkpoint, SignatureError, Signer, Verifier
from tests.naive_notes import signers

# The Go project's golang.org/x/mod/sumdb/note, which C2SP signed-note describes.
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_KEY = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER_SIG = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
ENOCH_SIG = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
# C2SP signed-note.
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# C2SP tlog-cosignature.
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)

ROOT = hashlib.sha256(b"").digest()
TOLD = Checkpoint.at("example.com/log", 7, ROOT, datetime(2026, 11, 25, 13, 21, 16, tzinfo=UTC))


def pem(seed: bytes) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


LOG = Signer(pem(bytes(32)), "example.com/log")
OTHER = Signer(pem(b"2" * 32), "example.com/log")
WITNESS = Signer(pem(b"w" * 32), "witness.example/w1", COSIGNATURE)


# What others have published


def test_the_published_notes_are_opened() -> None:
    opened = signed_note.open(f"{TEXT}\n{PETER_SIG}{ENOCH_SIG}", [Verifier.of(PETER), Verifier.of(ENOCH)])
    assert (opened.text, opened.by) == (TEXT, {"PeterNeumann", "EnochRoot"})
    assert signed_note.open(FOO_NOTE, [Verifier.of(FOO)]).text == "This is an example message.\n"


def test_the_published_key_signs_as_it_did() -> None:
    assert (
        signed_note.sign(TEXT, Signer(pem(base64.b64decode(PETER_KEY)[1:]), "PeterNeumann")) == f"{TEXT}\n{PETER_SIG}"
    )


@pytest.mark.parametrize(
    ("vkey", "kind"),
    [
        (PETER, ED25519),
        (FOO, ED25519),
        ("remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2", COSIGNATURE),
    ],
)
def test_a_verifier_key_is_read_and_written(vkey: str, kind: int) -> None:
    verifier = Verifier.of(vkey)
    assert (verifier.vkey, verifier.kind) == (vkey, kind)


def test_no_mangled_verifier_key_is_taken() -> None:
    pieces = {PETER[start:end] for start in range(len(PETER) + 1) for end in range(start, len(PETER) + 1)} - {PETER}
    changed = {PETER[:at] + chr(ord(PETER[at]) + 1) + PETER[at + 1 :] for at in range(len(PETER))}
    for mangled in pieces | changed:
        with pytest.raises(ValueError):  # noqa: PT011 - whichever part is wrong
            Verifier.of(mangled)


@pytest.mark.parametrize(
    ("vkey", "why"),
    [
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "base64"),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "neither of Ed25519"),
        ("PeterNeumann+c74f20a3", "must be"),
        ("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "has the id c74f20a4"),
        ("PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "has the id C74F20A3"),
        ("PeterNeumann+c74f20a3+", "neither of Ed25519"),
        ("PeterNeumann+c74f20a3+ARpc", "an Ed25519 key has 32"),
        ("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T é", "base64"),
        ("Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "neither spaces"),
        ("+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "not empty"),
    ],
)
def test_a_wrong_verifier_key_is_told(vkey: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Verifier.of(vkey)


def test_the_published_cosignature_is_taken_apart() -> None:
    text, (_, witness) = signed_note.parts_of(SOFA)
    assert Checkpoint.of(text).size == 20852163
    assert Checkpoint.of(text).text() == text
    assert (witness.name, witness.id.hex(), int.from_bytes(witness.signature[:8])) == (
        "witness.example.com/w1",
        "8d66cf3f",
        1679315147,
    )


# Notes


@pytest.mark.parametrize(
    "note",
    [
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}\n{PETER_SIG}"[:-1],
        f"\x01{TEXT}\n{PETER_SIG}",
        f"{TEXT}\r\n\n{PETER_SIG}",
        f"{TEXT}\ud800\n\n{PETER_SIG}",
        f"{TEXT}\n{PETER_SIG}Unexpected line.\n",
        f"{TEXT}\n{PETER_SIG.replace('PeterNeumann', 'Bad Name')}",
        TEXT + "\n" + PETER_SIG.replace("PeterNeumann", "Bad\u2003Name"),
        f"{TEXT}\n{PETER_SIG.replace('PeterNeumann', 'Bad+Name')}",
        f"{TEXT}\n{PETER_SIG.replace('PeterNeumann', '')}",
        f"{TEXT}\n{PETER_SIG.replace('—', '-')}",
        f"{TEXT}\n{PETER_SIG.replace('=', '')}",
        f"{TEXT}\n{PETER_SIG.replace('x08go', 'x08 go')}",
        f"{TEXT}\n{PETER_SIG.replace('x08go', 'x08*go')}",
        f"{TEXT}\n— PeterNeumann x08gow==\n",
        f"{TEXT}\n— PeterNeumann \n",
        f"\n{PETER_SIG}",
        f"{TEXT}\n{PETER_SIG * 101}",
    ],
)
def test_what_is_no_note_is_refused_before_any_key_is_asked(note: str) -> None:
    with pytest.raises(ValueError) as told:  # noqa: PT011 - it must be the plain one
        signed_note.open(note, [Verifier.of(PETER)])
    assert not isinstance(told.value, SignatureError)


def test_a_hundred_signatures_are_read() -> None:
    assert len(signed_note.signatures_of(f"{TEXT}\n{PETER_SIG * 100}")) == 100


def test_the_text_ends_at_the_last_empty_line() -> None:
    text = "one\n\ntwo\n\n"
    note = signed_note.sign(text, LOG)
    assert signed_note.open(note, [LOG.verifier]).text == text


def test_lines_of_unknown_keys_are_passed_over_even_with_a_known_name_or_id() -> None:
    note = signed_note.sign(TEXT, LOG, OTHER)
    assert signed_note.open(note, [LOG.verifier]).keys == {LOG.verifier}
    renamed = signed_note.signatures_of(note)[0].line.replace("example.com/log", "example.com/fog")
    assert signed_note.open(signed_note.with_lines(note, [renamed]), [OTHER.verifier]).by == {"example.com/log"}


def test_a_note_that_no_known_key_has_signed_is_refused() -> None:
    with pytest.raises(SignatureError, match="None of the known keys"):
        signed_note.open(f"{TEXT}\n{PETER_SIG}", [Verifier.of(ENOCH)])


def test_one_wrong_signature_of_a_known_key_refuses_the_note() -> None:
    wrong = f"{TEXT}\n{PETER_SIG}{ENOCH_SIG.replace('GrQ5', 'GrQ6')}"
    with pytest.raises(SignatureError, match=r"EnochRoot \(af0cfe78\) is wrong"):
        signed_note.open(wrong, [Verifier.of(PETER), Verifier.of(ENOCH)])
    assert signed_note.open(wrong, [Verifier.of(PETER)]).by == {"PeterNeumann"}


@pytest.mark.parametrize("length", [1, 8, 63, 65, 72])
def test_a_signature_of_another_length_is_wrong(length: int) -> None:
    assert not LOG.verifier.has_signed(TEXT, bytes(length))
    assert not WITNESS.verifier.has_signed(TEXT, bytes(length))


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "\ud800\n"])
def test_what_no_note_can_hold_is_not_signed(text: str) -> None:
    with pytest.raises(ValueError, match=r"newline|surrogates"):
        signed_note.sign(text, LOG)


def test_lines_are_added_once() -> None:
    note = signed_note.sign(TEXT, LOG)
    line = OTHER.line(TEXT)
    assert signed_note.with_lines(signed_note.with_lines(note, [line, line]), [line]) == signed_note.sign(
        TEXT, LOG, OTHER
    )


def test_a_signer_shows_its_verifier_key_and_nothing_else() -> None:
    assert repr(LOG) == f"Signer({LOG.vkey})"
    assert Verifier.of(LOG.vkey) == LOG.verifier
    assert LOG.name == LOG.verifier.name


def test_only_ed25519_keys_sign() -> None:
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="not an Ed25519 key"):
        Signer(other, "example.com/log")


# Checkpoints


def test_a_checkpoint_is_the_lines_of_the_specification() -> None:
    assert TOLD.text() == (
        "example.com/log\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\ntime 2026-11-25T13:21:16Z\n"
    )
    assert Checkpoint.of(TOLD.text()) == TOLD


def test_a_checkpoint_tells_its_moment_in_utc() -> None:
    shanghai = timezone(timedelta(hours=8))
    made = Checkpoint.at("o", 0, ROOT, datetime(2026, 11, 25, 7, 59, 59, 999_999, tzinfo=shanghai))
    assert made.time == datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC)
    assert Checkpoint("o", 0, ROOT, ("times change", "time goes by")).time is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n7\n",
        "o\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "o\n07\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "o\n+7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "o\n٧\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "o\n-1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "o\n9223372036854775808\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "o\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuA==\n",
        "o\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n",
        "o\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n",
        "o\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\nx\n",
        "o\t\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever line is wrong
        Checkpoint.of(text)


def test_a_line_of_a_checkpoint_holds_no_newline() -> None:
    with pytest.raises(ValueError, match="not empty"):
        Checkpoint("o", 7, ROOT, ("a\nb",))


def test_hashes_have_32_bytes() -> None:
    assert signed_note.hash_of("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=") == ROOT
    with pytest.raises(ValueError, match="not 31"):
        signed_note.hash_of("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuA==")


# Cosignatures


def cosigned(time: int = 1_800_000_000) -> str:
    return signed_note.with_lines(signed_note.sign(TOLD.text(), LOG), [signed_note.cosign(TOLD.text(), WITNESS, time)])


def test_a_cosignature_tells_its_time() -> None:
    assert signed_note.cosigned_at(cosigned(), WITNESS.verifier) == 1_800_000_000
    assert signed_note.open(cosigned(), [LOG.verifier, WITNESS.verifier]).by == {
        "example.com/log",
        "witness.example/w1",
    }


def test_the_newest_of_several_cosignatures_counts() -> None:
    older = signed_note.cosign(TOLD.text(), WITNESS, 1_700_000_000)
    assert signed_note.cosigned_at(signed_note.with_lines(cosigned(), [older]), WITNESS.verifier) == 1_800_000_000


def test_who_has_not_cosigned_has_no_time() -> None:
    assert signed_note.cosigned_at(signed_note.sign(TOLD.text(), LOG), WITNESS.verifier) is None


def test_a_cosignature_of_another_text_or_time_is_wrong() -> None:
    text = TOLD.text()
    line = signed_note.cosign(text, WITNESS, 1_800_000_000)
    content = base64.b64decode(line.split(" ")[2])
    later = content[:4] + (1_800_000_001).to_bytes(8) + content[12:]
    moved = f"— witness.example/w1 {base64.b64encode(later).decode()}\n"
    for wrong in (
        signed_note.with_lines(signed_note.sign(text, LOG), [moved]),
        signed_note.with_lines(signed_note.sign(text.replace("time", "Time"), LOG), [line]),
    ):
        with pytest.raises(SignatureError, match=r"cosignature of witness\.example/w1 is wrong"):
            signed_note.cosigned_at(wrong, WITNESS.verifier)


def test_a_time_past_63_bits_is_wrong_even_when_it_is_signed() -> None:
    time = MAX_SIZE + 1
    key = Ed25519PrivateKey.from_private_bytes(b"w" * 32)
    signature = time.to_bytes(8) + key.sign(f"cosignature/v1\ntime {time}\n{TOLD.text()}".encode())
    assert not WITNESS.verifier.has_signed(TOLD.text(), signature)


@pytest.mark.parametrize("time", [0, -1, MAX_SIZE + 1])
def test_no_cosignature_is_made_for_a_time_that_it_cannot_tell(time: int) -> None:
    with pytest.raises(ValueError, match="no time"):
        signed_note.cosign(TOLD.text(), WITNESS, time)


def test_only_checkpoints_are_cosigned() -> None:
    with pytest.raises(ValueError, match="lines origin, size and root"):
        signed_note.cosign("hello\n", WITNESS, 1)


def test_keys_sign_only_what_they_are_for() -> None:
    with pytest.raises(ValueError, match="signs cosignatures, not notes"):
        signed_note.sign(TEXT, WITNESS)
    with pytest.raises(ValueError, match="signs notes, not cosignatures"):
        signed_note.cosign(TOLD.text(), LOG, 1)
    with pytest.raises(ValueError, match="not one of cosignatures"):
        signed_note.cosigned_at(cosigned(), LOG.verifier)


# Other verifiers

texts = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32)).map(lambda text: text + "\n")


@given(st.lists(texts, min_size=1).map("".join), st.integers(1, MAX_SIZE))
def test_a_naive_reader_finds_the_same_signers(text: str, time: int) -> None:
    note = signed_note.sign(text, LOG, OTHER)
    assert signers(note, LOG.vkey, OTHER.vkey, WITNESS.vkey) == [LOG.vkey, OTHER.vkey]
    assert signers(cosigned(time), LOG.vkey, WITNESS.vkey) == [LOG.vkey, f"{time} {WITNESS.vkey}"]


def keyring(signer: Signer) -> Keyring:
    public = Ed25519PublicKey.from_public_bytes(signer.verifier.public)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Keyring([v1.PublicKey(raw_bytes=base64.b64encode(der), key_details=v1.PublicKeyDetails.PKIX_ED25519)])


@given(st.integers(0, MAX_SIZE), st.binary(min_size=32, max_size=32))
def test_sigstore_reads_and_verifies_the_same_checkpoint(size: int, root: bytes) -> None:
    checkpoint = Checkpoint.at("example.com/log", size, root, datetime(2026, 11, 25, tzinfo=UTC))
    note = signed_note.with_lines(
        signed_note.sign(checkpoint.text(), LOG), [signed_note.cosign(checkpoint.text(), WITNESS, 1)]
    )
    read = SignedCheckpoint.from_text(note)
    read.signed_note.verify(keyring(LOG), LOG.verifier.id)
    told = read.checkpoint
    assert (told.origin, told.log_size, told.log_hash) == ("example.com/log", size, root.hex())
    with pytest.raises(VerificationError):
        read.signed_note.verify(keyring(OTHER), LOG.verifier.id)
