"""Names and docstrings of the code use the field's terms (docs/terms.md); words of before do not come back."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

SERVICE = Path(__file__).parents[2] / "service"
FILES = sorted(SERVICE.rglob("*.py"))

OLD_MODULES = frozenset(
    [
        "again",
        "beside",
        "breaking",
        "browsing",
        "direct",
        "door",
        "duties",
        "express",
        "granting",
        "growth",
        "helpers",
        "jose",
        "looks",
        "making",
        "moments",
        "numbering",
        "outgoing",
        "people",
        "reading",
        "rendering",
        "roles",
        "seats",
        "sealing",
        "signing_in",
        "sitting",
        "story",
        "telling",
        "tenancy",
        "told",
        "uploads",
        "wire",
        "witnessing",
    ]
)
"""Names of modules that have no meaning outside this repository."""
OLD_CLASSES = frozenset(
    [
        "Announced",
        "Approach",
        "BarredError",
        "Bounded",
        "DatabaseAwayError",
        "Edge",
        "Fallen",
        "Gone",
        "HeldError",
        "Paper",
        "Proof",
        "Seat",
        "Seated",
        "Sitting",
        "Turn",
        "View",
        "Vouched",
        "Writer",
        "_Attended",
        "_Known",
        "_Lane",
        "_Mark",
        "_Passage",
        "_Patience",
    ]
)
OLD_FUNCTIONS = frozenset(
    [
        "beyond",
        "is_away",
        "is_held",
        "is_lost",
        "keep_step",
        "kin_of",
        "misfiled",
        "offered",
        "outgrown",
        "papers_of",
        "recall",
        "room",
        "shown_many",
        "unopened",
    ]
)
OLD_BEGINNINGS = ("demand_", "_demand_", "bar_to_", "_bar_to_")
"""`require_…` raises; `…_denial` returns the reason for a denial."""

FORBIDDEN = frozenset(
    {
        *("again", "asked", "away", "bar", "barred", "bars", "beside", "beyond", "breaking", "demand", "demands"),
        *("door", "floor", "found", "given", "heart", "held", "house", "known", "lane", "lanes", "look", "looking"),
        *("looks", "lost", "moment", "moments", "numbering", "opened", "outgoing", "paper", "papers", "patience"),
        *("reach", "room", "seal", "sealed", "sealing", "seat", "seats", "shown", "stands", "tell", "telling"),
        *("tells", "told", "visit", "vouched", "wanted"),
    }
)
"""Words that no name contains: another word stands for their concept in docs/terms.md, or they leave the noun open."""
FORBIDDEN_NAMES = frozenset({"made", "one", "ones", "what", "who", "whose"})
"""Names without a noun. As a part of a longer name these words are fine."""
FORBIDDEN_IN = {
    "access": {"login", "logins", "proof", "shows", "view"},
    "audit/log": {"raise", "turn", "turns"},
    "database/row_security.py": {"view"},
    "gate": {"direct", "express", "short"},
    "gate/fast_path": {"direct", "express", "plain", "short", "way"},
    "identity": {"login", "logins", "proof", "shows", "view"},
}
"""Words that stand for another concept of these packages and modules (credential, linked identity, leader, row scope, fast path)."""
FORBIDDEN_BEGINNING = re.compile(r"(What|Who|Whoever|Whom|Whose|Of|Whether|How)\b")

EXCEPTIONS = {
    "access/tables.py login": "column attribute",
    "access/tables.py opened_at": "column attribute",
    "access/tables.py told_at": "column attribute",
    "audit/actions.py BREAK_GLASS_OPENED": "member named by its action, which entries contain",
    "audit/actions.py DATASET_FACTS_ASKED": "member named by its action",
    "audit/actions.py FINDING_OPENED": "member named by its action",
    "audit/actions.py HANDLER_FACTS_ASKED": "member named by its action",
    "audit/actions.py OBLIGATION_OPENED": "member named by its action",
    "audit/actions.py RECIPIENT_FACTS_ASKED": "member named by its action",
    "audit/actions.py STAGE_OPENED": "member named by its action",
    "audit/schemas.py sealed": "member of the API (EntryOut)",
    "audit/tables.py one": "column of column_key",
    "drawing/flow_diagram.py draw_bar_chart": "a bar chart",
    "events/schemas.py who": "member of the API (EventOut)",
    "gate/batch_read.py caller_reach": "column of gate_read_2",
    "gate/batch_read.py caller_stands": "column of gate_read_2",
    "http/server_protocol.py connection_lost": "method of asyncio.Protocol",
    "identity/linked_identities.py told_at": "column of logins",
    "identity/routes.py end_login": "operation id of the API",
    "identity/routes.py link_login": "operation id of the API",
    "identity/routes.py list_logins": "operation id of the API",
    "identity/routes.py login_id": "path parameter of the API",
    "identity/routes.py read_login": "operation id of the API",
    "identity/schemas.py opened_at": "member of the API (BreakGlassOut)",
    "law/policy.py bar": "section of the policy file",
    "permits/schemas.py lost_evidence": "member of the API (PermitOut)",
    "registry/schemas.py asked_at": "member of the API",
    "registry/schemas.py asked_by": "member of the API",
    "registry/tables.py asked_at": "column",
    "registry/tables.py asked_by": "column",
    "transfers/reviews.py opened_at": "column of stages",
    "transfers/schemas.py found_at": "member of the API (FindingOut)",
    "transfers/schemas.py opened_at": "member of the API (StageOut, QueueItemOut)",
    "transfers/tables.py found_at": "column of findings",
    "transfers/tables.py opened_at": "column of stages",
    "validation/problems.py NotFound": "HTTP's own name of status 404",
    "whatif/outlook.py stands": "member of the API (PermitOutlook)",
    "whatif/outlook.py stands_later": "member of the API (PermitOutlook)",
    "whatif/outlook.py stands_with_more": "member of the API (PermitOutlook)",
}
"""Names that contain such a word, with the reason."""


@dataclass
class Names:
    """Names that a module binds, and its docstrings: also those below constants and attributes."""

    docstring: str | None = None
    classes: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    docstrings: list[str] = field(default_factory=list)

    @property
    def all(self) -> set[str]:
        return self.classes | self.functions | self.others


def names_of(source: str) -> Names:
    tree = ast.parse(source)
    names = Names(ast.get_docstring(tree))
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name):
                names.classes.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.functions.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.others.add(name)
            case ast.alias(asname=str(name)):
                names.others.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.others.add(name)
            case ast.Expr(value=ast.Constant(value=str(text))):
                names.docstrings.append(text.strip())
    return names


@cache
def read(file: Path) -> Names:
    return names_of(file.read_text("utf-8"))


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def path_of(file: Path) -> str:
    return file.relative_to(SERVICE).as_posix()


def is_in(path: str, places: frozenset[str]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def old_names(names: Names) -> set[str]:
    return {
        *(names.classes & OLD_CLASSES),
        *(names.functions & OLD_FUNCTIONS),
        *(name for name in names.functions if name.startswith(OLD_BEGINNINGS)),
    }


def forbidden_names(path: str, names: Names) -> set[str]:
    """Return the names of a module that contain a forbidden word; the module's own name is one of them."""
    forbidden = FORBIDDEN.union(*(listed for place, listed in FORBIDDEN_IN.items() if is_in(path, frozenset({place}))))
    return {
        name
        for name in {*names.all, Path(path).stem}
        if words(name) & forbidden or name.strip("_").lower() in FORBIDDEN_NAMES
    }


