"""Tables of the running log."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, LargeBinary, SmallInteger, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from service.audit.tlog.witness_protocol import Trouble
from service.database.columns import Base, Key, Timestamp


class LogTile(Base):
    """256 hashes of 8 levels of the tree, side by side; the last one of each level grows until it is full.

    Source: C2SP tlog-tiles.
    """

    __tablename__ = "log_tiles"

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hashes: Mapped[bytes] = mapped_column(LargeBinary)


class StoredCheckpoint(Base):
    """Signed checkpoint: size and root of the log."""

    __tablename__ = "checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    note: Mapped[str] = mapped_column(Text)
    at: Mapped[Timestamp]


class LogKey(Base):
    """Verifier key of the log and its period of use."""

    __tablename__ = "log_keys"

    vkey: Mapped[str] = mapped_column(Key, primary_key=True)
    since: Mapped[Timestamp]
    until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class LogState(Base):
    """Single row with the progress of the sequencer."""

    __tablename__ = "log_state"

    origin: Mapped[str] = mapped_column(Key, primary_key=True)
    watermark: Mapped[int] = mapped_column(BigInteger)
    """No transaction can commit a number up to this one any more; all such entries are in the tree."""
    size: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("uq_log_state_one", text("(true)"), unique=True),)


class Cosignature(Base):
    """Cosignature of a witness on a checkpoint."""

    __tablename__ = "cosignatures"

    size: Mapped[int] = mapped_column(ForeignKey("checkpoints.size"), primary_key=True, autoincrement=False)
    witness: Mapped[str] = mapped_column(Key, primary_key=True)
    """Its verifier key."""
    line: Mapped[str] = mapped_column(Text)
    at: Mapped[Timestamp] = mapped_column(primary_key=True)

    __table_args__ = (Index(None, "witness", "at"),)


class WitnessReport(Base):
    """Last change in the result of requests to a witness."""

    __tablename__ = "witness_reports"

    witness: Mapped[str] = mapped_column(Key, primary_key=True)
    """Its verifier key."""
    trouble: Mapped[Trouble | None] = mapped_column(Text)
    detail: Mapped[str | None] = mapped_column(Text)
    since: Mapped[Timestamp]
