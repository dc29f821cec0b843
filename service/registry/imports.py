"""Datasets from files: CSV of a catalogue, or Fides dataset YAML. Every bad row is told with its line; all or nothing."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn

import yaml
from pydantic import ValidationError

from service.database import Transaction
from service.http.caller import Caller
from service.http.problems import Forbidden, Invalid, NotFound, UnsupportedMediaType, pointer_to
from service.registry import operations
from service.registry.schemas import MAX_FIELDS, DatasetIn, DatasetPatch, ImportOut
from service.registry.tables import Dataset

Format = Literal["csv", "fides"]

_MEDIA_TYPES: Final[dict[str, Format]] = {
    "text/csv": "csv",
    "application/yaml": "fides",
    "application/x-yaml": "fides",
    "text/yaml": "fides",
}
_COLUMNS: Final = ("key", "handler", "title", "owner", "description", "fields")
_FACTS: Final = ("origin", "domestic_data_added", "ftz_list", "contains_minors")
_REQUIRED: Final = ("key", "title")
_TRUTH: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_FIELD_PARTS: Final = 3
_MAX_DEPTH: Final = 40


@dataclass(frozen=True, slots=True)
class Row:
    """One dataset of a file: the line it begins at, and the body that `POST /v1/datasets` would take."""

    line: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Import:
    """What is to be imported, with what serves where a row names no handler or owner."""

    rows: list[Row]
    handler: str | None
    owner: str | None
    dry_run: bool


class ImportRefused(Invalid):
    """Rows of a file that cannot be taken; nothing of the file has been stored."""

    slug, title = "import-refused", "Nothing was imported: some rows need mending"

    def __init__(self, faults: list[tuple[int, str, str]]) -> None:
        super().__init__(f"{len(faults)} fault(s) in the file; each names its line and field. Nothing was imported.")
        self.errors: list[dict[str, Any]] = [
            {"pointer": field, "line": line, "field": field.lstrip("/"), "detail": detail}
            for line, field, detail in faults
        ]


def format_of(content_type: str) -> Format:
    """Return the format that a media type names.

    Raises:
        UnsupportedMediaType: neither CSV nor YAML.
    """
    found = _MEDIA_TYPES.get(content_type.partition(";")[0].strip().lower())
    if found is None:
        raise UnsupportedMediaType("Send text/csv, or Fides datasets as application/yaml.")
    return found


def parse(content: bytes, kind: Format) -> list[Row]:
    """Return the datasets of a file.

    Raises:
        ImportRefused: the file cannot be read, with the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ImportRefused([(line, "", "The file is not UTF-8.")]) from error
    if "\x00" in text:
        raise ImportRefused([(text[: text.index("\x00")].count("\n") + 1, "", "The file holds a NUL.")])
    rows = list(_csv_rows(text) if kind == "csv" else _fides_rows(text))
    if not rows:
        raise ImportRefused([(1, "", "The file holds no dataset.")])
    return rows


async def load(tx: Transaction, caller: Caller, wanted: Import) -> ImportOut:
    """Create or update the datasets of a file, in one transaction, through the same operations as one by one.

    Raises:
        ImportRefused: any row that cannot be taken; each fault of each row is told.
    """
    faults: list[tuple[int, str, str]] = []
    datasets: list[tuple[int, DatasetIn]] = []
    for row in wanted.rows:
        try:
            datasets.append((row.line, _checked(row, wanted)))
        except ValidationError as error:
            faults += [(row.line, pointer_to(fault["loc"]), _told(fault)) for fault in error.errors()]
    faults += _repeated(datasets)
    counts = {"created": 0, "updated": 0, "unchanged": 0}
    keys: list[str] = []
    async with tx.begin_nested() as attempt:
        for line, dataset in datasets:
            try:
                outcome = await _store(tx, caller, dataset)
            except (Invalid, NotFound, Forbidden) as problem:
                faults.append((line, _pointer(problem), problem.detail))
                continue
            counts[outcome] += 1
            keys += [dataset.key] if outcome != "unchanged" else []
        if wanted.dry_run and not faults:
            await attempt.rollback()
    if faults:
        raise ImportRefused(sorted(faults))
    return ImportOut(dry_run=wanted.dry_run, keys=keys, **counts)


