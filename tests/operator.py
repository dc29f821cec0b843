"""What the operator does with the database's own credentials: keys that nobody but their holders has seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.access.caller import OPERATOR
from service.database.session import Database, Transaction
from service.identity import operations as identity
from service.identity.schemas import ApiKeyIn

Made = TypeVar("Made")


class AdminKeys(tuple[str, str]):  # noqa: SLOT001 - it has an attribute
    """The keys of two admins, and the database whose operator has made them."""

    url: str

    @classmethod
    def of(cls, url: str) -> AdminKeys:
        made = cls((equipped(url, "root", "admin"), equipped(url, "second root", "admin")))
        made.url = url
        return made


def equipped(url: str, name: str, *roles: str) -> str:
    """Give a person some roles and a key as the operator does, and return the key."""
    wanted = [identity.Role(role) for role in roles]

    async def make(tx: Transaction) -> str:
        return str((await identity.issue_key(tx, name, "person", wanted)).secret)

    return in_transaction(url, make)


def key_for(url: str, principal: str) -> str:
    """Give somebody who is known a key as the operator does, and return it."""

    async def make(tx: Transaction) -> str:
        return str((await identity.create_key(tx, OPERATOR, ApiKeyIn(principal=principal))).secret)

    return in_transaction(url, make)


def in_transaction(url: str, work: Callable[[Transaction], Awaitable[Made]]) -> Made:
    """Do something in a transaction of the operator's, in a thread of its own: a test may have a loop that runs."""

    async def act() -> Made:
        database = Database(url)
        try:
            return await database.transaction(work)
        finally:
            await database.close()

    with ThreadPoolExecutor(1) as alone:
        return alone.submit(asyncio.run, act()).result()
