"""Normalizes keys of datasets, handlers and recipients, so that spellings of one key compare equal.

Tools write one table in several ways: a warehouse's lineage in capitals, a modelling tool in small letters, a catalogue with quotes, a
path with a slash at its end, an address with or without the default port. Keys whose folded forms are equal are twins: they count as one
thing, until two persons declare them distinct.
Source: Unicode Standard 3.13 (caseless matching), UAX 31 (default-ignorable code points); ports as IANA or the vendors assign them.
"""

import re
import unicodedata
from typing import Final
from urllib.parse import unquote

_PORTS: Final = {
    "clickhouse": {"8123", "9000"},
    "cassandra": {"9042"},
    "db2": {"50000"},
    "dremio": {"31010"},
    "ftp": {"21"},
    "hdfs": {"8020", "9000"},
    "hive": {"10000"},
    "hive2": {"10000"},
    "http": {"80"},
    "https": {"443"},
    "kafka": {"9092"},
    "mariadb": {"3306"},
    "mongodb": {"27017"},
    "mssql": {"1433"},
    "mysql": {"3306"},
    "oracle": {"1521"},
    "postgres": {"5432"},
    "presto": {"8080"},
    "redis": {"6379"},
    "redshift": {"5439"},
    "sftp": {"22"},
    "sqlserver": {"1433"},
    "teradata": {"1025"},
    "trino": {"8080"},
}
_SCHEMES: Final = {"postgresql": "postgres", "s3a": "s3", "s3n": "s3", "gcs": "gs"}
"""Other names of a scheme, by which tools reach the same thing."""
_QUOTES: Final = frozenset("\"`'[]´") | {chr(0x2032), chr(0x2033)}
_UNSEEN: Final = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
_SCHEME: Final = re.compile(r"(?:jdbc:)?([a-z][a-z0-9+.-]*):/+(.*)", re.DOTALL)
_PORT: Final = re.compile(r"([^/]*):([0-9]+)")
_SEPARATORS: Final = "/.:;,|"


def folded_key(key: str) -> str:
    """Return the normal form of a key, which all its spellings share.

    Letter case, Unicode form, quoting (also by percent signs), spaces at separators, doubled and trailing separators, and the default port
    of a known scheme make no difference.

    Example:
        folded_key("postgresql://db:5432/CRM.Customers/") == folded_key("postgres://db/crm.customers")
    """
    plain = _plain(unquote(_plain(key)))
    address_match = _SCHEME.fullmatch(plain)
    if address_match is None:
        return _path(plain) or plain or key
    scheme = _SCHEMES.get(address_match[1], address_match[1])
    host, slash, rest = address_match[2].partition("/")
    address = _PORT.fullmatch(host)
    if address is not None and address[2] in _PORTS.get(scheme, ()):
        host = address[1]
    return f"{scheme}://{_path(host + slash + rest)}"


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    seen = _UNSEEN.sub("", folded.replace("\\", "/"))
    bare = "".join(
        character
        for character in seen
        if character not in _QUOTES and unicodedata.category(character) not in {"Pi", "Pf"}
    )
    return " ".join(bare.split())


def _path(text: str) -> str:
    for separator in _SEPARATORS:
        text = re.sub(f" *{re.escape(separator)}[ {re.escape(separator)}]*", separator, text)
    return text.strip(_SEPARATORS + " ")