async def _store(tx: Transaction, caller: Caller, wanted: DatasetIn) -> str:
    existing = await operations.find_dataset(tx, wanted.key)
    if existing is None:
        await operations.create_dataset(tx, caller, wanted)
        return "created"
    handler = await operations.named_handler(tx, caller, wanted.handler)
    if existing.handler != handler.id:
        raise Invalid("Another handler has a dataset of this key.", errors=[("/key", "taken")])
    return await _update(tx, caller, existing, wanted)


async def _update(tx: Transaction, caller: Caller, existing: Dataset, wanted: DatasetIn) -> str:
    before = existing.updated_at
    patch = DatasetPatch.model_validate(wanted.model_dump(mode="json", exclude={"key", "handler", "scale"}))
    after = await operations.change_dataset(tx, caller, existing.id, patch)
    return "updated" if after.updated_at != before else "unchanged"


def _checked(row: Row, wanted: Import) -> DatasetIn:
    defaults = {"handler": wanted.handler, "owner": wanted.owner or wanted.handler}
    stated = {name: value for name, value in row.body.items() if value is not None}
    return DatasetIn.model_validate({name: value for name, value in defaults.items() if value is not None} | stated)


def _told(fault: Any) -> str:
    if fault["type"] == "missing":
        return "This is required."
    if fault["type"] == "extra_forbidden":
        return "This is not known here."
    return str(fault["msg"]).removeprefix("Value error, ")


def _pointer(problem: Invalid | NotFound | Forbidden) -> str:
    return str(problem.errors[0]["pointer"]) if problem.errors else "/handler"


def _repeated(datasets: list[tuple[int, DatasetIn]]) -> Iterator[tuple[int, str, str]]:
    seen: dict[str, int] = {}
    for line, dataset in datasets:
        if dataset.key in seen:
            yield line, "/key", f"The same key stands at line {seen[dataset.key]}."
        seen.setdefault(dataset.key, line)


# CSV


