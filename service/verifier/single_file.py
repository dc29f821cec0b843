"""Builds the verifier as one file that needs only Python 3.11: a zipapp with the sources of `service.verifier.pack`.

The same version gives the same bytes on every machine: members are stored uncompressed, in a fixed order, with a fixed time.

Example:
    Path(FILE_NAME).write_bytes(build_verifier())  # then, on any machine: python3 outbound-verifier.pyz PACK
"""

import hashlib
import json
import zipfile
from functools import cache
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any, Final

DISTRIBUTION: Final = "outbound-gate"
FILE_NAME: Final = "outbound-verifier.pyz"
PARTS: Final = (
    "service/__init__.py",
    "service/audit/__init__.py",
    "service/audit/ed25519.py",
    "service/audit/tlog/__init__.py",
    "service/audit/tlog/merkle.py",
    "service/audit/tlog/signed_note.py",
    "service/verifier/__init__.py",
    "service/verifier/replay.py",
    "service/audit/pack_columns.py",
    "service/verifier/pack.py",
    "service/verifier/zip_layout.py",
)
"""Modules of the file. They import only each other and the standard library."""
_HEAD: Final = b"#!/usr/bin/env python3\n"
_MAIN: Final = '''"""Checks an evidence pack offline; see `--help`."""

import sys

VERSION = "{version}"

if sys.version_info < (3, 11):
    sys.exit("The verifier needs Python 3.11 or newer.")

from service.verifier.pack import main

sys.exit(main(version=VERSION))
'''
_TIME: Final = (1980, 1, 1, 0, 0, 0)


def version() -> str:
    """Return the version of the installed package."""
    return metadata.version(DISTRIBUTION)


@cache
def build_verifier() -> bytes:
    """Return the verifier: a ZIP file that Python runs."""
    package = Path(__file__).parents[1]
    file = BytesIO()
    file.write(_HEAD)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        for name in PARTS:
            _add(archive, name, (package.parent / name).read_bytes())
        _add(archive, "__main__.py", _MAIN.format(version=version()).encode())
    return file.getvalue()


def verifier_document() -> dict[str, Any]:
    """Return the version that makes a pack, and the SHA-256 of its verifier and of its wheel, as a pack's manifest names them.

    The hash of the wheel is null if the installer did not record it. Source: PEP 610, `direct_url.json`.
    """
    return {
        "version": version(),
        "verifier_sha256": hashlib.sha256(build_verifier()).hexdigest(),
        "wheel_sha256": _sha256_of_wheel(metadata.distribution(DISTRIBUTION).read_text("direct_url.json")),
    }


def _sha256_of_wheel(direct_url: str | None) -> str | None:
    """Return the hash of the wheel from the installer's record of its origin; None if there is none."""
    archive = {} if direct_url is None else json.loads(direct_url).get("archive_info", {})
    sha256 = archive.get("hashes", {}).get("sha256") or archive.get("hash", "").removeprefix("sha256=")
    return sha256 if len(sha256) == hashlib.sha256().digest_size * 2 else None


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, _TIME)
    member.create_system = 3
    member.external_attr = 0o100644 << 16
    archive.writestr(member, content)
