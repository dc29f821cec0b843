"""Every setting of the service, read from the environment with the prefix `OUTBOUND_`."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.connections import SILENCE

_ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?")

_REACHED_AT: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nosec B104 - nothing is bound here
"""Where one who listens everywhere is reached from the same machine."""

FORMER_NAMES: Final[Mapping[str, str]] = {
    "client_timeout_seconds": "patience_seconds",
    "max_connections": "connections",
    "max_connections_per_address": "connections_per_address",
    "egress_allow": "outgoing_allow",
}
"""Former names of settings by their present ones. The environment may use either for one release; none of them is a secret."""


def _listed(value: str) -> list[str]:
    return [one.strip() for one in value.split(",") if one.strip()]


def _environment() -> dict[str, str]:
    """Return the variables that are not empty, by their names in lower case: names of settings are compared without case."""
    return {name.lower(): value for name, value in os.environ.items() if value}


def describe_former_names() -> Iterator[str]:
    """Return a sentence for each setting that the environment sets by its former name."""
    variables = _environment()
    for name, former in FORMER_NAMES.items():
        old_value, value = variables.get(f"outbound_{former}"), variables.get(f"outbound_{name}")
        if old_value is None:
            continue
        old_variable, variable = f"OUTBOUND_{former.upper()}", f"OUTBOUND_{name.upper()}"
        conflict = f"; both are set and differ: {variable} is used" if value not in {None, old_value} else ""
        yield f"{old_variable} is now {variable}; the old name is accepted for one release{conflict}"


class _FormerNames(PydanticBaseSettingsSource):
    """Values that the environment sets by a setting's former name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - pydantic's signature
        """Return the value of a renamed setting, None if it is not set by its former name."""
        former = FORMER_NAMES.get(field_name)
        return (None if former is None else _environment().get(f"outbound_{former}")), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return all of them."""
        values = {name: self.get_field_value(self.settings_cls.model_fields[name], name)[0] for name in FORMER_NAMES}
        return {name: value for name, value in values.items() if value is not None}


class _SecretFiles(PydanticBaseSettingsSource):
    """Secrets in files, as containers have them: one a file, without its last line break."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the secret of a field, if it is one and a file is named for it."""
        path = os.environ.get(f"OUTBOUND_{field_name.upper()}_FILE")
        if not path or "SecretStr" not in str(field.annotation):
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"The file that OUTBOUND_{field_name.upper()}_FILE names cannot be read.") from error

    def __call__(self) -> dict[str, Any]:
        """Return all of them."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class GroupRole(BaseModel):
    """A group of the identity provider, and the role that it stands for: on one handler (its key or id), or on all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group: str
    role: str
    handler: str | None = None


