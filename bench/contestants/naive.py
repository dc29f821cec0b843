"""One ORM transaction per request, as one would write it first: FastAPI and SQLAlchemy, on the same PostgreSQL and the same rows.

It reads the key, the dataset and the permit, inserts the decision and commits. It asks less than the gate does: no grants, no gradings,
no evidence, no law, no year's count.
"""

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException
from sqlalchemy import ARRAY, BigInteger, DateTime, Identity, LargeBinary, Text, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.contestants import bare
from bench.contestants.noop import Question
from bench.servers import Server
from service.database.ids import new_id
from service.database.session import address

DATABASE = "BENCH_DATABASE_URL"


class Base(DeclarativeBase):
    """The base of its tables."""


class Key(Base):
    """An API key."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    prefix: Mapped[str] = mapped_column(Text)
    sha256: Mapped[bytes] = mapped_column(LargeBinary)


class Dataset(Base):
    """A dataset."""

    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))


class Recipient(Base):
    """A recipient."""

    __tablename__ = "recipients"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text)


class Permit(Base):
    """A permit."""

    __tablename__ = "permits"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    purpose: Mapped[str] = mapped_column(Text)
    persons: Mapped[int] = mapped_column(BigInteger)
    sent_persons: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(Text)


class Covered(Base):
    """A dataset of a permit."""

    __tablename__ = "permit_datasets"
    permit: Mapped[str] = mapped_column(Text, primary_key=True)
    dataset: Mapped[str] = mapped_column(Text, primary_key=True)
    recipient: Mapped[str] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))


class Decided(Base):
    """A decision."""

    __tablename__ = "naive_decisions"
    seq: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    id: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    dataset: Mapped[str] = mapped_column(Text, index=True)
    permit: Mapped[str] = mapped_column(Text)
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)


engine = create_async_engine(address(os.environ.get(DATABASE, "postgresql://")), pool_size=20, max_overflow=0)
session = async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Make its table first."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all, tables=[Base.metadata.tables[Decided.__tablename__]])
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/access/v1/evaluation")
async def evaluation(question: Question, authorization: Annotated[str, Header()]) -> dict[str, Any]:
    """Answer one question in one transaction."""
    secret = authorization.removeprefix("Bearer ")
    async with session() as tx, tx.begin():
        key = await tx.scalar(select(Key).where(Key.prefix == secret.rpartition("_")[0]))
        if key is None or key.sha256 != hashlib.sha256(secret.encode()).digest():
            raise HTTPException(401)
        dataset = await tx.scalar(select(Dataset).where(Dataset.key == question.resource.id))
        if dataset is None:
            raise HTTPException(404)
        permit = await tx.scalar(
            select(Permit)
            .join(Covered, Covered.permit == Permit.id)
            .join(Recipient, Recipient.id == Covered.recipient)
            .where(Covered.dataset == dataset.id, Recipient.key == question.context.recipient)
        )
        asked = question.context.persons or 0
        is_allowed = (
            permit is not None
            and permit.status == "active"
            and permit.purpose == question.context.purpose
            and permit.sent_persons + asked <= permit.persons
        )
        decided = Decided(
            id=new_id("ev"),
            at=datetime.now(UTC),
            dataset=dataset.id,
            permit="" if permit is None else permit.id,
            body={"question": question.model_dump(), "decision": is_allowed},
        )
        tx.add(decided)
    reason = "permitted" if is_allowed else "no_permit"
    return {"decision": is_allowed, "context": {"id": decided.id, "reason": reason, "permit": decided.permit}}


def serve(url: str, folder: Path) -> Server:
    """Return a server of it."""
    return bare.uvicorn("bench.contestants.naive:app", folder, {DATABASE: url})
