"""Verifies an evidence pack offline, with a verdict for each claim: `outbound verify PACK`.

Imports only the standard library, `merkle`, `signed_note`, `ed25519`, `pack_columns` and the law. The verifier in one file
(`single_file`) is the same without the law. Shares no code with the builder of packs, so that a fault there is not repeated here.

1. Reads the entries once, in the order of the log. Folds their hashes, and those of the subtrees between them, into the root, which must
   be that of the signed checkpoint. Replays the entries (`replay`).
2. Compares each record of the pack with its entries.
3. Hashes each file while reading it, and compares it with the manifest; checks the log's signature of the manifest.

Example:
    verification = verify(Path("pack.zip"), vkeys=[vkey_from_the_operator])
    for line in sentences(verification):
        print(line)
    sys.exit(code(verification))
"""

import argparse
import base64
import hashlib
import json
import re
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from service.audit import ed25519, pack_columns
from service.audit.tlog import signed_note
from service.audit.tlog.merkle import HASH_SIZE, CompactRange, leaf_hash, parents
from service.verifier import zip_layout
from service.verifier.replay import (
    Permit,
    PossibleActors,
    Replay,
    canonical,
    compute_standing,
    conditions_match,
    digest,
    digest_of_end,
    is_commitment,
    persons_of,
)

try:
    from service.law.rule_book import RuleBook
    from service.verifier import redetermination
except ImportError:  # the verifier in one file has no law: it reports that claim as not checked
    redetermination = None  # type: ignore[assignment]

Json = dict[str, Any]

FORMAT: Final = 2
FORMER_FORMAT: Final = 1
"""Format of packs whose entries do not state the columns that their acts wrote."""
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.note"
CHUNK_SIZE: Final = 1 << 18
"""Bytes."""
MAX_READ_SIZE: Final = 1 << 26
"""Maximal bytes of a line, and of a member that is read as a whole."""

PERMIT_TERMS: Final = (
    *("transfer", "revision", "handler", "recipient", "purpose", "fields", "systems", "persons", "sensitive_persons"),
    *("valid_from", "valid_until", "mechanism", "route"),
)
"""Members of a permit that must be as its entries state them."""

