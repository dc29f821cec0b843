"""`outbound verify PACK`: checks an evidence pack offline, with no database and no network, and gives a verdict for each claim.

It stands alone: besides the standard library it takes the tree (`merkle`), the notes (`notes`), signatures (`ed25519`) and the law. The
verifier in one file (`single_file`) is the same without the law. It shares nothing with what made the pack, so that a fault there is not
repeated here.

1. The entries are read once, in the order of the log. Their hashes and those of the subtrees between them are folded into the root,
   which must be that of the signed checkpoint; and what they say is taken in (`replay`).
2. Each record that the pack shows is held against what the entries said.
3. Each file is hashed while it is read, and held against the manifest; the manifest against the log's signature.
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
    By,
    Permit,
    Replay,
    canonical,
    digest,
    ended,
    is_sealed,
    like_conditions,
    persons_of,
    standing_of,
)

try:
    from service.law.rule_book import RuleBook
    from service.verifier import redetermination as again
except ImportError:  # the verifier in one file holds no law: that claim is told as not checked
    again = None  # type: ignore[assignment]

Json = dict[str, Any]

FORMAT: Final = 2
OLD: Final = 1
"""The format of packs whose entries do not say what their acts wrote."""
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.note"
CHUNK: Final = 1 << 18
MAX_AT_ONCE: Final = 1 << 26
"""Bytes of a line, or of a member that is read as a whole."""

TERMS: Final = (
    *("transfer", "revision", "handler", "recipient", "purpose", "fields", "systems", "persons", "sensitive_persons"),
    *("valid_from", "valid_until", "mechanism", "route"),
)
"""What of a permit must be what its entries say."""

_ENTRY: Final = re.compile(rb'\{"leaf":(\d+),"seq":(\d+),"(?:body":(?=\{"action":"([a-z_.]+)")|hash":")')
_SEALS: Final = b'"effects":{"sealed":"'
_QUIET: Final = (b"gate.", b"export.", b"evidence_pack.")
"""Acts of which a pack need not say what they wrote: their records are compared with their entries, member by member."""
RUN: Final = 256
"""Leaves side by side that are hashed at once."""
UNREADABLE: Final = (
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
"""What reading can come to that was not written by the service: it ends in a verdict, never in anything else."""


class PackError(Exception):
    """The file cannot be read as an evidence pack at all."""


class Pack:
    """The file: its members, each hashed while it is read."""

    def __init__(self, path: Path) -> None:
        self.hashes: dict[str, tuple[int, str]] = {}
        self.path = path
        try:
            self.zip = zipfile.ZipFile(path)
            self.manifest_bytes = self.content(MANIFEST)
            self.manifest: Json = json.loads(self.manifest_bytes)
            self.named: dict[str, Json] = {one["name"]: one for one in self.manifest["members"]}
            form = self.manifest["format"]
        except UNREADABLE as error:
            raise PackError(f"{path} is not an evidence pack: {error!r}") from error
        if form not in {OLD, FORMAT}:
            raise PackError(f"The pack has the format {form!r}; this verifier knows {FORMAT}.")
        self.is_old = form == OLD

    def chunks(self, name: str) -> Iterator[bytes]:
        """Return the bytes of a member piece by piece."""
        found, size = hashlib.sha256(), 0
        with self.zip.open(name) as file:
            while chunk := file.read(CHUNK):
                found.update(chunk)
                size += len(chunk)
                yield chunk
        self.hashes[name] = (size, found.hexdigest())

    def content(self, name: str) -> bytes:
        """Return a member that is small."""
        if self.zip.getinfo(name).file_size > MAX_AT_ONCE:
            raise ValueError(f"{name} is too large.")
        return b"".join(self.chunks(name))

    def lines(self, name: str) -> Iterator[bytes]:
        """Return the lines of a member, without their ends."""
        rest = b""
        for chunk in self.chunks(name):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            if len(rest) > MAX_AT_ONCE:
                raise ValueError(f"{name} has a line that is too long.")
        if rest:
            raise ValueError(f"{name} does not end with the end of a line.")

    def records(self, name: str) -> Iterator[Json]:
        """Return the records of one kind."""
        for line in self.lines(f"records/{name}.ndjson"):
            yield json.loads(line)


class _Tree:
    """A tree that grows to the right by leaves, taken together where they stand side by side, and by whole subtrees."""

    def __init__(self) -> None:
        self.size = 0
        self._growth = CompactRange()
        self._run: list[bytes] = []

    def add(self, leaf: int, level: int, hash_: bytes) -> None:
        """Add the subtree of a level that begins at a leaf.

        Raises:
            ValueError: it does not begin where the tree ends.
        """
        if leaf != self.size:
            raise ValueError(f"Between leaf {self.size} and leaf {leaf} something is missing, or is there twice.")
        if level:
            self._fold()
            self._growth.add(hash_, level)
        else:
            self._run.append(hash_)
            if not (leaf + 1) % RUN:
                self._fold()
        self.size += 1 << level

    def end(self) -> tuple[int, bytes]:
        """Return the size and the root."""
        self._fold()
        return self.size, self._growth.root()

    def _fold(self) -> None:
        hashes = b"".join(self._run)
        if len(self._run) == RUN:
            while len(hashes) > HASH_SIZE:
                hashes = parents(hashes)
            self._growth.add(hashes, RUN.bit_length() - 1)
        else:
            for hash_ in self._run:
                self._growth.add(hash_)
        self._run.clear()


class Verification:
    """All that is checked of one pack.

    Args:
        pack: the file.
        vkeys: the log's verifier keys, from somewhere else than the pack; none: those in the pack are believed.
        witnesses: verifier keys of witnesses who must have cosigned; none: those in the pack are believed.

    Raises:
        PackError: it is no evidence pack.
        ValueError: a key that was given is none.
    """

    def __init__(self, pack: Path, vkeys: Sequence[str] = (), witnesses: Sequence[str] = ()) -> None:
        for vkey in (*vkeys, *witnesses):
            signed_note.Verifier.of(vkey)
        self.pack = Pack(pack)
        self.replay = Replay()
        self.claims = self.replay.claims
        self._acts = frozenset(act.encode() for act in self.replay.acts)
        self.vkeys, self.witnesses = list(vkeys), list(witnesses)
        self.believed = [name for name, given in (("log", vkeys), ("witnesses", witnesses)) if not given]
        """Whose keys were taken from the pack itself."""
        self.keys: Json = {"log": [], "witnesses": [], "permits": {"keys": []}}
        self.actors: dict[str, Json] = {}
        self.transfers: set[str] = set()
        self.recipients: dict[str, str] = {}
        self.replay.archived = frozenset(one["month"] for one in self.pack.manifest["archived"])
        self._books: dict[tuple[str, str | None], RuleBook | str] = {}
        self._sealed: dict[int, Json] = {}
        """By number of its entry what an act wrote, until its entry has been read."""
        self._written = pack_columns.Written()
        self._papers: dict[str, Json] = {}
        """Records of evidence by their ids."""
        self._duties: set[str] = set()
        """Obligations that the acts of the pack have written, as far as they are neither shown nor of others."""
        self.differing: set[tuple[str, str, str]] = set()
        """Cells that are not what the log says: table, row, column."""

    def run(self) -> None:
        """Check everything; `claims` then holds the verdicts."""
        steps: list[tuple[str, Callable[[], None]]] = [
            ("files", self._keys),
            ("manifest", self._manifest),
            ("checkpoint", self._checkpoint),
            ("witnesses", self._cosignatures),
            ("columns", self._effects),
            ("inclusion", self._entries),
            ("columns", self._columns),
            ("records", self._register),
            ("records", self._revisions),
            ("records", self._reviews),
            ("evidence", self._evidence),
            ("records", self._permits),
            ("records", self._exports),
            ("files", self._files),
        ]
        for claim, step in steps:
            with self._guarded(claim):
                step()

    @contextmanager
    def _guarded(self, claim: str) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            self.claims[claim].fault(f"{type(error).__name__}: {error}"[:300])

    def _keys(self) -> None:
        self.keys = json.loads(self.pack.content("keys.json"))
        self.vkeys = self.vkeys or self.keys["log"]
        self.witnesses = self.witnesses or self.keys["witnesses"]

    @property
    def _logs(self) -> list[signed_note.Verifier]:
        return [signed_note.Verifier.of(vkey) for vkey in self.vkeys]

    def _manifest(self) -> None:
        pack, claim = self.pack, self.claims["manifest"]
        text = signed_note.open(pack.content(SIGNATURE).decode(), self._logs).text
        expected = f"{pack.manifest['origin']}/packs\n{pack.manifest['pack']}\n{pack.hashes[MANIFEST][1]}\n"
        claim.demand(text == expected, "The signature is of another manifest.")
        claim.demand(canonical(pack.manifest) == pack.manifest_bytes, "The manifest is not as it was written.")

    def _checkpoint(self) -> None:
        claim, origin = self.claims["checkpoint"], self.pack.manifest["origin"]
        self._note = self.pack.content("checkpoint").decode()
        self._tree = signed_note.Checkpoint.of(signed_note.parts_of(self._note)[0])
        claim.demand(self._tree.origin == origin, f"It is of the log {self._tree.origin}, the manifest's is {origin}.")
        by = signed_note.open(self._note, self._logs).by
        claim.demand(by == {origin}, f"It was signed by {', '.join(sorted(by))}, not by {origin}.")

    def _cosignatures(self) -> None:
        claim = self.claims["witnesses"]
        for vkey in self.witnesses:
            witness = signed_note.Verifier.of(vkey)
            at = signed_note.cosigned_at(self._note, witness)
            if at is None and "witnesses" in self.believed:
                claim.gap(f"{witness.name} has not cosigned it.")
            else:
                claim.demand(at is not None, f"{witness.name} has not cosigned it.")

    # The log

    def _entries(self) -> None:
        """Fold the entries, and the subtrees between them, into the root; both come in the order of the log."""
        claim, tree, covers = self.claims["inclusion"], _Tree(), self._covers()
        cover = next(covers, None)
        for line in self.pack.lines("entries.ndjson"):
            found = _ENTRY.match(line)
            if found is None or line[-1:] != b"}":
                raise ValueError(f"This is no entry: {line[:80]!r}")
            leaf, seq, action = int(found[1]), int(found[2]), found[3]
            while cover is not None and cover[0] < leaf:
                tree.add(*cover)
                cover = next(covers, None)
            body = line[found.end() : -1]
            tree.add(leaf, 0, base64.b64decode(body[:-1], validate=True) if action is None else leaf_hash(body))
            claim.checked += 1
            if action is None:
                self.replay.withheld += 1
            elif action in self._acts:
                self._take(leaf, body)
            if seq in self._sealed or (action is not None and _SEALS in body and not action.startswith(_QUIET)):
                with self._guarded("columns"):
                    self._take_effects(leaf, seq, body)
        while cover is not None:
            tree.add(*cover)
            cover = next(covers, None)
        if tree.end() != (self._tree.size, self._tree.root):
            claim.fault(f"They make another tree, of {tree.size} leaves, than the checkpoint's of {self._tree.size}.")

    def _covers(self) -> Iterator[tuple[int, int, bytes]]:
        """Return the subtrees between the entries: first leaf, level, hash."""
        for line in self.pack.lines("proof.ndjson"):
            level, index, hash_ = json.loads(line)
            yield index << level, level, signed_note.hash_of(hash_)

    def _take(self, leaf: int, body: bytes) -> None:
        try:
            self.replay.take(json.loads(body))
        except UNREADABLE as error:
            self.claims["records"].gap(f"The entry of leaf {leaf} is not of a form that is known here: {error!r}"[:200])

    # What acts wrote

    def _effects(self) -> None:
        """Read what entries seal of the rows that their acts wrote."""
        if self.pack.is_old:
            self.claims["columns"].gap(
                "The pack was made by a version whose entries did not say what their acts wrote."
            )
            return
        self._sealed = {one["seq"]: one for one in map(json.loads, self.pack.lines("effects.ndjson"))}

    def _take_effects(self, leaf: int, seq: int, body: bytes) -> None:
        """Hold what an entry seals against its seal, and take it in."""
        seal, one = json.loads(body).get("effects"), self._sealed.pop(seq, None)
        if seal is None and one is None:
            return
        if one is None:
            if not self.pack.is_old:
                self.claims["columns"].gap(f"What the act of leaf {leaf} wrote is not in the pack.")
            return
        salt, value = bytes.fromhex(one["salt"]), one["value"]
        found = f"sha256:{hashlib.sha256(salt + value.encode()).hexdigest()}"
        if seal is None or seal["sealed"] != found:
            raise ValueError(f"What the act of leaf {leaf} wrote is not what its entry seals.")
        written = json.loads(value)
        self._written.take(leaf, seq, written)
        self._duties |= {row for group in written if group["table"] == "obligations" for row in group["rows"]}

    def _columns(self) -> None:
        """Hold each cell that is shown against what the last act wrote that set it."""
        if self.pack.is_old:
            return
        claim = self.claims["columns"]
        for seq in self._sealed:
            claim.fault(f"Of what is said to have been written by entry {seq} there is no entry.")
        salts: dict[tuple[str, str, str], tuple[int, str]] = {}
        others: dict[tuple[str, str, str], object] = {}
        for one in map(json.loads, self.pack.lines("columns.ndjson")):
            salts |= {(one["table"], one["row"], name): (one["seq"], salt) for name, salt in one["salts"].items()}
            others |= {(one["table"], one["row"], name): value for name, value in one.get("values", {}).items()}
        for kind in pack_columns.KINDS:
            for record in self.pack.records(kind):
                self._duties -= {record["id"]} if kind == "obligations" else set()
                for cell in pack_columns.cells_of(kind, record):
                    self._cell(cell, salts.get(cell.place))
        self._leave_to_others(others, salts)
        for duty in sorted(self._duties):
            claim.fault(f"The log has the obligation {duty}, which is not shown.")

    def _leave_to_others(
        self, others: dict[tuple[str, str, str], object], salts: dict[tuple[str, str, str], tuple[int, str]]
    ) -> None:
        """Ask for no obligation that is proved to be one of another handler, or of a request that is not shown."""
        for kind, column in (("handlers", "handler"), ("transfers", "transfer")):
            own = {None, *(one["id"] for one in self.pack.records(kind))}
            for (table, row, name), value in others.items():
                cell = pack_columns.Cell(table, row, name, pack_columns.canonical(value))
                is_other = (table, name) == ("obligations", column) and value not in own
                if is_other and self._is_proved(cell, salts.get(cell.place)):
                    self._duties.discard(row)

    def _is_proved(self, cell: pack_columns.Cell, told: tuple[int, str] | None) -> bool:
        """Tell whether a cell is what the last act wrote that set it, given the number of that and the cell's salt."""
        setting = self._written.cells.get(cell.place)
        if setting is None or told is None or told[0] != setting.seq:
            return False
        return pack_columns.hashed(bytes.fromhex(told[1]), cell.content) == setting.hash

    def _cell(self, cell: pack_columns.Cell, told: tuple[int, str] | None) -> None:
        setting = self._written.cells.get(cell.place)
        if setting is None and pack_columns.UNSAID.get((cell.table, cell.column)) == cell.content:
            self.claims["columns"].checked += 1
            return
        if setting is None:
            self.differing.add(cell.place)
            self.replay.missing("columns", f"{cell.name}: there is no entry of an act that wrote it.")
            return
        same = self._is_proved(cell, told)
        if not same:
            self.differing.add(cell.place)
        self.claims["columns"].demand(same, f"{cell.name} is not what the act of leaf {setting.leaf} wrote.")

    # The records

    def _register(self) -> None:
        self.actors = {one["id"]: one for one in self.pack.records("actors")}
        self.recipients = {one["id"]: one["key"] for one in self.pack.records("recipients")}
        self.transfers = {one["id"] for one in self.pack.records("transfers")}
        datasets, gradings = {one["id"] for one in self.pack.records("datasets")}, set[tuple[str, int]]()
        for one in self.pack.records("gradings"):
            gradings.add((one["dataset"], one["number"]))
            known = self.replay.gradings.get((one["dataset"], one["number"]))
            self._demand(known, known == one["tags"], f"Grading {one['number']} of {one['dataset']}", one["graded_at"])
            for act in ("graded", "confirmed"):
                by = self.replay.by.get((one["dataset"], one["number"], act))
                self._by(f"Grading {one['number']} of {one['dataset']}", one, f"{act}_persons", by)
        self._require_all("grading", {one for one in self.replay.gradings if one[0] in datasets} - gradings)
        manifest = self.pack.manifest
        there = any(one["id"] == manifest["subject"] for one in self.pack.records(f"{manifest['kind']}s"))
        self.claims["records"].demand(there, f"What the pack is about, {manifest['subject']}, is not in it.")

    def _demand(self, known: object, truth: bool, name: str, at: str, claim: str = "records") -> None:  # noqa: FBT001
        """Hold a record, made at a moment, against its entry."""
        if known is None:
            self.replay.missing(claim, f"{name}: there is no entry of it.", at)
        else:
            self.claims[claim].demand(truth, f"{name} is not what its entry says.")

    def _by(self, name: str, record: Json, member: str, by: By | None) -> None:
        """Hold who could have made an act, as a record shows it, against its entry; packs of before do not show it."""
        if member in record:
            shown = record[member]
            same = shown is None if by is None else by.fits(shown)
            self.claims["records"].demand(
                same, f"{name}: who could have made it ({member}) is not what its entry says."
            )

    def _revisions(self) -> None:
        shown: set[tuple[str, int]] = set()
        for one in self.pack.records("revisions"):
            key, told = (one["transfer"], one["number"]), one["determination"]
            name, asked = f"Revision {one['number']} of {one['transfer']}", self.replay.submitted.get(key)
            shown.add(key)
            found = f"sha256:{hashlib.sha256(canonical(one['content'])).hexdigest()}"
            self.claims["reviews"].demand(found == one["hash"], f"{name} has not the hash that was reviewed.")
            said = {
                "hash": one["hash"],
                "requirements": [requirement["rule"] for requirement in told["requirements"]],
                "stages": [stage["name"] for stage in one["stages"]],
                **{term: told[term] for term in ("mechanism", "rules_version", "policy")},
            }
            same = asked is not None and all(asked[term] == value for term, value in said.items())
            self._demand(asked, same, name, one["submitted_at"])
            with self._guarded("law"):
                self._law(name, one)
        self._require_all("revision", {key for key in self.replay.submitted if key[0] in self.transfers} - shown)

    def _require_all(self, kind: str, hidden: set[Any]) -> None:
        """Demand that whatever the log has of the requests that are shown is shown."""
        for one in sorted(hidden):
            self.claims["records"].fault(f"The log has the {kind} {one}, which is not shown.")

    def _law(self, name: str, revision: Json) -> None:
        """Let the law of the day decide again on what was submitted."""
        told, claim = revision["determination"], self.claims["law"]
        if again is None:
            claim.leave_out("Determining again takes the whole package: `outbound verify`.")
            return
        version = (told["rules_version"], told["policy"])
        if version not in self._books:
            self._books[version] = self._book(*version)
        book = self._books[version]
        if isinstance(book, str):
            claim.gap(f"{name}: {book}")
            return
        found = again.determined(revision, self.recipients[revision["content"]["recipient"]["id"]], book)
        # Sentences name countries as the library of countries does, which may be another version here.
        same = {**found, "explanation": None} == {**told, "explanation": None}
        claim.demand(same, f"{name}: the law of {told['as_of']} gives {found['mechanism']}, or gives it otherwise.")

    def _book(self, version: str, own: str | None) -> "RuleBook | str":
        with tempfile.TemporaryDirectory() as folder:
            for member in [name for name in self.pack.zip.namelist() if re.fullmatch(r"law/[a-z]+\.toml", name)]:
                (Path(folder) / member.removeprefix("law/")).write_bytes(self.pack.content(member))
            return again.book_of(Path(folder), version, own)

    def _reviews(self) -> None:
        shown: set[str] = set()
        names = ("transfer", "revision", "stage", "decision", "hash", "reviewer", "on_behalf_of")
        for one in self.pack.records("reviews"):
            given = self.replay.reviews.get(one["id"])
            said = (*(one[name] for name in names), one["taken_back_at"] is not None)
            same = given is not None and given.said == said
            same = same and given is not None and like_conditions(given.conditions, one["conditions"])
            self._demand(given, same, f"Review {one['id']}", one["at"])
            if given is not None:
                self._by(f"Review {one['id']}", one, "persons", given.by)
            person = self.actors[one["reviewer"]]["kind"] == "person"
            self.claims["separation"].demand(person, f"{one['id']}: {one['reviewer']} is no person.")
            shown.add(one["id"])
        known = {name for name, given in self.replay.reviews.items() if given.transfer in self.transfers}
        self._require_all("review", known - shown)

    def _evidence(self) -> None:
        claim, checked = self.claims["evidence"], set[str]()
        for one in self.pack.records("evidence"):
            self._papers[one["id"]] = one
            # What a renewal repeats was added once, to the request before, with the same file.
            added = one["repeats"] or one["id"]
            known = added in self.replay.evidence or None
            same = self.replay.evidence.get(added) == one["sha256"]
            self._demand(known, same, f"Evidence {one['id']}", one["added_at"], "evidence")
            for act in ("added", "verified") if one["repeats"] is None else ():
                self._by(f"Evidence {one['id']}", one, f"{act}_persons", self.replay.by.get((one["id"], act)))
            if one["member"] is not None and one["member"] not in checked:
                checked.add(one["member"])
                for _ in self.pack.chunks(one["member"]):
                    pass
                size, sha256 = self.pack.hashes[one["member"]]
                claim.demand(sha256 == one["sha256"], f"{one['member']} is another file.")
                claim.demand(size == one["size"], f"{one['member']} has another size than its record says.")
            if not self.pack.is_old:
                same = (one["repeats"] is None) == (one["reused_from"] is None)
                claim.demand(same, f"Evidence {one['id']} repeats another one than its record says.")

        known_papers = {one for one, transfer in self.replay.transfer_of.items() if transfer in self.transfers}
        self._require_all("evidence", known_papers - self._papers.keys())

    def _permits(self) -> None:
        keys, shown = {one["kid"]: one for one in self.keys["permits"]["keys"]}, set[str]()
        for one in self.pack.records("permits"):
            signed, name, known = one.pop("signed"), f"Permit {one['id']}", self.replay.permits.get(one["id"])
            shown.add(one["id"])
            with self._guarded("permits"):
                self.claims["permits"].demand(_opened(signed, keys) == one, f"{name} is not what was signed.")
            same = known is not None and known.status == one["stored_status"]
            if known is not None:
                same &= all(is_sealed(known.scope[term]) or known.scope[term] == one[term] for term in TERMS)
                same &= _like_all(known.scope["conditions"], one["conditions"])
                self._standing(name, one, known)
            self._demand(known, same, name, one["issued_at"])
        self._require_all(
            "permit",
            {name for name, permit in self.replay.permits.items() if permit.scope["transfer"] in self.transfers}
            - shown,
        )

    def _standing(self, name: str, one: Json, known: Permit) -> None:
        """Hold what is computed of a permit against what it is computed from."""
        if self.pack.is_old:
            return
        duties, papers = list(self.pack.records("obligations")), self._papers
        told = standing_of(one, duties, papers, datetime.fromisoformat(self.pack.manifest["made_at"]))
        same = all(one[member] == value for member, value in told.items())
        self.claims["standing"].demand(
            same, f"{name} is shown as {one['status']}; by its records it is {told['status']}."
        )
        sent, shown_sent = persons_of(known.sent), persons_of(one["sent"])
        is_within = all(less <= more for less, more in zip(shown_sent, sent, strict=True))
        same = is_within if known.by_hash else sent == shown_sent
        self.claims["quota"].demand(
            same, f"{name} is shown with {shown_sent} persons sent; its exports reported {sent}."
        )

    def _exports(self) -> None:
        known = self.replay.exports
        for one in self.pack.records("exports"):
            began = digest(
                *(one[name] for name in ("evaluation", "dataset", "recipient", "permit", "system", "purpose")),
                persons_of(one),
                one["reserved_at"],
                one["expires_at"],
            )
            sent = None if one["sent"] is None else persons_of(one["sent"])
            said = began if one["status"] == "reserved" else began + ended(began, one["status"], sent, one["ended_at"])
            found = known.pop(one["id"], None)
            same = found == said and self.replay.counts.get(one["id"], one["counts"]) == one["counts"]
            self._demand(found, same, f"Export {one['id']}", one["reserved_at"])
        self._require_all("export", set(known))

    # The files

    def _files(self) -> None:
        claim, pack = self.claims["files"], self.pack
        with pack.path.open("rb") as file:
            for fault in zip_layout.faults(file):
                claim.fault(fault)
        there = pack.zip.namelist()
        claim.demand(len(there) == len(set(there)), "A file is there twice.")
        claim.demand(len(pack.named) == len(pack.manifest["members"]), "The manifest names a file twice.")
        for name in sorted(set(there) ^ {*pack.named, MANIFEST, SIGNATURE}):
            claim.fault(f"{name} is {'not named by the manifest' if name in there else 'missing'}.")
        for name, one in pack.named.items():
            if name not in there:
                continue
            with self._guarded("files"):
                if name not in pack.hashes:
                    for _ in pack.chunks(name):
                        pass
                claim.demand(pack.hashes[name] == (one["size"], one["sha256"]), f"{name} is not the file that it was.")


