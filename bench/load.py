"""Load on one address: what every connection sends over and over, and what came back.

The generator takes its share of the processors that it measures: so it is `wrk` where that is on PATH, the lightest there is. It looks
at the status of an answer alone; while a contestant warms up, and wherever there is no wrk, the load comes from k9 (a wheel with
a native engine, locked with the other development dependencies), which looks at the text of every answer as well.
"""

import shutil
from pathlib import Path

from bench import k9, wrk
from bench.request import Request, Run


def is_light() -> bool:
    """Tell whether wrk is there."""
    return shutil.which("wrk") is not None


def run(request: Request, connections: int, seconds: float, folder: Path) -> Run:
    """Send a request from some connections for some seconds, and return what was measured.

    Raises:
        LoadError: the generator could not do it.
    """
    if not is_light() or request.refused is not None:  # wrk cannot tell a refusal from a failure
        return k9.run(request, connections, seconds, folder)
    return wrk.run(request, connections, seconds, folder)


def check(request: Request, connections: int, seconds: float, folder: Path) -> Run:
    """Do the same with a look at every answer.

    Raises:
        LoadError: the generator could not do it.
    """
    return k9.run(request, connections, seconds, folder)
