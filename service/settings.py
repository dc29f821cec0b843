"""Reads the settings of the service from environment variables with the prefix `OUTBOUND_`."""

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

_LOCAL_ADDRESSES: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nosec B104 - nothing is bound here
"""Addresses of this machine by the wildcard addresses to listen on."""

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "Listening": (
        "host",
        "port",
        "workers",
        "public_url",
    ),
    "Database": (
        "database_url",
        "database_app_url",
        "database_gate_url",
        "database_log_url",
        "data_dir",
        "database_pool",
        "database_timeout_seconds",
        "database_silence_seconds",
        "dangerously_allow_fsync_off",
    ),
    "Keys and audit log": (
        "signing_key_file",
        "log_key_file",
        "log_origin",
        "sequencer",
        "witnesses",
        "witness_max_age_seconds",
    ),
    "Evidence packs": (
        "packs_dir",
        "pack_worker",
        "pack_keep_days",
    ),
    "Sign-in and roles": (
        "oidc_issuer",
        "oidc_audience",
        "oidc_client_id",
        "oidc_client_secret",
        "oidc_scopes",
        "oidc_name_claim",
        "oidc_groups_claim",
        "oidc_groups",
        "oidc_machine_claims",
        "oidc_person_claims",
        "oidc_provision",
        "oidc_skew_seconds",
        "oidc_token_max_age_seconds",
        "oidc_keys_seconds",
        "session_idle_seconds",
        "session_seconds",
        "session_rotate_seconds",
        "keys_by_command",
    ),
    "Gate and policy": (
        "policy_file",
        "export_lease_seconds",
        "gate_queue",
    ),
    "Limits": (
        "rate_per_second",
        "gate_rate_per_second",
        "public_rate_per_second",
        "failed_rate_per_second",
        "client_timeout_seconds",
        "request_timeout_seconds",
        "max_connections",
        "max_connections_per_address",
        "body_limit_bytes",
    ),
    "Proxies, CORS and egress": (
        "trusted_proxies",
        "cors_origins",
        "egress_allow",
    ),
    "Log output": (
        "log_format",
        "log_level",
    ),
}
"""Settings by the heading of their group in docs/operators.md, in the order of `Settings`."""

FORMER_NAMES: Final[Mapping[str, str]] = {
    "client_timeout_seconds": "patience_seconds",
    "max_connections": "connections",
    "max_connections_per_address": "connections_per_address",
    "egress_allow": "outgoing_allow",
}
"""Former names of settings by their present ones. The environment may use either for one release; none of them is a secret."""


def _split_list(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


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
    """Secrets in files, as containers mount them: one secret in each file, without the last line break."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the secret of a field, None if it is no secret or no file is named for it."""
        path = os.environ.get(f"OUTBOUND_{field_name.upper()}_FILE")
        if not path or "SecretStr" not in str(field.annotation):
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"The file that OUTBOUND_{field_name.upper()}_FILE names cannot be read.") from error

    def __call__(self) -> dict[str, Any]:
        """Return all of them."""
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