def _csv_rows(text: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    faults: list[tuple[int, str, str]] = []
    rows: list[Row] = []
    try:
        faults += _header_faults(list(reader.fieldnames or []))
        for cells in reader if not faults else ():
            row, found = _csv_row(reader.line_num, cells)
            rows.append(row)
            faults += found
    except csv.Error as error:
        faults.append((reader.line_num, "", f"The file is not CSV: {error}."))
    if faults:
        raise ImportRefused(faults)
    yield from rows


def _header_faults(columns: list[str]) -> Iterator[tuple[int, str, str]]:
    for column in columns:
        if column not in _COLUMNS + _FACTS:
            known = ", ".join(_COLUMNS + _FACTS)
            yield 1, f"/{column}", f"This column is not known; the columns are {known}."
        elif columns.count(column) > 1:
            yield 1, f"/{column}", "This column stands twice."
    for column in _REQUIRED:
        if column not in columns:
            yield 1, f"/{column}", "This column is required."


def _csv_row(line: int, cells: dict[str, Any]) -> tuple[Row, list[tuple[int, str, str]]]:
    faults: list[tuple[int, str, str]] = []
    if None in cells:
        faults.append((line, "", "This row has more cells than there are columns."))
    stated = {name: value.strip() for name, value in cells.items() if name is not None and value and value.strip()}
    body: dict[str, Any] = {name: stated.get(name) for name in _COLUMNS if name != "fields"}
    body["facts"], wrong = _csv_facts(stated)
    body["fields"], unread = _csv_fields(stated.get("fields", ""))
    faults += [(line, f"/facts/{name}", "Write true or false.") for name in wrong]
    faults += [
        (line, "/fields", f"Write name:type or name:type:category, not {len(part)} characters without.")
        for part in unread
    ]
    return Row(line, body), faults


def _csv_facts(stated: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    facts: dict[str, Any] = {}
    wrong: list[str] = []
    for name in _FACTS:
        if name not in stated:
            continue
        if name in {"origin", "ftz_list"}:
            facts[name] = stated[name]
        elif stated[name].lower() in _TRUTH:
            facts[name] = _TRUTH[stated[name].lower()]
        else:
            wrong.append(name)
    return facts, wrong


def _csv_fields(cell: str) -> tuple[list[dict[str, str]], list[str]]:
    fields: list[dict[str, str]] = []
    unread: list[str] = []
    for part in filter(None, (part.strip() for part in cell.split(";"))):
        parts = [piece.strip() for piece in part.split(":", _FIELD_PARTS - 1)]
        if len(parts) == 1:
            unread.append(part)
        else:
            fields.append(dict(zip(("name", "type", "category"), parts, strict=False)))
    return fields, unread


# Fides


class _Loader(yaml.SafeLoader):
    """YAML with line numbers, and without aliases, which can make a small file enormous."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            _refuse(self, "Aliases are not read; write the value out.")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            _refuse(self, f"This nests deeper than {_MAX_DEPTH} levels.")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001
        mapping = super().construct_mapping(node, deep=deep)
        mapping[_LINE] = node.start_mark.line + 1
        return mapping


_LINE: Final = object()


def _refuse(loader: Any, detail: str) -> NoReturn:
    raise ImportRefused([(loader.peek_event().start_mark.line + 1, "", detail)])


def _fides_rows(text: str) -> Iterator[Row]:
    document = _yaml(text)
    if not isinstance(document, dict) or not isinstance(document.get("dataset"), list):
        raise ImportRefused([(1, "/dataset", "A Fides file holds a list of datasets under the name `dataset`.")])
    faults: list[tuple[int, str, str]] = []
    rows: list[Row] = []
    for dataset in document["dataset"]:
        if not _is_map_with(dataset, "fides_key", "collections"):
            faults.append((_line(dataset), "/dataset", "A dataset needs `fides_key` and a list of `collections`."))
            continue
        for collection in dataset["collections"]:
            if not _is_map_with(collection, "name", "fields"):
                faults.append((_line(collection), "/collections", "A collection needs `name` and a list of `fields`."))
                continue
            body, wrong = _fides_body(dataset, collection)
            rows.append(Row(_line(collection), body))
            faults += [(line, "/fields", "A field needs a `name`.") for line in wrong]
    if faults:
        raise ImportRefused(faults)
    yield from rows


def _yaml(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader  # nosec B506
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ImportRefused([(line, "", f"The file is not YAML: {error.problem}.")]) from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ImportRefused([(1, "", "The file is not YAML that can be read.")]) from error


def _is_map_with(value: object, name: str, members: str) -> bool:
    return isinstance(value, dict) and isinstance(value.get(name), str) and isinstance(value.get(members), list)


def _line(value: object) -> int:
    return int(value.get(_LINE, 1)) if isinstance(value, dict) else 1


def _fides_body(dataset: dict[Any, Any], collection: dict[Any, Any]) -> tuple[dict[str, Any], list[int]]:
    inherited = _categories(collection) or _categories(dataset)
    fields, wrong = _fides_fields(collection["fields"], "", inherited)
    title = dataset.get("name") or dataset["fides_key"]
    body = {
        "key": f"{dataset['fides_key']}/{collection['name']}",
        "title": f"{title}: {collection['name']}",
        "description": collection.get("description") or dataset.get("description"),
        "fields": fields,
    }
    return body, wrong


def _fides_fields(fields: Any, path: str, inherited: str | None) -> tuple[list[dict[str, Any]], list[int]]:
    found: list[dict[str, Any]] = []
    wrong: list[int] = []
    for field in fields if isinstance(fields, list) else [fields]:
        if not isinstance(field, dict) or not isinstance(field.get("name"), str) or len(found) > MAX_FIELDS:
            wrong.append(_line(field))
            continue
        name = path + field["name"]
        meta = field.get("fides_meta")
        kind = meta.get("data_type") if isinstance(meta, dict) else None
        nested = field.get("fields")
        category = _categories(field) or inherited
        found.append({"name": name, "type": kind or ("object" if nested else "unknown"), "category": category})
        if nested:
            below, amiss = _fides_fields(nested, name + ".", inherited)
            found += below
            wrong += amiss
    return found, wrong


def _categories(thing: dict[Any, Any]) -> str | None:
    meta = thing.get("fides_meta")
    stated = thing.get("data_categories") or (meta.get("data_categories") if isinstance(meta, dict) else None)
    return ", ".join(str(category) for category in stated) if isinstance(stated, list) and stated else None