def _opened(token: str, keys: dict[str, Json]) -> object:
    """Return the permit in a signed record (JWS, EdDSA).

    Raises:
        ValueError, LookupError: it is not signed by one of the keys.
    """
    head, body, signature = token.split(".")
    key = _from_url(keys[json.loads(_from_url(head))["kid"]]["x"])
    if not ed25519.verified(key, _from_url(signature), f"{head}.{body}".encode()):
        raise ValueError("The signature is wrong.")
    return json.loads(_from_url(body))["permit"]


def _like_all(said: Any, told: list[Json]) -> bool:
    """Tell whether all conditions of a permit are shown as its entry has them."""
    return is_sealed(said) or (len(said) == len(told) and all(map(like_conditions, said, told)))


def _from_url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


# The command


def document(verification: Verification) -> Json:
    """Return the verdicts as JSON; `covers` names what of the records each claim is about."""
    covers, manifest = pack_columns.covers(), verification.pack.manifest
    return {
        "pack": manifest["pack"],
        "kind": manifest["kind"],
        "subject": manifest["subject"],
        "made_at": manifest["made_at"],
        "verdict": VERDICTS[code(verification)],
        "claims": [
            {
                "claim": name,
                "text": one.text,
                "covers": covers.get(name, []),
                "verdict": one.verdict,
                "checked": one.checked,
                "told": one.told,
            }
            for name, one in verification.claims.items()
        ],
        "entries_withheld": verification.replay.withheld,
        "keys_believed": verification.believed,
        "vkeys": verification.vkeys,
    }