class GroupRole(BaseModel):
    """Mapping of a group of the identity provider to a role, on one handler (key or id) or on all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group: str
    role: str
    handler: str | None = None


class Settings(BaseSettings):
    """Settings of the service; each field is the environment variable of its name after `OUTBOUND_`.

    Example:
        OUTBOUND_PORT=8080
        OUTBOUND_DATABASE_URL_FILE=/run/secrets/url
        OUTBOUND_OIDC_GROUPS='[{"group": "legal", "role": "reviewer:legal"}]'
    """

    model_config = SettingsConfigDict(
        env_prefix="OUTBOUND_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    # Listening
    host: str = "127.0.0.1"
    """Address to listen on."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0: any free one."""

    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Number of server processes."""

    public_url: str | None = None
    """Address that callers use; unset: `host` and `port`, which another machine may not reach."""

    # Database
    database_url: SecretStr | None = None
    """Login of the owner, `postgresql://user:password@host:port/name`; unset: the embedded server under `data_dir`."""

    database_app_url: SecretStr | None = None
    """Login of the role `outbound_app`, for requests; unset: the owner's login, which switches to the role."""

    database_gate_url: SecretStr | None = None
    """Login of the role `outbound_gate`, for the gate's decisions; unset: likewise."""

    database_log_url: SecretStr | None = None
    """Login of the role `outbound_log`, for the sequencer of the log; unset: likewise."""

    data_dir: Path = Path(".outbound")
    """Folder of the embedded database, of generated keys, and of evidence packs."""

    database_pool: Annotated[int, Field(ge=1, le=500)] = 10
    """Connections to PostgreSQL that one server process keeps."""

    database_timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Time-out of one statement, after which the answer is 503."""

    database_silence_seconds: Annotated[float, Field(gt=0, le=60)] = SILENCE
    """Time for which a session may be idle in a transaction, or with the gate's lock, before PostgreSQL ends it."""

    dangerously_allow_fsync_off: bool = False
    """Start on a PostgreSQL with `fsync = off`, which loses acknowledged answers when its machine crashes; for tests alone."""

    # Keys and audit log
    signing_key_file: Path | None = None
    """Ed25519 private key in PEM that signs permit tokens; unset: generated once under `data_dir`."""

    log_key_file: Path | None = None
    """Ed25519 private key in PEM that signs checkpoints of the log; unset: generated once under `data_dir`."""

    log_origin: str | None = None
    """Name of the log, like `audit.example.com/outbound`, read once at its beginning; unset: generated, and kept in the database."""

    sequencer: bool = True
    """True if this server process takes part in the election of the log's leader."""

    witnesses: str = ""
    """Witnesses that cosign the log: `<verifier key> <address>`, as `outbound witness` prints it, separated by commas."""

    witness_max_age_seconds: Annotated[int, Field(ge=1)] | None = None
    """Maximal age of the youngest cosignature in a healthy log; unset: a healthy log needs none."""

    # Evidence packs
    packs_dir: Path | None = None
    """Folder of the files of evidence packs, shared by all replicas; unset: `packs` under `data_dir`."""

    pack_worker: bool = True
    """True if this server process builds evidence packs."""

    pack_keep_days: Annotated[int, Field(ge=1, le=3660)] = 30
    """Days for which the file of an evidence pack is kept."""

    # Sign-in and roles
    oidc_issuer: str | None = None
    """Issuer identifier of the identity provider; unset: API keys and `outbound login-link` only."""

    oidc_audience: str | None = None
    """Audience of access tokens for this service."""

    oidc_client_id: str | None = None
    """Client with which people sign in by browser; unset: no sign-in through the provider."""

    oidc_client_secret: SecretStr | None = None
    """Secret of the client; unset: a public client, which PKCE alone protects."""

    oidc_scopes: str = "openid profile"
    """Scopes that a sign-in requests."""

    oidc_name_claim: str = "name"
    """Claim with the name of a principal that is provisioned."""

    oidc_groups_claim: str = "groups"
    """Claim with the groups that `oidc_groups` maps; a path with dots leads into objects."""

    oidc_groups: tuple[GroupRole, ...] = ()
    """Mapping of groups to roles, in JSON."""

    oidc_machine_claims: dict[str, tuple[str, ...]] = {}
    """Patterns of claims that identify a machine, in JSON, in addition to those of known providers; `*` matches any text."""

    oidc_person_claims: tuple[str, ...] | None = None
    """Claims, in JSON, any of which proves that an access token is a person's; unset: those of a sign-in, and names."""

    oidc_provision: bool = False
    """True if an unknown subject becomes a principal at the first sign-in."""

    oidc_skew_seconds: Annotated[int, Field(ge=0, le=600)] = 60
    """Tolerated difference from the provider's clock."""

    oidc_token_max_age_seconds: Annotated[int, Field(ge=60, le=30 * 24 * 3600)] = 24 * 3600
    """Maximal age of a token since it was issued, whatever its `exp`."""

    oidc_keys_seconds: Annotated[int, Field(ge=10, le=24 * 3600)] = 600
    """Time for which the provider's keys are cached; six times as long while it is unavailable."""

    session_idle_seconds: Annotated[int, Field(ge=60, le=24 * 3600)] = 1800
    """Idle time-out of a browser's session."""

    session_seconds: Annotated[int, Field(ge=60, le=7 * 24 * 3600)] = 12 * 3600
    """Absolute time-out of a browser's session."""

    session_rotate_seconds: Annotated[int, Field(ge=1, le=24 * 3600)] = 900
    """Age at which a session's token is rotated."""

    keys_by_command: bool = True
    """True if `outbound keys create` makes keys; false: admins alone do, and a reviewer's role needs two of them."""

    # Gate and policy
    policy_file: Path | None = None
    """The company's own rules in TOML, which can only be stricter than the law."""

    export_lease_seconds: Annotated[int, Field(ge=1, le=30 * 24 * 3600)] = 3600
    """Lease of a reserved export: without a report it then lapses and gives its quota back."""

    gate_queue: Annotated[int, Field(ge=1000, le=1_000_000)] = 50_000
    """Questions that may wait in one server process; more are answered 503."""

    # Limits
    rate_per_second: Annotated[float, Field(ge=0)] = 500.0
    """Refill rate of the token bucket of one key, without the gate's requests, in one server process. 0: no limit."""

    gate_rate_per_second: Annotated[float, Field(ge=0)] = 0.0
    """Refill rate for the questions and exports of one key. 0: no limit."""

    public_rate_per_second: Annotated[float, Field(ge=0)] = 200.0
    """Refill rate for the requests of one address by callers who are not authenticated yet. 0: no limit."""

    failed_rate_per_second: Annotated[float, Field(ge=0)] = 50.0
    """Refill rate for answers 401 to one address. 0: no limit."""

    client_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    """Time-out of a connection without progress: it ends after one to two of these."""

    request_timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Time-out of the work for one request, all statements together, after which the answer is 503."""

    max_connections: Annotated[int, Field(ge=10, le=1_000_000)] = 900
    """Maximal number of connections of one server process."""

    max_connections_per_address: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Maximal number of connections of one address before authentication; `trusted_proxies` are exempt."""

    body_limit_bytes: Annotated[int, Field(ge=1024)] = 1024 * 1024
    """Maximal size of a request body; an import may be sixteen times as large."""

    # Proxies, CORS and egress
    trusted_proxies: str = ""
    """Addresses or networks of proxies, separated by commas, whose `X-Forwarded-For` names the caller's address."""

    cors_origins: str = ""
    """Origins, like `https://tools.example.com`, separated by commas, whose pages may call the API from a browser, never with cookies."""

    egress_allow: str = ""
    """Hosts, or `host:port`, separated by commas, that egress may reach without TLS and on private addresses."""

    # Log output
    log_format: Literal["text", "json"] = "text"
    """Format of log lines: text for people, JSON for collectors."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written."""

    @field_validator("database_url", "database_app_url", "database_gate_url", "database_log_url")
    @classmethod
    def _is_an_address(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse an address that is not PostgreSQL's."""
        # A driver that refuses it would quote the address, and the password with it.
        if value is not None:
            try:
                parts = urlsplit(value.get_secret_value())
                is_address = parts.scheme in {"postgres", "postgresql"} and (parts.port or 1) > 0
            except ValueError:
                is_address = False
            if not is_address:
                raise ValueError(
                    "OUTBOUND_DATABASE_URL, and the addresses of the other roles, must start with postgresql:// and be valid; "
                    "write special characters of the password as %XX"
                )
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in _split_list(value):
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
        """Origins whose pages may call the API."""
        return frozenset(_split_list(self.cors_origins))

    @property
    def base_url(self) -> str:
        """Address of this service, for signed documents and cached answers; never taken from a request."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        host = _LOCAL_ADDRESSES.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def signing_key(self) -> Path:
        """File of the key that signs permit tokens."""
        return self.signing_key_file or self.data_dir / "signing_key.pem"

    @property
    def log_key(self) -> Path:
        """File of the key that signs checkpoints of the log."""
        return self.log_key_file or self.data_dir / "log_key.pem"

    @property
    def sample_file(self) -> Path:
        """File of shell variables that `outbound serve --sample` writes."""
        return self.data_dir / "sample.env"

    @property
    def egress_allowed(self) -> frozenset[str]:
        """Hosts that egress may reach at any address."""
        return frozenset(host.lower() for host in _split_list(self.egress_allow))

    @property
    def packs(self) -> Path:
        """Folder of evidence packs."""
        return self.packs_dir or self.data_dir / "packs"
