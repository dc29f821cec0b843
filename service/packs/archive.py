"""The file of a pack: members are hashed while they are written, and nothing of them stays in memory."""

import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from service.clock import SHANGHAI

COMPRESSED: Final = (".json", ".ndjson", ".txt", ".html", ".toml", ".note", "checkpoint")
CHUNK: Final = 1 << 18


class Member:
    """One file of the archive, being written."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes) -> None:
        """Add bytes at the end."""
        self._out.write(content)
        self._hash.update(content)
        self.size += len(content)

    @property
    def sha256(self) -> str:
        """Of what has been written, in hexadecimal."""
        return self._hash.hexdigest()


class Archive:
    """A ZIP file (ZIP64) that is written member by member.

    Args:
        path: where it is written; it must not be there.
        moment: the time that its members bear.
    """

    def __init__(self, path: Path, moment: datetime) -> None:
        self._path = path
        self._file = path.open("xb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=4)
        self._time = moment.astimezone(SHANGHAI).timetuple()[:6]
        self.members: list[dict[str, Any]] = []
        """Name, size and SHA-256 of what has been written."""

    @contextmanager
    def member(self, name: str) -> Iterator[Member]:
        """Write one member; the next one can begin when it has ended."""
        told = zipfile.ZipInfo(name, self._time)
        told.compress_type = zipfile.ZIP_DEFLATED if name.endswith(COMPRESSED) else zipfile.ZIP_STORED
        told.external_attr = 0o644 << 16
        with self._zip.open(told, "w", force_zip64=True) as out:
            member = Member(out)
            yield member
        self.members.append({"name": name, "size": member.size, "sha256": member.sha256})

    def add(self, name: str, content: bytes) -> None:
        """Write a member that is there as a whole."""
        with self.member(name) as member:
            member.write(content)

    def close(self) -> tuple[int, bytes]:
        """Write the directory, see to it that everything is on the disk, and return size and SHA-256 of the file."""
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        found = hashlib.sha256()
        with self._path.open("rb") as file:
            while chunk := file.read(CHUNK):
                found.update(chunk)
        return self._path.stat().st_size, found.digest()

    def abandon(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError, ValueError):
            self._zip.close()
        self._file.close()
        self._path.unlink(missing_ok=True)