_ENTRY: Final = re.compile(rb'\{"leaf":(\d+),"seq":(\d+),"(?:body":(?=\{"action":"([a-z_.]+)")|hash":")')
_EFFECTS_MARK: Final = b'"effects":{"sealed":"'
_ACTS_WITHOUT_EFFECTS: Final = (b"gate.", b"export.", b"evidence_pack.")
"""Prefixes of actions whose written columns a pack may omit: their records are compared with their entries, member by member."""
RUN_LENGTH: Final = 256
"""Adjacent leaves that are hashed in one call."""
READ_ERRORS: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors of reading a pack that the service did not write: each ends in a verdict, never in a traceback."""


class PackError(Exception):
    """The file is not a readable evidence pack."""


class Pack:
    """An evidence pack: a ZIP file whose members are hashed while they are read."""

    def __init__(self, path: Path) -> None:
        self.hashes: dict[str, tuple[int, str]] = {}
        self.path = path
        try:
            self.zip = zipfile.ZipFile(path)
            self.manifest_bytes = self.content(MANIFEST)
            self.manifest: Json = json.loads(self.manifest_bytes)
            self.members: dict[str, Json] = {member["name"]: member for member in self.manifest["members"]}
            number = self.manifest["format"]
        except READ_ERRORS as error:
            raise PackError(f"{path} is not an evidence pack: {error!r}") from error
        if number not in {FORMER_FORMAT, FORMAT}:
            raise PackError(f"The pack has the format {number!r}; this verifier reads {FORMER_FORMAT} and {FORMAT}.")
        self.is_former_format = number == FORMER_FORMAT

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a member in chunks; after the last one, keep its size and hash."""
        digest_, size = hashlib.sha256(), 0
        with self.zip.open(name) as file:
            while chunk := file.read(CHUNK_SIZE):
                digest_.update(chunk)
                size += len(chunk)
                yield chunk
        self.hashes[name] = (size, digest_.hexdigest())

    def content(self, name: str) -> bytes:
        """Return the content of a small member.

        Raises:
            ValueError: it is larger than `MAX_READ_SIZE`.
        """
        if self.zip.getinfo(name).file_size > MAX_READ_SIZE:
            raise ValueError(f"{name} is too large.")
        return b"".join(self.chunks(name))

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a member, without their line ends."""
        rest = b""
        for chunk in self.chunks(name):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            if len(rest) > MAX_READ_SIZE:
                raise ValueError(f"{name} has a line that is too long.")
        if rest:
            raise ValueError(f"{name} does not end with the end of a line.")

    def records(self, name: str) -> Iterator[Json]:
        """Yield the records of one kind, such as `permits`."""
        for line in self.lines(f"records/{name}.ndjson"):
            yield json.loads(line)


class _Tree:
    """A Merkle tree that grows to the right by leaves and by whole subtrees; adjacent leaves are hashed in runs."""

    def __init__(self) -> None:
        self.size = 0
        self._range = CompactRange()
        self._run: list[bytes] = []

    def add(self, leaf: int, level: int, hash_: bytes) -> None:
        """Append the subtree of a level that begins at a leaf.

        Raises:
            ValueError: the leaf is not the end of the tree.
        """
        if leaf != self.size:
            raise ValueError(f"Leaves between {self.size} and {leaf} are missing, or in the pack twice.")
        if level:
            self._fold()
            self._range.add(hash_, level)
        else:
            self._run.append(hash_)
            if not (leaf + 1) % RUN_LENGTH:
                self._fold()
        self.size += 1 << level

    def end(self) -> tuple[int, bytes]:
        """Return the size and the root of the complete tree."""
        self._fold()
        return self.size, self._range.root()

    def _fold(self) -> None:
        hashes = b"".join(self._run)
        if len(self._run) == RUN_LENGTH:
            while len(hashes) > HASH_SIZE:
                hashes = parents(hashes)
            self._range.add(hashes, RUN_LENGTH.bit_length() - 1)
        else:
            for hash_ in self._run:
                self._range.add(hash_)
        self._run.clear()


class Verification:
    """The verification of one pack.

    Args:
        pack: the ZIP file.
        vkeys: the log's verifier keys, from another source than the pack; empty: the pack's own are believed.
        witnesses: verifier keys of witnesses that must have cosigned; empty: the pack's own are believed.

    Raises:
        PackError: the file is not an evidence pack.
        ValueError: a verifier key is malformed.
    """

    def __init__(self, pack: Path, vkeys: Sequence[str] = (), witnesses: Sequence[str] = ()) -> None:
        for vkey in (*vkeys, *witnesses):
            signed_note.Verifier.of(vkey)
        self.pack = Pack(pack)
        self.replay = Replay()
        self.claims = self.replay.claims
        self._acts = frozenset(act.encode() for act in self.replay.acts)
        self.vkeys, self.witnesses = list(vkeys), list(witnesses)
        self.believed = [name for name, keys in (("log", vkeys), ("witnesses", witnesses)) if not keys]
        """Signers whose keys come from the pack itself: `log`, `witnesses`."""
        self.keys: Json = {"log": [], "witnesses": [], "permits": {"keys": []}}
        self.actors: dict[str, Json] = {}
        self.transfers: set[str] = set()
        self.recipients: dict[str, str] = {}
        self.replay.archived = frozenset(archive["month"] for archive in self.pack.manifest["archived"])
        self._rule_books: dict[tuple[str, str | None], RuleBook | str] = {}
        self._pending_effects: dict[int, Json] = {}
        """Written columns of each act, by the sequence number of its entry, until that entry is read."""
        self._written = pack_columns.CellWrites()
        self._evidence: dict[str, Json] = {}
        """Records of evidence by their ids."""
        self._obligations: set[str] = set()
        """Obligations that acts of the pack wrote, and that have neither a record nor another owner so far."""
        self.differing: set[tuple[str, str, str]] = set()
        """Cells that differ from the log: table, row, column."""

    def run(self) -> None:
        """Check every claim; `claims` then has the verdicts."""
        steps: list[tuple[str, Callable[[], None]]] = [
            ("files", self._load_keys),
            ("manifest", self._check_manifest),
            ("checkpoint", self._check_checkpoint),
            ("witnesses", self._check_cosignatures),
            ("columns", self._load_effects),
            ("inclusion", self._check_entries),
            ("columns", self._check_columns),
            ("records", self._check_register),
            ("records", self._check_revisions),
            ("records", self._check_reviews),
            ("evidence", self._check_evidence),
            ("records", self._check_permits),
            ("records", self._check_exports),
            ("files", self._check_files),
        ]
        for claim, step in steps:
            with self._errors_as_faults(claim):
                step()

    @contextmanager
    def _errors_as_faults(self, claim: str) -> Iterator[None]:
        try:
            yield
        except READ_ERRORS as error:
            self.claims[claim].add_fault(f"{type(error).__name__}: {error}"[:300])

    def _load_keys(self) -> None:
        self.keys = json.loads(self.pack.content("keys.json"))
        self.vkeys = self.vkeys or self.keys["log"]
        self.witnesses = self.witnesses or self.keys["witnesses"]

    @property
    def _log_verifiers(self) -> list[signed_note.Verifier]:
        return [signed_note.Verifier.of(vkey) for vkey in self.vkeys]

    def _check_manifest(self) -> None:
        pack, claim = self.pack, self.claims["manifest"]
        text = signed_note.open(pack.content(SIGNATURE).decode(), self._log_verifiers).text
        expected = f"{pack.manifest['origin']}/packs\n{pack.manifest['pack']}\n{pack.hashes[MANIFEST][1]}\n"
        claim.check(text == expected, "The signature is of another manifest.")
        claim.check(canonical(pack.manifest) == pack.manifest_bytes, "The manifest is not in canonical form.")

    def _check_checkpoint(self) -> None:
        claim, origin = self.claims["checkpoint"], self.pack.manifest["origin"]
        self._note = self.pack.content("checkpoint").decode()
        self._tree = signed_note.Checkpoint.of(signed_note.parts_of(self._note)[0])
        claim.check(self._tree.origin == origin, f"It is of the log {self._tree.origin}, the manifest's is {origin}.")
        by = signed_note.open(self._note, self._log_verifiers).by
        claim.check(by == {origin}, f"It was signed by {', '.join(sorted(by))}, not by {origin}.")

    def _check_cosignatures(self) -> None:
        claim = self.claims["witnesses"]
        for vkey in self.witnesses:
            witness = signed_note.Verifier.of(vkey)
            at = signed_note.cosigned_at(self._note, witness)
            if at is None and "witnesses" in self.believed:
                claim.add_gap(f"{witness.name} has not cosigned it.")
            else:
                claim.check(at is not None, f"{witness.name} has not cosigned it.")

    # The log

    def _check_entries(self) -> None:
        """Fold the entries, and the subtrees between them, into the root; both are in the order of the log."""
        claim, tree, subtrees = self.claims["inclusion"], _Tree(), self._subtrees()
        subtree = next(subtrees, None)
        for line in self.pack.lines("entries.ndjson"):
            head = _ENTRY.match(line)
            if head is None or line[-1:] != b"}":
                raise ValueError(f"This line is not an entry: {line[:80]!r}")
            leaf, seq, action = int(head[1]), int(head[2]), head[3]
            while subtree is not None and subtree[0] < leaf:
                tree.add(*subtree)
                subtree = next(subtrees, None)
            body = line[head.end() : -1]
            tree.add(leaf, 0, base64.b64decode(body[:-1], validate=True) if action is None else leaf_hash(body))
            claim.checked += 1
            if action is None:
                self.replay.withheld += 1
            elif action in self._acts:
                self._replay_entry(leaf, body)
            if seq in self._pending_effects or (
                action is not None and _EFFECTS_MARK in body and not action.startswith(_ACTS_WITHOUT_EFFECTS)
            ):
                with self._errors_as_faults("columns"):
                    self._check_effects(leaf, seq, body)
        while subtree is not None:
            tree.add(*subtree)
            subtree = next(subtrees, None)
        if tree.end() != (self._tree.size, self._tree.root):
            claim.add_fault(
                f"The entries make another tree ({tree.size} leaves) than that of the checkpoint ({self._tree.size} leaves)."
            )

    def _subtrees(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield the subtrees between the entries: first leaf, level, hash."""
        for line in self.pack.lines("proof.ndjson"):
            level, index, hash_ = json.loads(line)
            yield index << level, level, signed_note.hash_of(hash_)

    def _replay_entry(self, leaf: int, body: bytes) -> None:
        try:
            self.replay.apply(json.loads(body))
        except READ_ERRORS as error:
            self.claims["records"].add_gap(f"This verifier cannot read the entry of leaf {leaf}: {error!r}"[:200])

    # Columns that acts wrote

    def _load_effects(self) -> None:
        """Load the openings of the commitments to written columns."""
        if self.pack.is_former_format:
            self.claims["columns"].add_gap(
                "The pack was made by a version whose entries did not state the columns that their acts wrote."
            )
            return
        effects = map(json.loads, self.pack.lines("effects.ndjson"))
        self._pending_effects = {effect["seq"]: effect for effect in effects}

    def _check_effects(self, leaf: int, seq: int, body: bytes) -> None:
        """Check the opening of an entry's written columns against its commitment, and keep the columns."""
        commitment, opening = json.loads(body).get("effects"), self._pending_effects.pop(seq, None)
        if commitment is None and opening is None:
            return
        if opening is None:
            if not self.pack.is_former_format:
                self.claims["columns"].add_gap(f"The columns that the act of leaf {leaf} wrote are not in the pack.")
            return
        salt, value = bytes.fromhex(opening["salt"]), opening["value"]
        hash_ = f"sha256:{hashlib.sha256(salt + value.encode()).hexdigest()}"
        if commitment is None or commitment["sealed"] != hash_:
            raise ValueError(f"The columns that the act of leaf {leaf} wrote do not match the commitment in its entry.")
        written = json.loads(value)
        self._written.take(leaf, seq, written)
        self._obligations |= {row for group in written if group["table"] == "obligations" for row in group["rows"]}

    def _check_columns(self) -> None:
        """Compare each cell of the records with the value that the last act to set it wrote."""
        if self.pack.is_former_format:
            return
        claim = self.claims["columns"]
        for seq in self._pending_effects:
            claim.add_fault(f"The pack has columns that entry {seq} wrote, but not the entry.")
        salts: dict[tuple[str, str, str], tuple[int, str]] = {}
        others: dict[tuple[str, str, str], object] = {}
        for row in map(json.loads, self.pack.lines("columns.ndjson")):
            salts |= {(row["table"], row["row"], name): (row["seq"], salt) for name, salt in row["salts"].items()}
            others |= {(row["table"], row["row"], name): value for name, value in row.get("values", {}).items()}
        for kind in pack_columns.RECORD_KINDS:
            for record in self.pack.records(kind):
                self._obligations -= {record["id"]} if kind == "obligations" else set()
                for cell in pack_columns.cells_of(kind, record):
                    self._check_cell(cell, salts.get(cell.place))
        self._exclude_foreign_obligations(others, salts)
        for obligation in sorted(self._obligations):
            claim.add_fault(f"The log has the obligation {obligation}, which is not in the pack.")

    def _exclude_foreign_obligations(
        self, others: dict[tuple[str, str, str], object], salts: dict[tuple[str, str, str], tuple[int, str]]
    ) -> None:
        """Exclude each obligation that is proved to belong to another handler, or to a request that is not in the pack."""
        for kind, column in (("handlers", "handler"), ("transfers", "transfer")):
            own = {None, *(record["id"] for record in self.pack.records(kind))}
            for (table, row, name), value in others.items():
                cell = pack_columns.Cell(table, row, name, pack_columns.canonical(value))
                is_other = (table, name) == ("obligations", column) and value not in own
                if is_other and self._is_proved(cell, salts.get(cell.place)):
                    self._obligations.discard(row)

    def _is_proved(self, cell: pack_columns.Cell, opening: tuple[int, str] | None) -> bool:
        """Return True if a cell has the value that the last act to set it wrote; `opening`: the act's sequence number, the salt."""
        setting = self._written.cells.get(cell.place)
        if setting is None or opening is None or opening[0] != setting.seq:
            return False
        return pack_columns.hash_value(bytes.fromhex(opening[1]), cell.content) == setting.hash

    def _check_cell(self, cell: pack_columns.Cell, opening: tuple[int, str] | None) -> None:
        setting = self._written.cells.get(cell.place)
        if setting is None and pack_columns.UNSET_VALUES.get((cell.table, cell.column)) == cell.content:
            self.claims["columns"].checked += 1
            return
        if setting is None:
            self.differing.add(cell.place)
            self.replay.add_missing("columns", f"{cell.name}: there is no entry of an act that wrote it.")
            return
        is_proved = self._is_proved(cell, opening)
        if not is_proved:
            self.differing.add(cell.place)
        self.claims["columns"].check(
            is_proved, f"{cell.name} is not the value that the act of leaf {setting.leaf} wrote."
        )

    # The records

    def _check_register(self) -> None:
        self.actors = {actor["id"]: actor for actor in self.pack.records("actors")}
        self.recipients = {recipient["id"]: recipient["key"] for recipient in self.pack.records("recipients")}
        self.transfers = {transfer["id"] for transfer in self.pack.records("transfers")}
        datasets, gradings = {dataset["id"] for dataset in self.pack.records("datasets")}, set[tuple[str, int]]()
        for record in self.pack.records("gradings"):
            key = (record["dataset"], record["number"])
            name, tags = f"Grading {key[1]} of {key[0]}", self.replay.gradings.get(key)
            gradings.add(key)
            self._check_against_entry(tags, tags == record["tags"], name, record["graded_at"])
            for act in ("graded", "confirmed"):
                self._check_actors(name, record, f"{act}_persons", self.replay.possible_actors.get((*key, act)))
        self._check_none_missing("grading", {key for key in self.replay.gradings if key[0] in datasets} - gradings)
        manifest = self.pack.manifest
        is_included = any(record["id"] == manifest["subject"] for record in self.pack.records(f"{manifest['kind']}s"))
        self.claims["records"].check(is_included, f"The subject of the pack, {manifest['subject']}, is not in it.")

    def _check_against_entry(
        self,
        entry: object,
        is_same: bool,  # noqa: FBT001 - the condition to check
        name: str,
        at: str,
        claim: str = "records",
    ) -> None:
        """Check that a record, made at an instant, has an entry (not None) and is the same as that states."""
        if entry is None:
            self.replay.add_missing(claim, f"{name}: there is no entry of it.", at)
        else:
            self.claims[claim].check(is_same, f"{name} is not what its entry says.")

    def _check_actors(self, name: str, record: Json, member: str, actors: PossibleActors | None) -> None:
        """Compare the possible actors in a record with those of its entry; records of earlier versions have none."""
        if member in record:
            listed = record[member]
            is_same = listed is None if actors is None else actors.fits(listed)
            self.claims["records"].check(is_same, f"{name}: its possible actors ({member}) are not those of its entry.")

    def _check_revisions(self) -> None:
        checked: set[tuple[str, int]] = set()
        for record in self.pack.records("revisions"):
            key, determination = (record["transfer"], record["number"]), record["determination"]
            name, submission = f"Revision {key[1]} of {key[0]}", self.replay.submitted.get(key)
            checked.add(key)
            hash_ = f"sha256:{hashlib.sha256(canonical(record['content'])).hexdigest()}"
            self.claims["reviews"].check(hash_ == record["hash"], f"{name} does not have the hash that was reviewed.")
            expected = {
                "hash": record["hash"],
                "requirements": [requirement["rule"] for requirement in determination["requirements"]],
                "stages": [stage["name"] for stage in record["stages"]],
                **{term: determination[term] for term in ("mechanism", "rules_version", "policy")},
            }
            is_same = submission is not None and all(submission[term] == value for term, value in expected.items())
            self._check_against_entry(submission, is_same, name, record["submitted_at"])
            with self._errors_as_faults("law"):
                self._check_law(name, record)
        own = {key for key in self.replay.submitted if key[0] in self.transfers}
        self._check_none_missing("revision", own - checked)

    def _check_none_missing(self, kind: str, missing: set[Any]) -> None:
        """Record a fault for each row that the log has of the pack's requests, but the pack has not."""
        for key in sorted(missing):
            self.claims["records"].add_fault(f"The log has the {kind} {key}, which is not in the pack.")

    def _check_law(self, name: str, revision: Json) -> None:
        """Repeat the determination of a revision by the law of its day, and compare."""
        stored, claim = revision["determination"], self.claims["law"]
        if redetermination is None:
            claim.add_omission("The re-determination needs the whole package: `outbound verify`.")
            return
        version = (stored["rules_version"], stored["policy"])
        if version not in self._rule_books:
            self._rule_books[version] = self._load_rule_book(*version)
        book = self._rule_books[version]
        if isinstance(book, str):
            claim.add_gap(f"{name}: {book}")
            return
        recipient = self.recipients[revision["content"]["recipient"]["id"]]
        determination = redetermination.repeat_determination(revision, recipient, book)
        # Explanations have names of countries from a library that may be another version here.
        is_same = {**determination, "explanation": None} == {**stored, "explanation": None}
        claim.check(
            is_same,
            f"{name}: the law of {stored['as_of']} gives another determination ({determination['mechanism']}) than the stored one.",
        )

    def _load_rule_book(self, version: str, own: str | None) -> "RuleBook | str":
        with tempfile.TemporaryDirectory() as folder:
            for member in [name for name in self.pack.zip.namelist() if re.fullmatch(r"law/[a-z]+\.toml", name)]:
                (Path(folder) / member.removeprefix("law/")).write_bytes(self.pack.content(member))
            return redetermination.book_of(Path(folder), version, own)

    def _check_reviews(self) -> None:
        checked: set[str] = set()
        members = ("transfer", "revision", "stage", "decision", "hash", "reviewer", "on_behalf_of")
        for record in self.pack.records("reviews"):
            name, review = f"Review {record['id']}", self.replay.reviews.get(record["id"])
            expected = (*(record[member] for member in members), record["taken_back_at"] is not None)
            is_same = (
                review is not None
                and review.stated == expected
                and conditions_match(review.conditions, record["conditions"])
            )
            self._check_against_entry(review, is_same, name, record["at"])
            if review is not None:
                self._check_actors(name, record, "persons", review.possible_actors)
            is_person = self.actors[record["reviewer"]]["kind"] == "person"
            self.claims["separation"].check(is_person, f"{record['id']}: {record['reviewer']} is no person.")
            checked.add(record["id"])
        own = {ident for ident, review in self.replay.reviews.items() if review.transfer in self.transfers}
        self._check_none_missing("review", own - checked)

    def _check_evidence(self) -> None:
        claim, checked = self.claims["evidence"], set[str]()
        for record in self.pack.records("evidence"):
            name = f"Evidence {record['id']}"
            self._evidence[record["id"]] = record
            # An item that a renewal repeats was added once, to the earlier request, with the same file.
            added = record["repeats"] or record["id"]
            has_entry = added in self.replay.evidence or None
            is_same = self.replay.evidence.get(added) == record["sha256"]
            self._check_against_entry(has_entry, is_same, name, record["added_at"], "evidence")
            for act in ("added", "verified") if record["repeats"] is None else ():
                actors = self.replay.possible_actors.get((record["id"], act))
                self._check_actors(name, record, f"{act}_persons", actors)
            member = record["member"]
            if member is not None and member not in checked:
                checked.add(member)
                for _ in self.pack.chunks(member):
                    pass
                size, sha256 = self.pack.hashes[member]
                claim.check(sha256 == record["sha256"], f"{member} is another file.")
                claim.check(size == record["size"], f"{member} has another size than its record says.")
            if not self.pack.is_former_format:
                is_same = (record["repeats"] is None) == (record["reused_from"] is None)
                claim.check(is_same, f"{name} repeats another one than its record says.")
        own = {item for item, transfer in self.replay.transfer_of.items() if transfer in self.transfers}
        self._check_none_missing("evidence", own - self._evidence.keys())

    def _check_permits(self) -> None:
        keys, checked = {key["kid"]: key for key in self.keys["permits"]["keys"]}, set[str]()
        for record in self.pack.records("permits"):
            token, name = record.pop("signed"), f"Permit {record['id']}"
            permit = self.replay.permits.get(record["id"])
            checked.add(record["id"])
            with self._errors_as_faults("permits"):
                is_same = _permit_of_token(token, keys) == record
                self.claims["permits"].check(is_same, f"{name} is not what was signed.")
            is_same = permit is not None and permit.status == record["stored_status"]
            if permit is not None:
                scope = permit.scope
                is_same &= all(is_commitment(scope[term]) or scope[term] == record[term] for term in PERMIT_TERMS)
                is_same &= _all_conditions_match(scope["conditions"], record["conditions"])
                self._check_standing(name, record, permit)
            self._check_against_entry(permit, is_same, name, record["issued_at"])
        own = {ident for ident, permit in self.replay.permits.items() if permit.scope["transfer"] in self.transfers}
        self._check_none_missing("permit", own - checked)

    def _check_standing(self, name: str, record: Json, permit: Permit) -> None:
        """Compare the computed members of a permit's record with the records and entries that they follow from."""
        if self.pack.is_former_format:
            return
        made_at = datetime.fromisoformat(self.pack.manifest["made_at"])
        standing = compute_standing(record, list(self.pack.records("obligations")), self._evidence, made_at)
        is_same = all(record[member] == value for member, value in standing.items())
        self.claims["standing"].check(
            is_same, f"{name} has the status {record['status']}; by its records it is {standing['status']}."
        )
        reported, sent = persons_of(permit.sent), persons_of(record["sent"])
        is_within = all(less <= more for less, more in zip(sent, reported, strict=True))
        is_same = is_within if permit.is_counted_by_hash else reported == sent
        self.claims["quota"].check(is_same, f"{name} has {sent} persons sent; its exports reported {reported}.")

    def _check_exports(self) -> None:
        digests = self.replay.exports
        for record in self.pack.records("exports"):
            expected = began = digest(
                *(record[name] for name in ("evaluation", "dataset", "recipient", "permit", "system", "purpose")),
                persons_of(record),
                record["reserved_at"],
                record["expires_at"],
            )
            if record["status"] != "reserved":
                sent = None if record["sent"] is None else persons_of(record["sent"])
                expected += digest_of_end(began, record["status"], sent, record["ended_at"])
            entry = digests.pop(record["id"], None)
            counts = self.replay.counts.get(record["id"], record["counts"])
            is_same = entry == expected and counts == record["counts"]
            self._check_against_entry(entry, is_same, f"Export {record['id']}", record["reserved_at"])
        self._check_none_missing("export", set(digests))

    # The files

    def _check_files(self) -> None:
        claim, pack = self.claims["files"], self.pack
        with pack.path.open("rb") as file:
            for fault in zip_layout.find_faults(file):
                claim.add_fault(fault)
        names = pack.zip.namelist()
        claim.check(len(names) == len(set(names)), "A file is there twice.")
        claim.check(len(pack.members) == len(pack.manifest["members"]), "The manifest names a file twice.")
        for name in sorted(set(names) ^ {*pack.members, MANIFEST, SIGNATURE}):
            claim.add_fault(f"{name} is {'not named by the manifest' if name in names else 'missing'}.")
        for name, member in pack.members.items():
            if name not in names:
                continue
            with self._errors_as_faults("files"):
                if name not in pack.hashes:
                    for _ in pack.chunks(name):
                        pass
                is_same = pack.hashes[name] == (member["size"], member["sha256"])
                claim.check(is_same, f"{name} is not the file that the manifest names.")


