"""Every setting of the service, read from the environment with the prefix `OUTBOUND_`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class GroupRole(BaseModel):
    """A group of the identity provider, and the role that it stands for: on one handler (its key or id), or on all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group: str
    role: str
    handler: str | None = None


class Settings(BaseSettings):
    """What an operator may set; each field is the environment variable of the same name after `OUTBOUND_`."""

    model_config = SettingsConfigDict(env_prefix="OUTBOUND_", env_ignore_empty=True, frozen=True)

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
    """The address that callers use, when it differs from the one that a request arrives at (a proxy)."""

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

    oidc_provision: bool = False
    """Whether somebody whom the provider knows, and this service does not, becomes a principal at first sight."""

    oidc_skew_seconds: Annotated[int, Field(ge=0, le=600)] = 60
    """By how much the provider's clock may differ."""

    oidc_token_max_age_seconds: Annotated[int, Field(ge=60, le=30 * 24 * 3600)] = 24 * 3600
    """How long ago a token may have been issued, whatever it says itself."""

    oidc_keys_seconds: Annotated[int, Field(ge=10, le=24 * 3600)] = 600
    """How long the provider's keys are used before they are fetched again; six times as long while it is away."""

    outgoing_allow: str = ""
    """Hosts, or `host:port`, that may be called without TLS and on private addresses where somebody else names them; several by comma."""

    export_lease_seconds: Annotated[int, Field(ge=1, le=30 * 24 * 3600)] = 3600
    """How long a reserved export may stay without a report before it lapses and gives its quota back."""

    gate_queue: Annotated[int, Field(ge=1000, le=1_000_000)] = 50_000
    """How many questions may wait to be decided in one server process; more are told to come back (503)."""

    body_limit_bytes: Annotated[int, Field(ge=1024)] = 1024 * 1024
    """The largest request body; an import may be sixteen times as large."""

    database_pool: Annotated[int, Field(ge=1, le=500)] = 10
    """Connections to PostgreSQL that one server process keeps."""

    database_timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    """How long one statement may take before the caller is told to come back (503)."""

    keys_by_command: bool = True
    """Whether `outbound keys create` makes keys; false: keys and roles come from admins alone, and those of reviewers from two."""

    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def signing_key(self) -> Path:
        """The file of the key that signs permit tokens."""
        return self.signing_key_file or self.data_dir / "signing_key.pem"

    @property
    def log_key(self) -> Path:
        """The file of the key that signs checkpoints of the log."""
        return self.log_key_file or self.data_dir / "log_key.pem"

    @property
    def outgoing_allowed(self) -> frozenset[str]:
        """The hosts that may be called wherever they are."""
        return frozenset(filter(None, (host.strip().lower() for host in self.outgoing_allow.split(","))))

    @property
    def packs(self) -> Path:
        """The folder of evidence packs."""
        return self.packs_dir or self.data_dir / "packs"
