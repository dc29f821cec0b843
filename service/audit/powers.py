"""Records the security-relevant settings of the service in the log, and compares the settings of a machine with the last record.

Such a setting decides on trust, on requirements or on durations; changing it leaves no trace in a table. A process that starts with other
values than those recorded last records its own before it serves requests.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import asyncpg
from sqlalchemy import text

from service.access.caller import OPERATOR
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.database.locks import POWERS_LOCK
from service.database.session import Transaction
from service.law.rule_book import RuleBook
from service.settings import Settings

ACTION: Final = AuditAction.SETTINGS_STATED
SUBJECT: Final = "settings"
POWER_SETTINGS: Final = (
    "public_url",
    "log_origin",
    "witnesses",
    "witness_max_age_seconds",
    "oidc_issuer",
    "oidc_audience",
    "oidc_client_id",
    "oidc_name_claim",
    "oidc_groups_claim",
    "oidc_groups",
    "oidc_machine_claims",
    "oidc_person_claims",
    "oidc_provision",
    "oidc_skew_seconds",
    "oidc_token_max_age_seconds",
    "session_idle_seconds",
    "session_seconds",
    "session_rotate_seconds",
    "export_lease_seconds",
    "keys_by_command",
    "trusted_proxies",
    "egress_allow",
    "cors_origins",
    "dangerously_allow_fsync_off",
)
"""Names of the settings that are recorded. None is a secret."""
OTHER_SETTINGS: Final = frozenset(
    {
        *("database_url", "database_app_url", "database_gate_url", "database_log_url", "database_pool"),
        *("database_timeout_seconds", "database_silence_seconds", "data_dir", "host", "port", "workers"),
        *("signing_key_file", "log_key_file", "packs_dir", "pack_worker", "pack_keep_days", "sequencer"),
        *("policy_file", "oidc_client_secret", "oidc_scopes", "oidc_keys_seconds", "gate_queue", "rate_per_second"),
        *("gate_rate_per_second", "public_rate_per_second", "failed_rate_per_second", "client_timeout_seconds"),
        *("max_connections", "max_connections_per_address", "body_limit_bytes", "request_timeout_seconds"),
        *("log_format", "log_level"),
    }
)
"""Settings that are not recorded: places, secrets and bounds. The hash of the policy file is recorded instead of its path."""

NAMES_IN_LOG: Final[Mapping[str, str]] = {"egress_allow": "outgoing_allow"}
"""Names under which entries state a setting that was renamed since: an entry's members never change."""
# With the new name in entries, each start of a version before or after the renaming would state a change that nobody made.
_PRESENT_NAMES: Final = {stated: name for name, stated in NAMES_IN_LOG.items()}

_LAST: Final = f"select body from entries where subject = '{SUBJECT}' and action = '{ACTION}' order by seq desc limit 1"  # noqa: S608  # nosec B608


def powers_of(settings: Settings, book: RuleBook) -> dict[str, Any]:
    """Return the recorded settings by their names in the log, and the hashes of the law and of the policy."""
    values = settings.model_dump(mode="json", include=set(POWER_SETTINGS))
    stated = {NAMES_IN_LOG.get(name, name): value for name, value in values.items()}
    return stated | {"law": book.version, "policy": None if book.policy is None else book.policy.hash}


async def record_powers(tx: Transaction, settings: Settings, book: RuleBook) -> None:
    """Record the settings if they differ from those recorded last."""
    await tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": POWERS_LOCK})
    powers = powers_of(settings, book)
    last = await tx.scalar(text(_LAST))
    if last is None or differing_names(last, powers):
        audit.append(tx, OPERATOR, ACTION, SUBJECT, details={"settings": powers})


def differing_names(body: str, powers: dict[str, Any]) -> list[str]:
    """Return the present names of settings whose values differ from those in an entry's body, in order."""
    stated = json.loads(body)["details"]["settings"]
    names = (name for name in powers.keys() | stated.keys() if powers.get(name) != stated.get(name))
    return sorted(_PRESENT_NAMES.get(name, name) for name in names)


async def find_changed_settings(connection: asyncpg.Connection, settings: Settings, book: RuleBook) -> list[str]:
    """Return the names of settings of this machine that differ from those that the service recorded last."""
    last = await connection.fetchval(_LAST)
    return [] if last is None else differing_names(last, powers_of(settings, book))
