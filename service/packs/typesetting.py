"""Typesetting, in a process of its own: the memory that it takes is given back, and a crash of the typesetter takes nothing along.

Run as a script it reads `{"template": …, "inputs": {…}, "fonts": [folders], "timestamp": seconds}` from standard input and writes the PDF
to standard output. It needs nothing of the service and no setting of the machine.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typst

SECONDS: Final = 300
"""The longest that a report may take; one of 135 pages takes two."""


class TypesettingError(RuntimeError):
    """A report could not be set; the message is the typesetter's."""


def typeset(template: str, inputs: Mapping[str, str], fonts: Sequence[Path], timestamp: int) -> bytes:
    """Return a PDF that is made to be kept for years (ISO 19005-2, level A) and read by everybody (ISO 14289-1).

    Args:
        template: the typesetter's program.
        inputs: what it finds in `sys.inputs`.
        fonts: folders of the only fonts that it may use beside its own.
        timestamp: the document's date, in seconds since 1970.

    Raises:
        TypesettingError: it failed, or took longer than `SECONDS`.
    """
    order = {"template": template, "inputs": inputs, "fonts": [str(folder) for folder in fonts], "timestamp": timestamp}
    try:
        done = subprocess.run(  # noqa: S603 - this very file, with nothing of a caller on its command line
            [sys.executable, "-I", __file__],
            input=json.dumps(order).encode(),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise TypesettingError(f"Setting the report took longer than {SECONDS} seconds.") from late
    if done.returncode != 0:
        raise TypesettingError(f"Setting the report failed: {done.stderr.decode(errors='replace')[-2_000:]}")
    return done.stdout


def compiled(order: Mapping[str, Any]) -> bytes:
    """Return the PDF of an order, as the script reads it; no font of the machine is looked at."""
    fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=True, font_paths=order["fonts"])
    return bytes(
        typst.compile(
            order["template"].encode(),
            font_paths=fonts,
            ignore_system_fonts=True,
            sys_inputs=order["inputs"],
            pdf_standards=["a-2a", "ua-1"],
            timestamp=order["timestamp"],
        )
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(compiled(json.load(sys.stdin.buffer)))
