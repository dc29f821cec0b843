"""ZIP archive of a pack: members are hashed while they are streamed to the file."""

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
    """Member of the archive that is being written."""

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
        """SHA-256 of the written bytes, in hexadecimal."""
        return self._hash.hexdigest()


class Archive:
    """A ZIP file (ZIP64) that is written member by member.

    Args:
        path: path of the file, which must not exist.
        timestamp: timestamp of the members.
    """

    def __init__(self, path: Path, timestamp: datetime) -> None:
        self._path = path
        self._file = path.open("xb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=4)
        self._time = timestamp.astimezone(SHANGHAI).timetuple()[:6]
        self.members: list[dict[str, Any]] = []
        """Name, size and SHA-256 of each written member."""

    @contextmanager
    def member(self, name: str) -> Iterator[Member]:
        """Write one member in a block; members are written one after the other."""
        info = zipfile.ZipInfo(name, self._time)
        info.compress_type = zipfile.ZIP_DEFLATED if name.endswith(COMPRESSED) else zipfile.ZIP_STORED
        info.external_attr = 0o644 << 16
        with self._zip.open(info, "w", force_zip64=True) as out:
            member = Member(out)
            yield member
        self.members.append({"name": name, "size": member.size, "sha256": member.sha256})

    def add(self, name: str, content: bytes) -> None:
        """Write a member from bytes."""
        with self.member(name) as member:
            member.write(content)

    def close(self) -> tuple[int, bytes]:
        """Write the central directory, sync the file to the disk, and return its size and SHA-256."""
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        digest = hashlib.sha256()
        with self._path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return self._path.stat().st_size, digest.digest()

    def abandon(self) -> None:
        """Close and remove the file."""
        with suppress(OSError, ValueError):
            self._zip.close()
        self._file.close()
        self._path.unlink(missing_ok=True)
