"""The table of entries; triggers in the database refuse to change, delete or truncate it."""

from sqlalchemy import BigInteger, Identity, Index, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base, Id, Moment


class Entry(Base):
    """One act: the columns repeat what the body says, so that entries can be found."""

    __tablename__ = "entries"

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[Moment]
    actor: Mapped[str] = mapped_column(Id)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Id)
    handler: Mapped[str | None] = mapped_column(Id)
    body: Mapped[str] = mapped_column(Text)
    """Canonical JSON (RFC 8785) of at, actor, action, subject, handler and details."""
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 over the UTF-8 bytes of `body`."""

    __table_args__ = (Index(None, "subject", "seq"), Index(None, "handler", "seq"))