def _permit_of_token(token: str, keys: dict[str, Json]) -> object:
    """Return the permit in a signed record (JWS, EdDSA).

    Raises:
        ValueError, LookupError: no key of `keys` signed it.
    """
    head, body, signature = token.split(".")
    key = _decode_base64url(keys[json.loads(_decode_base64url(head))["kid"]]["x"])
    if not ed25519.verified(key, _decode_base64url(signature), f"{head}.{body}".encode()):
        raise ValueError("The signature is wrong.")
    return json.loads(_decode_base64url(body))["permit"]


def _all_conditions_match(entry: Any, record: list[Json]) -> bool:
    """Return True if the record of a permit has the conditions of its entry."""
    return is_commitment(entry) or (len(entry) == len(record) and all(map(conditions_match, entry, record)))


def _decode_base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


# The command


def document(verification: Verification) -> Json:
    """Return the verdicts as JSON; `covers` names the members of records that each claim is about."""
    covers, manifest = pack_columns.claimed_members(), verification.pack.manifest
    return {
        "pack": manifest["pack"],
        "kind": manifest["kind"],
        "subject": manifest["subject"],
        "made_at": manifest["made_at"],
        "verdict": VERDICTS[code(verification)],
        "claims": [
            {
                "claim": name,
                "text": claim.text,
                "covers": covers.get(name, []),
                "verdict": claim.verdict,
                "checked": claim.checked,
                "told": claim.sentences,
            }
            for name, claim in verification.claims.items()
        ],
        "entries_withheld": verification.replay.withheld,
        "keys_believed": verification.believed,
        "vkeys": verification.vkeys,
    }