def forbidden_docstrings(names: Names) -> list[str]:
    return [text for text in names.docstrings if FORBIDDEN_BEGINNING.match(text)]


def test_no_name_of_before_comes_back() -> None:
    assert [path_of(file) for file in FILES if file.stem in OLD_MODULES] == []
    assert {path_of(file): old for file in FILES if (old := old_names(read(file)))} == {}


def test_names_use_the_terms_of_their_concepts() -> None:
    forbidden = {f"{path_of(file)} {name}" for file in FILES for name in forbidden_names(path_of(file), read(file))}
    assert forbidden - EXCEPTIONS.keys() == set()


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    assert {path_of(file): texts for file in FILES if (texts := forbidden_docstrings(read(file)))} == {}


def test_each_module_begins_with_a_docstring_without_a_clause() -> None:
    first = {path_of(file): read(file).docstring for file in FILES}
    assert {path: text for path, text in first.items() if not text or FORBIDDEN_BEGINNING.match(text)} == {}


def test_each_exception_is_needed() -> None:
    for exception in EXCEPTIONS:
        path, name = exception.split()
        assert name in forbidden_names(path, read(SERVICE / path)), exception


def test_each_list_names_places_that_exist() -> None:
    assert [place for place in FORBIDDEN_IN if not (SERVICE / place).exists()] == []


def test_planted_names_and_docstrings_are_found() -> None:
    planted = names_of(
        '''
class Sitting:
    papers_by_kind: dict[str, int]
    """What it has, by kind."""


def demand_more(asked, fine):
    """Return more."""
    self.told = len(asked)
    try:
        import json as lostAndFound
    except ValueError as one:
        match fine:
            case [*wanted]:
                HELD_BACK = remade = fine
    return [door for door in fine]
'''
    )
    assert old_names(planted) == {"Sitting", "demand_more"}
    assert forbidden_names("packs/scope.py", planted) == {
        *("HELD_BACK", "asked", "demand_more", "door", "lostAndFound", "one", "papers_by_kind", "told", "wanted")
    }
    assert forbidden_names("identity/oidc/proof.py", Names()) == {"proof"}
    assert forbidden_names("packs/proof.py", Names()) == set()
    assert forbidden_docstrings(planted) == ["What it has, by kind."]
