"""Base class and column types of all tables."""

from datetime import datetime
from typing import Annotated

from sqlalchemy import DateTime, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, mapped_column


class Base(DeclarativeBase):
    """The base of every table; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


Id = String(29, collation="C")
Key = Text(collation="C")
"""Type of keys, compared byte by byte: the gate finds rows by them."""

PrimaryId = Annotated[str, mapped_column(Id, primary_key=True)]
"""`<prefix>_<uuidv7 in Crockford base32>`, compared byte by byte, so that ids sort by creation."""

Timestamp = Annotated[datetime, mapped_column(DateTime(timezone=True))]