class Settings(BaseSettings):
    """What an operator may set; each field is the environment variable of the same name after `OUTBOUND_`."""

    model_config = SettingsConfigDict(
        env_prefix="OUTBOUND_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    database_url: SecretStr | None = None
    """`postgresql://user:password@host:port/name` of the owner; unset: the embedded server under `data_dir`."""

    database_app_url: SecretStr | None = None
    """The same for the role `outbound_app`, which requests run as; unset: the owner's login acts as it."""

    database_gate_url: SecretStr | None = None
    """The same for the role `outbound_gate`, which the gate decides as."""

    database_log_url: SecretStr | None = None
    """The same for the role `outbound_log`, which extends the log."""

    data_dir: Path = Path(".outbound")
    """Where the embedded database and the signing key live."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1

    public_url: str | None = None
    """The address that callers use; unset: that of `host` and `port`, which no other machine may be able to use."""

    signing_key_file: Path | None = None
    """Ed25519 private key in PEM that signs permit tokens; unset: made once under `data_dir`."""

    packs_dir: Path | None = None
    """Where the files of evidence packs are, shared by all replicas; unset: `packs` under `data_dir`."""

    pack_worker: bool = True
    """Whether this server process makes evidence packs; any of them that does will."""

    pack_keep_days: Annotated[int, Field(ge=1, le=3660)] = 30
    """How long the file of an evidence pack is kept."""

    log_key_file: Path | None = None
    """Ed25519 private key in PEM that signs checkpoints of the log; unset: made once under `data_dir`."""

    log_origin: str | None = None
    """The name of the log when it is begun, like `audit.example.com/outbound`; unset: made up once, and kept in the database."""

    sequencer: bool = True
    """Whether this server process takes part in keeping the log going: one of them leads, the others wait to take over."""

    witnesses: str = ""
    """Who cosigns the log: `<verifier key> <address>`, as `outbound witness` prints it; several by comma."""

    witness_max_age_seconds: Annotated[int, Field(ge=1)] | None = None
    """How old the youngest cosignature may be for the log to be called healthy; unset: none is asked for."""

    policy_file: Path | None = None
    """The company's own rules in TOML; they can only be stricter than the law."""

    oidc_issuer: str | None = None
    """The identity provider, as it calls itself; unset: API keys and `outbound login-link` alone."""

    oidc_audience: str | None = None
    """What access tokens for this service have as their audience."""

    oidc_client_id: str | None = None
    """The client under which people sign in to the console; unset: no sign-in through the provider."""

    oidc_client_secret: SecretStr | None = None
    """The client's secret; unset: a public client, which PKCE alone protects."""

    oidc_scopes: str = "openid profile"
    """What is asked for at sign-in."""

    oidc_name_claim: str = "name"
    """The claim with the name of a principal that is made at first sight."""

    oidc_groups_claim: str = "groups"
    """The claim with the groups that `oidc_groups` maps; a path with dots leads into objects."""

    oidc_groups: tuple[GroupRole, ...] = ()
    """JSON: which group stands for which role."""

    oidc_machine_claims: dict[str, tuple[str, ...]] = {}
    """JSON: the texts that claims have in a machine's token, `*` for anything, beside the signs of providers that are known."""

    oidc_person_claims: tuple[str, ...] | None = None
    """JSON: claims of which each makes it certain that an access token is a person's; unset: what signing in leaves, and names."""

    oidc_provision: bool = False
    """Whether somebody whom the provider knows, and this service does not, becomes a principal at first sight."""

    oidc_skew_seconds: Annotated[int, Field(ge=0, le=600)] = 60
    """By how much the provider's clock may differ."""

    oidc_token_max_age_seconds: Annotated[int, Field(ge=60, le=30 * 24 * 3600)] = 24 * 3600
    """How long ago a token may have been issued, whatever it says itself."""

    oidc_keys_seconds: Annotated[int, Field(ge=10, le=24 * 3600)] = 600
    """How long the provider's keys are used before they are fetched again; six times as long while it is away."""

    session_idle_seconds: Annotated[int, Field(ge=60, le=24 * 3600)] = 1800
    """After how long without use a session in a browser ends."""

    session_seconds: Annotated[int, Field(ge=60, le=7 * 24 * 3600)] = 12 * 3600
    """After how long it ends, however much it was used."""

    session_rotate_seconds: Annotated[int, Field(ge=1, le=24 * 3600)] = 900
    """How old its token is when it is replaced."""

    egress_allow: str = ""
    """Hosts, or `host:port`, that may be called without TLS and on private addresses where somebody else names them; several by comma."""

    export_lease_seconds: Annotated[int, Field(ge=1, le=30 * 24 * 3600)] = 3600
    """How long a reserved export may stay without a report before it lapses and gives its quota back."""

    gate_queue: Annotated[int, Field(ge=1000, le=1_000_000)] = 50_000
    """How many questions may wait to be decided in one server process; more are told to come back (503)."""

    rate_per_second: Annotated[float, Field(ge=0)] = 500.0
    """Requests of one key that one server process takes, beside those of the gate; ten times as many at once. 0: no limit."""

    gate_rate_per_second: Annotated[float, Field(ge=0)] = 0.0
    """Questions and exports of one key that one server process decides; ten times as many at once. 0: no limit."""

    public_rate_per_second: Annotated[float, Field(ge=0)] = 200.0
    """Requests of one address, by callers who are not known yet; ten times as many at once. 0: no limit."""

    failed_rate_per_second: Annotated[float, Field(ge=0)] = 50.0
    """Attempts of one address that may be answered 401; ten times as many at once. 0: no limit."""

    trusted_proxies: str = ""
    """Addresses or networks of proxies, by comma, whose `X-Forwarded-For` tells the address of a caller."""

    client_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    """How long a connection may be without progress: one to two of these."""

    max_connections: Annotated[int, Field(ge=10, le=1_000_000)] = 900
    """Connections that one server process holds at most."""

    max_connections_per_address: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Connections of one address that one server process holds until their caller is known; not those of `trusted_proxies`."""

    cors_origins: str = ""
    """Origins, like `https://tools.example.com`, by comma, whose pages may call the API from a browser, never with cookies."""

    body_limit_bytes: Annotated[int, Field(ge=1024)] = 1024 * 1024
    """The largest request body; an import may be sixteen times as large."""

    database_pool: Annotated[int, Field(ge=1, le=500)] = 10
    """Connections to PostgreSQL that one server process keeps."""

    database_timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    """How long one statement may take before the caller is told to come back (503)."""

    database_silence_seconds: Annotated[float, Field(gt=0, le=60)] = SILENCE
    """How long a session of ours may say nothing in a transaction, or with the gate's lock, before PostgreSQL ends it."""

    request_timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    """How long the work for one request may take, whatever its statements are, before the caller is told to come back (503)."""

    keys_by_command: bool = True
    """Whether `outbound keys create` makes keys; false: keys and roles come from admins alone, and those of reviewers from two."""

    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("database_url", "database_app_url", "database_gate_url", "database_log_url")
    @classmethod
    def _is_an_address(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse what is no address here: others would show the password that is in it."""
        if value is not None:
            try:
                parts = urlsplit(value.get_secret_value())
                is_one = parts.scheme in {"postgres", "postgresql"} and (parts.port or 1) > 0
            except ValueError:
                is_one = False
            if not is_one:
                raise ValueError(
                    "OUTBOUND_DATABASE_URL, and each address beside it, must start with postgresql:// and be one; "
                    "write special characters of the password as %XX"
                )
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in _listed(value):
            if not _ORIGIN.fullmatch(origin):
                raise ValueError("an origin is https://host or https://host:port, in full, and never *")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read former names, then the files that `OUTBOUND_<NAME>_FILE` names, for what is not set by its name."""
        return (
            init_settings,
            env_settings,
            _FormerNames(settings_cls),
            dotenv_settings,
            _SecretFiles(settings_cls),
            file_secret_settings,
        )

    @property
    def cors_allowed(self) -> frozenset[str]:
        """The origins whose pages may call the API."""
        return frozenset(_listed(self.cors_origins))

    @property
    def base_url(self) -> str:
        """What this service says its address is, whatever a caller calls it: it stands in what is signed and in what caches keep."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        host = _REACHED_AT.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def signing_key(self) -> Path:
        """The file of the key that signs permit tokens."""
        return self.signing_key_file or self.data_dir / "signing_key.pem"

    @property
    def log_key(self) -> Path:
        """The file of the key that signs checkpoints of the log."""
        return self.log_key_file or self.data_dir / "log_key.pem"

    @property
    def sample_file(self) -> Path:
        """File of shell variables that `outbound serve --sample` writes."""
        return self.data_dir / "sample.env"

    @property
    def egress_allowed(self) -> frozenset[str]:
        """The hosts that may be called wherever they are."""
        return frozenset(host.lower() for host in _listed(self.egress_allow))

    @property
    def packs(self) -> Path:
        """The folder of evidence packs."""
        return self.packs_dir or self.data_dir / "packs"