VERDICTS: Final = {0: "held", 1: "broken", 2: "cannot be checked", 3: "held, but for what is not checked here"}


def code(verification: Verification) -> int:
    """Return the exit code: 0 every claim held, 1 one is broken, 2 one cannot be checked, 3 one is not checked by this verifier.

    The first of 1, 2, 3 and 0 that applies.
    """
    found = {claim.verdict for claim in verification.claims.values()}
    return 1 if "broken" in found else 2 if "cannot be checked" in found else 3 if "not checked here" in found else 0


def sentences(verification: Verification) -> Iterator[str]:
    """Return the verdicts as lines for a person."""
    manifest = verification.pack.manifest
    yield f"Evidence pack {manifest['pack']} of the {manifest['kind']} {manifest['subject']}, made at {manifest['made_at']}"
    for claim in verification.claims.values():
        yield f"{claim.verdict:>17}  {claim.text} ({claim.checked} checked)"
        yield from (f"{'':19}- {sentence}" for sentence in claim.told)
        if claim.faults + claim.gaps > len(claim.told):
            yield f"{'':19}- and {claim.faults + claim.gaps - len(claim.told)} more"
    if verification.replay.withheld:
        yield f"Of {verification.replay.withheld} entries only the hash is in the pack: they hold texts from before texts were sealed."
    if "log" in verification.believed:
        yield "No verifier key was given, so the pack's own was believed. Ask the operator for it another way, and give it by --vkey:"
        yield from (f"  {vkey}" for vkey in verification.vkeys)
    yield "A pack proves what is in it. That nothing was left out only the whole log can show: see docs/auditors.md."
    yield f"Verdict: {VERDICTS[code(verification)]}"


def verify(path: Path, vkeys: Sequence[str] = (), witnesses: Sequence[str] = ()) -> Verification:
    """Check a pack, and return what was found; see `Verification`."""
    verification = Verification(path, vkeys, witnesses)
    verification.run()
    return verification


def main(arguments: Sequence[str] | None = None, *, version: str | None = None) -> int:
    """Check a pack and print the verdicts; return the exit code.

    Args:
        arguments: of the command line.
        version: of the verifier in one file, where it is that.
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
    given = parser.parse_args(arguments)
    try:
        verification = verify(given.pack, given.vkey, given.witness)
    except (PackError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    told = json.dumps(document(verification), ensure_ascii=False, indent=2)
    sys.stdout.write(f"{told if given.json else chr(10).join(sentences(verification))}\n")
    return code(verification)


if __name__ == "__main__":
    sys.exit(main())
