"""A pack as somebody could forge it who holds every key: entries and records are changed, and everything above them is made anew."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from service.audit import pack_columns
from service.audit.tlog import signed_note
from service.audit.tlog.merkle import CompactRange, leaf_hash
from service.permits.tokens import Signer
from tests.world import Json

MADE = (
    *("manifest.json", "manifest.note", "checkpoint", "proof.ndjson", "keys.json"),
    *("entries.ndjson", "effects.ndjson", "columns.ndjson"),
)


def pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def line(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Forgery:
    """Everything of a pack, to be changed and saved again."""

    def __init__(self, source: Path) -> None:
        self.files: dict[str, bytes] = {}
        self.records: dict[str, list[Json]] = {}
        with zipfile.ZipFile(source) as pack:
            self.manifest: Json = json.loads(pack.read("manifest.json"))
            self.entries: list[Json] = [json.loads(one)["body"] for one in pack.read("entries.ndjson").splitlines()]
            for name in pack.namelist():
                if name.startswith("records/"):
                    kind = name.removeprefix("records/").removesuffix(".ndjson")
                    self.records[kind] = [json.loads(one) for one in pack.read(name).splitlines()]
                elif name not in MADE:
                    self.files[name] = pack.read(name)
        self.effects: Json = {}
        """What the last entry seals."""
        self.salts: list[Json] = []
        self.signer = Signer(pem())
        self.log = signed_note.Signer(pem(), self.manifest["origin"])

    def entry(self, action: str) -> Json:
        """Return the first entry of an act."""
        return next(one for one in self.entries if one["action"] == action)

    def written(self) -> tuple[Json, list[Json]]:
        """Have the last entry seal that its act wrote all that is shown; return that, and the salts of the columns."""
        salt, groups, salts = secrets.token_bytes(16), list[Json](), list[Json]()
        for kind, records in self.records.items():
            for record in records:
                for cell in pack_columns.cells_of(kind, record):
                    own = secrets.token_bytes(16)
                    hashes = base64.b64encode(pack_columns.hash_value(own, cell.content)).decode()
                    groups.append(
                        {"table": cell.table, "made": True, "columns": [cell.column], "rows": {cell.row: hashes}}
                    )
                    told = {
                        "table": cell.table,
                        "row": cell.row,
                        "seq": len(self.entries),
                        "salts": {cell.column: own.hex()},
                    }
                    salts.append(told)
        value = line(groups).decode()
        for entry in self.entries:
            entry["effects"] = None
        self.entries[-1]["effects"] = {"sealed": f"sha256:{hashlib.sha256(salt + value.encode()).hexdigest()}"}
        return {"seq": len(self.entries), "salt": salt.hex(), "value": value}, salts

    def save(self, path: Path, more: Iterable[Json] = (), *, is_honest: bool = True) -> Path:
        """Write it.

        Args:
            path: where.
            more: further entries, which are not kept.
            is_honest: whether the last entry seals that all of it was written so.
        """
        if is_honest or not self.effects:
            self.effects, self.salts = self.written()
        for permit in self.records["permits"]:
            permit.pop("signed", None)
            permit["signed"] = self.signer.record(permit, at=datetime.now(UTC))
        members: list[Json] = []
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as pack:

            def add(name: str, content: Iterable[bytes]) -> None:
                found, size = hashlib.sha256(), 0
                with pack.open(name, "w", force_zip64=True) as out:
                    for piece in content:
                        out.write(piece)
                        found.update(piece)
                        size += len(piece)
                members.append({"name": name, "sha256": found.hexdigest(), "size": size})

            for name, content in self.files.items():
                add(name, [content])
            for kind, records in self.records.items():
                add(f"records/{kind}.ndjson", (line(one) + b"\n" for one in records))
            tree = CompactRange()
            add("effects.ndjson", [line(self.effects) + b"\n"])
            add("columns.ndjson", (line(one) + b"\n" for one in self.salts))
            add("entries.ndjson", self._entries(tree, more))
            add("proof.ndjson", [])
            checkpoint = signed_note.Checkpoint.at(self.manifest["origin"], tree.size, tree.root(), datetime.now(UTC))
            add("checkpoint", [signed_note.sign(checkpoint.text(), self.log).encode()])
            keys = {"log": [self.log.vkey], "witnesses": [], "permits": {"keys": [self.signer.public]}}
            add("keys.json", [line(keys)])
            manifest = line(self.manifest | {"members": members})
            pack.writestr("manifest.json", manifest)
            signed = (
                f"{self.manifest['origin']}/packs\n{self.manifest['pack']}\n{hashlib.sha256(manifest).hexdigest()}\n"
            )
            pack.writestr("manifest.note", signed_note.sign(signed, self.log))
        return path

    def _entries(self, tree: CompactRange, more: Iterable[Json]) -> Iterator[bytes]:
        for entries in (self.entries, more):
            for body in entries:
                written = line(body)
                yield b'{"leaf":%d,"seq":%d,"body":%s}\n' % (tree.size, tree.size + 1, written)
                tree.add(leaf_hash(written))
