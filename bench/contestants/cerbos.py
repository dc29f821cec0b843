"""Cerbos, an engine that decides in memory, with its decision log to a file: what its users run who want to know afterwards.

It keeps no register: whatever it decides on comes with the question. Its log is written behind the answer and not synced to disk.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench.request import Request
from bench.servers import Server
from service.commands.listen_address import free_port

VERSION: Final = "0.55.0"
PACKAGE: Final = "@cerbos/cerbos-linux-x64"
INSTALL_WITHIN: Final = 180

POLICY: Final = """
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  version: default
  resource: dataset
  rules:
    - actions: [export]
      effect: EFFECT_ALLOW
      roles: [exporter]
      condition:
        match:
          all:
            of:
              - expr: '"personal" in R.attr.tags'
              - expr: R.attr.permit.status == "active"
              - expr: R.attr.permit.recipient == R.attr.recipient
              - expr: R.attr.permit.purpose == R.attr.purpose
              - expr: R.attr.permit.used + R.attr.persons <= R.attr.permit.quota
"""

SETTINGS: Final = """
server: {{httpListenAddr: "127.0.0.1:{http}", grpcListenAddr: "127.0.0.1:{grpc}"}}
telemetry: {{disabled: true}}
storage: {{driver: disk, disk: {{directory: "{policies}", watchForChanges: false}}}}
audit:
  enabled: true
  accessLogsEnabled: false
  decisionLogsEnabled: true
  backend: file
  file: {{path: "{log}"}}
"""


def install(folder: Path) -> Path | str:
    """Return the program, installed by npm into a folder, or in words why there is none."""
    if (found := shutil.which("cerbos")) is not None:
        return Path(found)
    npm = shutil.which("npm")
    if npm is None:
        return "there is no npm on this machine to install it with"
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), f"{PACKAGE}@{VERSION}"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_WITHIN, check=False)
    except subprocess.TimeoutExpired:
        return f"npm did not install {PACKAGE} within {INSTALL_WITHIN} s"
    program = folder / "node_modules" / PACKAGE / PACKAGE.rpartition("/")[2]
    if ended.returncode != 0 or not program.exists():
        return f"npm could not install {PACKAGE} {VERSION}"
    program.chmod(0o755)
    return program


def serve(program: Path, folder: Path) -> Server:
    """Return a server of it."""
    policies = folder / "policies"
    policies.mkdir(parents=True, exist_ok=True)
    (policies / "dataset.yaml").write_text(POLICY, "utf-8")
    settings = folder / "settings.yaml"
    command = [str(program), "server", "--log-level", "error", "--config", str(settings)]
    server = Server(command, folder, {"CERBOS_NO_TELEMETRY": "1"}, probe="/_cerbos/health")
    text = SETTINGS.format(http=server.port, grpc=free_port(), policies=policies, log=log(folder))
    settings.write_text(text, "utf-8")
    return server


def log(folder: Path) -> Path:
    """Return its decision log."""
    return folder / "decisions.log"


def has_logged(folder: Path) -> bool:
    """Tell whether decisions are in its log."""
    return log(folder).exists() and log(folder).stat().st_size > 0


def check(base: str, size: int) -> Request:
    """Ask about a dataset, with everything that the policy looks at."""
    dataset = f"bench/{{{{ randomInt(1, {size}) }}}}"
    attributes = {
        "tags": ["personal"],
        "recipient": "bench-recipient",
        "purpose": "analytics",
        "persons": 12,
        "permit": {
            "status": "active",
            "recipient": "bench-recipient",
            "purpose": "analytics",
            "used": 0,
            "quota": 900000,
        },
    }
    body = {
        "requestId": "bench",
        "principal": {"id": "bench-exporter", "roles": ["exporter"]},
        "resources": [{"actions": ["export"], "resource": {"kind": "dataset", "id": dataset, "attr": attributes}}],
    }
    return Request(url=f"{base}/api/check/resources", body=json.dumps(body), expects="EFFECT_ALLOW")
