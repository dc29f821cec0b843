"""Commands that need no database, for other parties to run: `outbound witness`, `outbound verify`, `outbound verifier`."""

import hashlib
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from service import logs
from service.audit.tlog import witness_server
from service.audit.tlog.signed_note import COSIGNATURE, Signer
from service.audit.tlog.witness_protocol import parse_log_keys
from service.clock import utc_now
from service.commands.listen_address import address, free_port
from service.key_files import read_or_create
from service.settings import Settings
from service.verifier import pack as packs
from service.verifier import single_file


def witness(
    log: Annotated[list[str], typer.Option(help="Verifier key of a log to cosign (/tlog/vkey); may be repeated.")],
    state: Annotated[
        Path, typer.Option(help="File with the last checkpoint that it cosigned of each log; never lose it.")
    ],
    key: Annotated[Path, typer.Option(help="Its Ed25519 key in PEM; made when it is not there.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8010,
    name: Annotated[str | None, typer.Option(help="Name that it signs by; made from its key, if missing.")] = None,
    new: Annotated[
        bool, typer.Option("--new", help="The key was made elsewhere and has cosigned nothing yet.")
    ] = False,
) -> None:
    """Run a witness: cosign each checkpoint of a log that extends the one before. Needs no database; best run by another party."""
    logs.configure(Settings().log_format, Settings().log_level)
    is_new = new or not key.exists()
    pem = read_or_create(key)
    witnessed = parse_log_keys(log)
    public = Signer(pem, "none").verifier.public
    signer = Signer(pem, name or witness_server.name_of(public), COSIGNATURE)
    port = port or free_port(host)
    with witness_server.Memory(state, witnessed, is_new=is_new) as memory:
        cosigner = witness_server.Witness(signer, witnessed, memory, utc_now)
        typer.echo(f"OUTBOUND_WITNESSES={signer.vkey} {address(host, port)}")
        sys.stdout.flush()
        uvicorn.run(
            witness_server.application(cosigner),
            host=host,
            port=port,
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            limit_concurrency=100,
            timeout_graceful_shutdown=10,
        )


def verify(
    pack: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An evidence pack, a ZIP file.")],
    vkey: Annotated[list[str] | None, typer.Option(help="Verifier key of the log, from another source.")] = None,
    witness: Annotated[
        list[str] | None, typer.Option(help="Verifier key of a witness that must have cosigned; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Check an evidence pack, offline.

    Exit code: 0 every claim held, 1 one is broken, 2 one cannot be checked or it is no pack.
    """
    keys = [*(f"--vkey={key}" for key in vkey or ()), *(f"--witness={key}" for key in witness or ())]
    raise typer.Exit(packs.main([str(pack), *keys, *(["--json"] if as_json else [])]))


verifier = typer.Typer(no_args_is_help=True, add_completion=False, help="The verifier of evidence packs in one file.")


@verifier.callback()
def _verifier() -> None:
    """The verifier of evidence packs in one file."""


@verifier.command("write")
def write_verifier(
    file: Annotated[
        Path, typer.Argument(dir_okay=False, help=f"Where it is written, such as {single_file.FILE_NAME}.")
    ],
) -> None:
    """Write the verifier as one file that needs nothing but Python 3.11, and print its SHA-256.

    The same version writes the same bytes on every machine. Run it as `python3 FILE PACK`.
    """
    content = single_file.build_verifier()
    file.write_bytes(content)
    typer.echo(f"{hashlib.sha256(content).hexdigest()}  {file}")
