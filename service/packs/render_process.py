"""Renders reports in a child process: fonts and typesetting take more memory than the service, and would block its event loop."""

import asyncio
import pickle  # nosec B403 - between us and our own child
import sys
from typing import Final

from service.packs.report_data import ReportData

LANGUAGES: Final = ("en", "zh")


class RenderingError(Exception):
    """The child process failed; the message is its last line of output."""


async def render_reports(data: ReportData) -> dict[str, bytes]:
    """Return the reports, by the names of their files.

    Raises:
        RenderingError: the child process failed.
    """
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    )
    try:
        out, errors = await child.communicate(pickle.dumps(data))
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise RenderingError(errors.decode(errors="replace").strip().rpartition("\n")[2])
    files: dict[str, bytes] = pickle.loads(out)  # noqa: S301 - written below, by our own child  # nosec B301
    return files


def _main() -> None:
    try:
        from service.packs import report  # noqa: PLC0415 - only the child needs it, and the packages of the extra `packs`
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error.name} is not installed, which reports need. Run `pip install 'outbound-gate[packs]'`, and request the pack again."
        ) from error

    data = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - written above, by our own parent  # nosec B301
    files = {}
    for language in LANGUAGES:
        files[f"report.{language}.html"] = report.html(data, language).encode()
        files[f"report.{language}.pdf"] = report.pdf(data, language)
    sys.stdout.buffer.write(pickle.dumps(files))


if __name__ == "__main__":
    _main()
