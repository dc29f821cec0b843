"""The table of entries; triggers in the database refuse to change, delete or truncate it. And the openings of what is sealed in them."""

from sqlalchemy import BigInteger, Identity, Index, LargeBinary, Text
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship

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

    openings: Mapped[list["Opening"]] = relationship(
        primaryjoin=lambda: Entry.seq == foreign(Opening.seq), order_by=lambda: Opening.pointer, lazy="raise"
    )

    __table_args__ = (Index(None, "subject", "seq"), Index(None, "handler", "seq"))


class Opening(Base):
    """What opens one sealed value of an entry; it may be erased, and is never changed.

    There is no foreign key to the entry: openings stay when entries are archived, so that they can still be erased.
    """

    __tablename__ = "openings"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    pointer: Mapped[str] = mapped_column(Text, primary_key=True)
    """Where in the entry's body the seal is (RFC 6901)."""
    at: Mapped[Moment]
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    value: Mapped[str] = mapped_column(Text)
    """Canonical JSON (RFC 8785)."""
