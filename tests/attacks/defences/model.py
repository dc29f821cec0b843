"""Defines a defence: a piece of the product, the edit that removes it, and the test that must fail without it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
CALL: Final = "(…)"
HEADERS: Final = ("if ", "for ")

Span = tuple[tuple[int, int], tuple[int, int]]
"""First and last place in a file, each as a line (from 1) and a column in bytes."""


class StaleEditError(AssertionError):
    """The edit does not find its target, or finds several: say what stands there now."""


@dataclass(frozen=True)
class Edit:
    """Removes or replaces one target inside a named function or class; compared by syntax, so layout does not matter.

    Attributes:
        file: path of a Python file.
        function: qualified name, such as `Gate._answer`; "" for the module.
        target: `name(…)`: the statement that calls this; `name=`: this keyword of a call; `if condition`: the condition of that
            `if`; `for name in iterable`: the iterable of that loop; otherwise an expression or a statement.
        replacement: takes the target's place; "" removes it from the block, call, condition or collection that it is in.
    """

    file: str
    function: str
    target: str
    replacement: str = ""

    def apply(self, text: str) -> str:
        """Return the file's text without the target; raise `StaleEditError` where the target is not there exactly once."""
        spans = list(self._spans(_scope(_tree_of(text), self.function)))
        if len(spans) != 1:
            raise StaleEditError(f"{self.file}::{self.function} holds {self.target!r} {len(spans)} times, not once")
        span, is_statement = spans[0]
        first, last = (_offset(text, *place) for place in span)
        return text[:first] + (self.replacement or "pass" * is_statement) + text[last:]

    def _spans(self, scope: ast.AST) -> Iterator[tuple[Span, bool]]:
        """Yield each place of the target, and whether it is a statement."""
        for parent in ast.walk(scope):
            for node in ast.iter_child_nodes(parent):
                if self._is_target(node) and not self._is_target(parent):
                    is_part = not self.replacement and not isinstance(node, ast.stmt)
                    span = _with_comma(parent, node) if is_part else _span(self._header_of(node) or node)
                    yield span, isinstance(node, ast.stmt)

    def _is_target(self, node: ast.AST) -> bool:
        if self.target.endswith(CALL):
            return isinstance(node, ast.stmt) and _calls(getattr(node, "value", None), self.target.removesuffix(CALL))
        if self.target.endswith("="):
            return isinstance(node, ast.keyword) and self.target == f"{node.arg}="
        if self.target.startswith(HEADERS):
            part = self._header_of(node)
            return part is not None and _is_same(
                part, self.target.partition(" in " if isinstance(node, ast.For) else " ")[2]
            )
        return _is_same(node, self.target)

    def _header_of(self, node: ast.AST) -> ast.expr | None:
        """Return the part of a block's first line that is meant, where the target is such a line."""
        if isinstance(node, ast.If) and self.target.startswith("if "):
            return node.test
        if isinstance(node, ast.For) and self.target.startswith(f"for {ast.unparse(node.target)} in "):
            return node.iter
        return None


@dataclass(frozen=True)
class Text:
    """Replaces a text that stands in a file once: for SQL, and for files that are not Python."""

    file: str
    original: str
    replacement: str

    def apply(self, text: str) -> str:
        """Return the text without it; raise `StaleEditError` where it is not there exactly once."""
        if text.count(self.original) != 1:
            raise StaleEditError(f"{self.file} holds {self.original!r} {text.count(self.original)} times, not once")
        return text.replace(self.original, self.replacement)


@dataclass(frozen=True)
class Defence:
    """Stands between an attack of `docs/security.md` and its end.

    Where several layers stand there, each of which would do alone, all of them are taken away together, and `what` says so.
    """

    attack: str
    what: str
    edits: tuple[Edit | Text, ...]
    test: str


def one(attack: str, what: str, file: str, function: str, target: str, replacement: str, test: str) -> Defence:
    """Return a defence that one edit removes."""
    return Defence(attack, what, (Edit(file, function, target, replacement),), test)


@cache
def _tree_of(text: str) -> ast.Module:
    return ast.parse(text)


def _scope(tree: ast.Module, name: str) -> ast.AST:
    scope: ast.AST = tree
    for part in filter(None, name.split(".")):
        named = [node for node in _defined_in(scope) if node.name == part]
        if len(named) != 1:
            raise StaleEditError(f"there are {len(named)} functions {name}")
        scope = named[0]
    return scope


def _defined_in(scope: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yield the functions and classes of a scope, but none that stand in these."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node
        else:
            yield from _defined_in(node)


def _is_same(node: ast.AST, source: str) -> bool:
    return any(type(node) is kind and ast.dump(node) == dump for kind, dump in _forms_of(source))


@cache
def _forms_of(source: str) -> list[tuple[type[ast.AST], str]]:
    """Return the types and dumps of a statement, and of the expression that it may consist of."""
    (statement,) = ast.parse(source).body
    forms = [statement, statement.value] if isinstance(statement, ast.Expr) else [statement]
    return [(type(form), ast.dump(form)) for form in forms]


def _calls(value: ast.AST | None, name: str) -> bool:
    value = value.value if isinstance(value, ast.Await) else value
    return isinstance(value, ast.Call) and ast.unparse(value.func) == name


def _span(node: ast.AST) -> Span:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]


def _with_comma(parent: ast.AST, node: ast.AST) -> Span:
    """Return the place of a part of a call, condition or collection, up to the next part or from the one before."""
    if isinstance(parent, ast.Dict):
        pairs = zip(parent.keys, parent.values, strict=True)
        parts = [(key, _span(key)[0], _span(value)[1]) for key, value in pairs if key is not None]
    else:
        nodes = [part for name in ("values", "elts", "args", "keywords") for part in getattr(parent, name, [])]
        parts = [(part, *_span(part)) for part in sorted(nodes, key=_span)]
    place = [part for part, *_ in parts].index(node)
    if place + 1 < len(parts):
        return parts[place][1], parts[place + 1][1]
    return parts[place - 1][2] if place else parts[place][1], parts[place][2]


def _offset(text: str, line: int, column: int) -> int:
    lines = text.splitlines(keepends=True)
    return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())
