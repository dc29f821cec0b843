"""Where a run took place: the machine as /proc tells it, and the versions of what took part."""

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

from bench import report
from bench.contestants import cerbos
from bench.register import rows

PACKAGES: Final = (
    "uvicorn",
    "uvloop",
    "httptools",
    "fastapi",
    "pydantic",
    "msgspec",
    "sqlalchemy",
    "asyncpg",
    "k9-load",
)
SETTINGS: Final = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "huge_pages_status",
    "max_wal_size",
    "jit",
)


def table(url: str) -> str:
    """Return machine and versions as a table; `url`: the PostgreSQL that took part."""
    server = str(rows(url, "select current_setting('server_version')")[0][0])
    settings = ", ".join(f"{name} {rows(url, 'select current_setting($1)', name)[0][0]}" for name in SETTINGS)
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    lines = [
        ("processor", f"{_processor()}, {os.cpu_count()} cores for everything: server, PostgreSQL and load generator"),
        ("memory", _memory()),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("PostgreSQL", f"{server}, embedded, as it starts: {settings}"),
        ("packages", packages),
        ("others", f"Cerbos {cerbos.VERSION}; wrk {_wrk()}"),
    ]
    return report.table(("", ""), lines).replace("---:", "---")


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return platform.processor() or "unknown" if found is None else found[1]


def _memory() -> str:
    try:
        found = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return "unknown" if found is None else f"{int(found[1]) / 1024**2:.0f} GiB"


def _wrk() -> str:
    command = shutil.which("wrk")
    if command is None:
        return "not on PATH"
    told = subprocess.run([command, "-v"], capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"wrk (?:debian/)?(\S+)", told.stdout + told.stderr)
    return "of unknown version" if found is None else found[1]
