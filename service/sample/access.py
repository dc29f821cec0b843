"""Presents fresh keys and ids of the invented company: as text to print, and as shell variables in a file."""

import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Key of one person or system of the company, with the shell variable that holds it."""

    variable: str
    holder: str
    secret: str


@dataclass(frozen=True, slots=True)
class SampleAccess:
    """Keys and ids for the commands of the documentation.

    Example:
        access = await database.transaction(loader.issue_keys)
        access.write_variables(Path(".outbound/sample.env"), "http://127.0.0.1:8000")
        print(access.welcome("http://127.0.0.1:8000", Path(".outbound/sample.env")))
    """

    notice: str
    days: int
    keys: tuple[SampleKey, ...]
    ids: dict[str, str]
    export: dict[str, Any]
    """The export that the printed questions ask about, as `company.toml` describes it."""

    def write_variables(self, path: Path, base: str) -> None:
        """Write the address, the keys and the ids as shell variables, readable for the file's owner alone.

        Raises:
            OSError: the file cannot be written.
        """
        variables = {"URL": base} | {key.variable: key.secret for key in self.keys} | self.ids
        lines = [
            f"# {self.notice}",
            f"# Written by `outbound serve --sample` at each start; keys end after {self.days} days.",
        ]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
        draft.replace(path)

    def welcome(self, base: str, path: Path) -> str:
        """Return the keys, the name of the file that has them, and three commands to paste."""
        secrets = {key.holder: key.secret for key in self.keys}
        width = max(len(holder) for holder in secrets)
        keys = "\n".join(f"  {holder:<{width}}  {secret}" for holder, secret in secrets.items())
        commands = "\n\n".join(_commands(base, secrets[self.export["system"]], self.export))
        return (
            f"{self.notice}\n\nKeys, good for {self.days} days:\n{keys}\n\n"
            f"In another terminal, `. {shlex.quote(str(path))}` sets them as variables. Or try:\n\n{commands}\n"
        )


def _commands(base: str, secret: str, export: dict[str, Any]) -> Iterator[str]:
    head = f"curl -s -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json'"
    facts = json.dumps(
        {
            "handler": {"ciio": False},
            "dataset": {"tags": ["personal"]},
            "recipient": {"country": "SG"},
            "transfer": {"persons": 150000},
        }
    )
    yield f"{head} {base}/v1/determinations -d '{facts}'"
    for purpose in (export["purpose"], "advertising"):
        question = (
            f'{{"subject": {{"type": "system", "id": "{export["system"]}"}}, "action": {{"name": "export"}}, '
            f'"resource": {{"type": "dataset", "id": "{export["dataset"]}"}}, '
            f'"context": {{"recipient": "{export["recipient"]}", "purpose": "{purpose}", "persons": 1200}}}}'
        )
        yield f"{head} {base}/access/v1/evaluation -d '{question}'"
