"""`outbound determine`."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from service.clock import day_in_shanghai
from service.law.loader import load_rule_book
from service.law.schemas import FactsIn
from service.settings import Settings
from service.validation.problems import invalid_from
from service.validation.strict_json import parse
from service.whatif.law_routes import determination_of


def determine(
    file: Annotated[Path, typer.Argument(help="Facts as JSON; - reads them from standard input.")],
) -> None:
    """Determine the requirements of the law for given facts; needs no database and stores nothing. Not legal advice."""
    content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    try:
        body = FactsIn.model_validate(parse(content))
    except ValidationError as error:
        raise invalid_from(error.errors()) from error
    determination = determination_of(body, day_in_shanghai(datetime.now(UTC)), load_rule_book(Settings().policy_file))
    typer.echo(json.dumps(determination.model_dump(mode="json"), ensure_ascii=False, indent=2))
