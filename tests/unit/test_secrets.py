"""Secrets come from settings or files, and show in no repr and no complaint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from service.access.caller import KeyCredential
from service.audit.log.log_key import LogKey
from service.audit.tlog.signed_note import Signer as LogSigner
from service.database.session import Database
from service.http.rate_limits import RateLimiter, credential_of
from service.identity.api_keys import Secret
from service.key_files import read_or_create
from service.permits.tokens import Signer
from service.settings import Settings

PASSWORD = "planted-correct-horse"
URL = f"postgresql://outbound:{PASSWORD}@db:5432/outbound"


def test_nothing_that_holds_a_secret_shows_it(tmp_path: Path) -> None:
    pem = read_or_create(tmp_path / "key.pem")
    body = pem.decode().splitlines()[1]
    key = Secret.new()
    log_key = LogKey(tmp_path / "key.pem")
    limits = RateLimiter()
    limits.record_answer({"type": "http"}, credential_of(f"Bearer {key.text}", None), 200)
    things = [
        Settings(database_url=SecretStr(URL)),
        key,
        KeyCredential(key.prefix, key.sha256),
        Signer(pem),
        log_key,
        log_key.signer("example.com/log"),
        LogSigner(pem, "example.com/log"),
        Database(URL),
        Database(URL).engine,
        limits,
    ]
    for thing in things:
        for shown in (repr(thing), str(thing), f"{thing}", repr([thing])):
            assert PASSWORD not in shown
            assert key.text not in shown
            assert key.text[-52:] not in shown
            assert key.sha256.hex() not in shown
            assert repr(key.sha256) not in shown
            assert body not in shown


def test_a_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "database_url"
    file.write_text(f"{URL}\n")
    monkeypatch.setenv("OUTBOUND_DATABASE_URL_FILE", str(file))
    found = Settings().database_url
    assert found is not None
    assert found.get_secret_value() == URL
    monkeypatch.setenv("OUTBOUND_DATABASE_URL", "postgresql://other/db")
    assert Settings().database_url == SecretStr("postgresql://other/db"), "what is set itself comes first"
    monkeypatch.delenv("OUTBOUND_DATABASE_URL")
    monkeypatch.setenv("OUTBOUND_DATABASE_URL_FILE", str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="OUTBOUND_DATABASE_URL_FILE"):
        Settings()


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://outbound:{PASSWORD}@db/outbound",
        f"postgresql//outbound:{PASSWORD}@db/outbound",
        f"postgresql://outbound:a/{PASSWORD}@db/outbound",
        f"postgresql://db:{PASSWORD}/outbound",
        f"postgresql://outbound:{PASSWORD}@[db/outbound",
        PASSWORD,
    ],
)
def test_an_address_of_a_database_that_is_none_is_refused_without_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(database_url=SecretStr(url))
    assert PASSWORD not in str(refused.value)
    assert "must start with postgresql://" in str(refused.value)
    if not url.startswith("mysql"):
        return
    for command in ("migrate", "serve"):
        told = subprocess.run(
            [str(Path(sys.executable).with_name("outbound")), command],
            env={"OUTBOUND_DATABASE_URL": url, "OUTBOUND_DATA_DIR": str(tmp_path), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (told.returncode, PASSWORD in told.stdout + told.stderr) == (1, False)
        assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    "origins", ["*", "https://*", "https://a.example/path", "a.example", "null", "https://a.example,*"]
)
def test_an_origin_is_named_in_full(origins: str) -> None:
    with pytest.raises(ValidationError):
        Settings(cors_origins=origins)
    assert Settings(cors_origins="https://a.example, http://localhost:3000").cors_allowed == {
        "https://a.example",
        "http://localhost:3000",
    }
