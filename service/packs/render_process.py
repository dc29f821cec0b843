"""Reports are set in a process of their own: fonts and type-setting take more memory than everything else, and hold nobody up there."""

import asyncio
import pickle  # nosec B403 - between us and our own child
import sys
from typing import Final

from service.packs.report_data import Story

LANGUAGES: Final = ("en", "zh")


class RenderingError(Exception):
    """The process that sets the reports came to grief; the message is what it said last."""


async def reports(story: Story) -> dict[str, bytes]:
    """Return the reports of a story by the names of their files.

    Raises:
        RenderingError: there are none.
    """
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    )
    try:
        out, errors = await child.communicate(pickle.dumps(story))
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise RenderingError(errors.decode(errors="replace").strip().rpartition("\n")[2])
    made: dict[str, bytes] = pickle.loads(out)  # noqa: S301 - written below, by our own child  # nosec B301
    return made


def _main() -> None:
    from service.packs import report  # noqa: PLC0415 - only the child needs it

    story = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - written above, by our own parent  # nosec B301
    made = {}
    for language in LANGUAGES:
        made[f"report.{language}.html"] = report.html(story, language).encode()
        made[f"report.{language}.pdf"] = report.pdf(story, language)
    sys.stdout.buffer.write(pickle.dumps(made))


if __name__ == "__main__":
    _main()