VERDICTS: Final = {0: "held", 1: "broken", 2: "cannot be checked", 3: "held, except claims that are not checked here"}
"""Verdict on the pack by exit code."""


def code(verification: Verification) -> int:
    """Return the exit code: the first of 1, 2, 3 and 0 that applies.

    1: a claim is broken. 2: one cannot be checked. 3: one is not checked by this verifier. 0: every claim held.
    """
    verdicts = {claim.verdict for claim in verification.claims.values()}
    for number, verdict in ((1, "broken"), (2, "cannot be checked"), (3, "not checked here")):
        if verdict in verdicts:
            return number
    return 0


def sentences(verification: Verification) -> Iterator[str]:
    """Yield the verdicts as lines for a person."""
    manifest = verification.pack.manifest
    yield f"Evidence pack {manifest['pack']} of the {manifest['kind']} {manifest['subject']}, made at {manifest['made_at']}"
    for claim in verification.claims.values():
        yield f"{claim.verdict:>17}  {claim.text} ({claim.checked} checked)"
        yield from (f"{'':19}- {sentence}" for sentence in claim.sentences)
        if claim.faults + claim.gaps > len(claim.sentences):
            yield f"{'':19}- and {claim.faults + claim.gaps - len(claim.sentences)} more"
    if verification.replay.withheld:
        yield (
            f"The pack has only the hash of {verification.replay.withheld} entries: an earlier version wrote free text into them, "
            "without a commitment."
        )
    if "log" in verification.believed:
        yield "No verifier key was given, so the pack's own was believed. Ask the operator for it another way, and give it by --vkey:"
        yield from (f"  {vkey}" for vkey in verification.vkeys)
    yield "A pack proves what is in it. Only the whole log can show that nothing was left out: see docs/auditors.md."
    yield f"Verdict: {VERDICTS[code(verification)]}"


