"""Row-level security by handler: a WHERE criterion on every ORM query, and the variables that PostgreSQL's policies read.

1. A transaction has a row scope: the handlers of its caller, and the caller. Without one it sees no row of any handler.
2. Each ORM query on a table `OfHandler` gets the criterion of that table, in subqueries and joins too.
3. The scope is also set in PostgreSQL, for this transaction alone. Policies limit all other statements, and the tables that belong to a
   handler through another table.

Example:
    await tx.set_scope(RowScope(frozenset({"hd_…"}), caller.principal))
    permits = (await tx.scalars(select(Permit))).all()  # permits of that handler alone
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Text, any_, bindparam, event, false, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

Everywhere = Literal["*"]
EVERYWHERE: Final[Everywhere] = "*"
HandlerScope = frozenset[str] | Everywhere
"""Ids of handlers, or `EVERYWHERE`."""
NOWHERE: Final[HandlerScope] = frozenset()


def merge_scopes(*scopes: HandlerScope) -> HandlerScope:
    """Return the union of some scopes."""
    listed: set[str] = set()
    for scope in scopes:
        if scope == EVERYWHERE:
            return EVERYWHERE
        listed |= scope
    return frozenset(listed)


SET_VARIABLES: Final = text(
    "select set_config('outbound.handlers', :handlers, true), set_config('outbound.principal', :principal, true)"
)
"""Sets the variables that policies read, until the transaction ends."""


@dataclass(frozen=True, slots=True)
class RowScope:
    """A row scope: the handlers whose rows a transaction sees, and the principal that it acts for."""

    handlers: HandlerScope = NOWHERE
    principal: str = ""

    @property
    def variables(self) -> dict[str, str]:
        """Parameters of `SET_VARIABLES`."""
        handlers = EVERYWHERE if self.handlers == EVERYWHERE else ",".join(sorted(self.handlers))
        return {"handlers": handlers, "principal": self.principal}


_scope: Final[ContextVar[RowScope]] = ContextVar("scope")
"""Row scope of the next statement. Compiled queries are cached for all scopes, and take their parameters from here."""


def _handlers() -> Sequence[str]:
    handlers = _scope.get().handlers
    return [] if handlers == EVERYWHERE else sorted(handlers)


SCOPE_HANDLERS: Final[ColumnElement[Any]] = any_(bindparam("outbound_handlers", callable_=_handlers, type_=ARRAY(Text)))
"""Any handler of the row scope: `column == SCOPE_HANDLERS`."""
SCOPE_PRINCIPAL: Final = bindparam("outbound_principal", callable_=lambda: _scope.get().principal, type_=Text)


class OfHandler:
    """Mixin of tables whose rows belong to handlers; row scopes limit queries on them."""

    @classmethod
    def is_within(cls) -> ColumnElement[bool]:
        """Return the condition that a row is in the row scope; its parameters come from the scope of the statement."""
        column = getattr(cls, "handler", None)
        return false() if column is None else column == SCOPE_HANDLERS

    def is_seen_by(self, scope: RowScope) -> bool:
        """Return True if a loaded row is in a row scope."""
        return getattr(self, "handler", None) in scope.handlers


_WITHIN: Final = with_loader_criteria(
    OfHandler, lambda table: table.is_within(), include_aliases=True, track_closure_variables=False
)


class ScopedSession(Session):
    """ORM session with a row scope that limits its queries."""

    scope = RowScope()
    now: datetime
    flush_deferred: Callable[[], None] = staticmethod(lambda: None)
    """Writes at once the entries that otherwise wait for the end of the transaction."""


@event.listens_for(ScopedSession, "do_orm_execute")
def _limit(state: ORMExecuteState) -> None:
    """Limit a query to the row scope of its transaction."""
    scope: RowScope = state.session.scope  # type: ignore[attr-defined]
    if scope.handlers != EVERYWHERE and (state.is_select or state.is_update or state.is_delete):
        _scope.set(scope)
        state.statement = state.statement.options(_WITHIN)
