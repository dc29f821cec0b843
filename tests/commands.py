"""The `outbound` command, run in the process of the test: a process of its own takes a second to start."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from service import cli


def outbound(database_url: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command on a database, and return what a process of its own would have come to."""
    told, complained, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, {"OUTBOUND_DATABASE_URL": database_url, **env}),
        mock.patch.object(sys, "argv", ["outbound", *words]),
        redirect_stdout(told),
        redirect_stderr(complained),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return subprocess.CompletedProcess(words, code, told.getvalue(), complained.getvalue())