def verify(path: Path, vkeys: Sequence[str] = (), witnesses: Sequence[str] = ()) -> Verification:
    """Verify a pack, and return the verification with its verdicts; see `Verification`."""
    verification = Verification(path, vkeys, witnesses)
    verification.run()
    return verification


def main(arguments: Sequence[str] | None = None, *, version: str | None = None) -> int:
    """Verify a pack and print the verdicts; return the exit code.

    Args:
        arguments: arguments of the command line; None: those of the process.
        version: version of the verifier in one file; None: the installed package runs.
    """
    parser = argparse.ArgumentParser(
        prog="outbound verify" if version is None else None,
        description="Check an evidence pack, offline.",
        epilog="Exit code: 0 every claim held, 1 one is broken, 2 one cannot be checked or it is no pack, 3 one is not checked here.",
    )
    if version is not None:
        parser.add_argument("--version", action="version", version=f"Outbound verifier {version}")
    parser.add_argument("pack", type=Path, help="the ZIP file")
    parser.add_argument("--vkey", action="append", default=[], help="verifier key of the log, from another source")
    parser.add_argument(
        "--witness", action="append", default=[], help="verifier key of a witness that must have cosigned"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object")
    options = parser.parse_args(arguments)
    try:
        verification = verify(options.pack, options.vkey, options.witness)
    except (PackError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    as_json = json.dumps(document(verification), ensure_ascii=False, indent=2)
    sys.stdout.write(f"{as_json if options.json else chr(10).join(sentences(verification))}\n")
    return code(verification)


if __name__ == "__main__":
    sys.exit(main())
