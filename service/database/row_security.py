"""Row-level security by handler: a WHERE criterion on every ORM query, and the variables that PostgreSQL's policies read.

1. A transaction has a row scope: the handlers that its caller reaches, and the caller. Without one it sees no row of any handler.
2. Each ORM query on a table `OfHandler` gets the criterion of that table, wherever in the query it stands.
3. The scope is set in PostgreSQL too, for this transaction alone: policies limit every other statement, and the tables that belong to a
   handler through another table.
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
Reach = frozenset[str] | Everywhere
"""Handler ids, or all of them."""
NOWHERE: Final[Reach] = frozenset()


def joined(*reaches: Reach) -> Reach:
    """Return the handlers that are in any of some reaches."""
    listed: set[str] = set()
    for reach in reaches:
        if reach == EVERYWHERE:
            return EVERYWHERE
        listed |= reach
    return frozenset(listed)


TELL: Final = text(
    "select set_config('outbound.handlers', :handlers, true), set_config('outbound.principal', :principal, true)"
)
"""Variables that policies read; they end with the transaction."""


@dataclass(frozen=True, slots=True)
class RowScope:
    """Who looks, and as far as which handlers."""

    reach: Reach = NOWHERE
    principal: str = ""

    @property
    def told(self) -> dict[str, str]:
        """Values of the variables."""
        handlers = EVERYWHERE if self.reach == EVERYWHERE else ",".join(sorted(self.reach))
        return {"handlers": handlers, "principal": self.principal}


_view: Final[ContextVar[RowScope]] = ContextVar("view")
"""That of the statement which is about to be sent: a plan of a query serves every view, and takes its values from here."""


def _handlers() -> Sequence[str]:
    reach = _view.get().reach
    return [] if reach == EVERYWHERE else sorted(reach)


AMONG: Final[ColumnElement[Any]] = any_(bindparam("outbound_handlers", callable_=_handlers, type_=ARRAY(Text)))
"""Any of the handlers of the view: `column == AMONG`."""
VIEWER: Final = bindparam("outbound_principal", callable_=lambda: _view.get().principal, type_=Text)


class OfHandler:
    """A table whose rows belong to handlers: those of a view that does not reach all of them are found by a condition."""

    @classmethod
    def is_within(cls) -> ColumnElement[bool]:
        """Return the condition that a row belongs to one of the handlers of the view: the same for every view."""
        column = getattr(cls, "handler", None)
        return false() if column is None else column == AMONG

    def is_seen_by(self, view: RowScope) -> bool:
        """Tell the same of a row that is at hand."""
        return getattr(self, "handler", None) in view.reach


_WITHIN: Final = with_loader_criteria(
    OfHandler, lambda table: table.is_within(), include_aliases=True, track_closure_variables=False
)


class ScopedSession(Session):
    """A session of the ORM that has a view, and keeps its queries within it."""

    view = RowScope()
    now: datetime
    deferred: Callable[[], None] = staticmethod(lambda: None)
    """Has what waits for the end of the transaction written at once."""


@event.listens_for(ScopedSession, "do_orm_execute")
def _limit(state: ORMExecuteState) -> None:
    """Limit a query to what its transaction sees."""
    view: RowScope = state.session.view  # type: ignore[attr-defined]
    if view.reach != EVERYWHERE and (state.is_select or state.is_update or state.is_delete):
        _view.set(view)
        state.statement = state.statement.options(_WITHIN)
