"""Parses datasets from Fides YAML: no aliases, no objects, bounded depth and size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import yaml

from service.registry.import_rows import Fault, ImportRefused, Row
from service.registry.schemas import MAX_FIELDS

_MAX_DEPTH: Final = 40
_LINE: Final = object()
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Final = yaml.resolver.Resolver()
_LONG_SCALAR: Final = 100
"""Characters from which on a scalar is always a text."""
MAX_EVENTS: Final = 4_000_000
"""Highest number of YAML events in a file: scalars, and starts and ends of lists and maps."""
_TAGGED: Final = "tag:yaml.org,2002:"


class _Other:
    """Stands for a scalar that is neither text nor null, which no member of a dataset accepts."""


_OTHER: Final = _Other()


def fides_rows(text: str) -> Iterator[Row]:
    """Yield a dataset for each collection of a Fides text.

    Raises:
        ImportRefused: the text is not YAML, or not of the shape of Fides; at the end where some members are missing.
    """
    document = _yaml(text)
    if not isinstance(document, dict) or not isinstance(document.get("dataset"), list):
        raise ImportRefused([(1, "/dataset", "A Fides file holds a list of datasets under the name `dataset`.")])
    faults: list[Fault] = []
    for dataset in document["dataset"]:
        if not _is_map_with(dataset, "fides_key", "collections"):
            faults.append((_line(dataset), "/dataset", "A dataset needs `fides_key` and a list of `collections`."))
            continue
        for collection in dataset["collections"]:
            if not _is_map_with(collection, "name", "fields"):
                faults.append((_line(collection), "/collections", "A collection needs `name` and a list of `fields`."))
                continue
            body, wrong = _fides_body(dataset, collection)
            faults += [(line, "/fields", "A field needs a `name`.") for line in wrong]
            yield Row(_line(collection), body)
    if faults:
        raise ImportRefused(faults)


def _yaml(text: str) -> Any:
    try:
        return _tree(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ImportRefused([(line, "", f"The file is not YAML: {error.problem}.")]) from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ImportRefused([(1, "", "The file is not YAML that can be read.")]) from error


def _tree(text: str) -> Any:
    """Build a tree from the events of a YAML text: maps with their first line, lists, texts, None, and `_OTHER`.

    Scalars never become numbers or objects, so that no number of half a million digits is parsed. Aliases, which can make a small file
    enormous, are refused.

    Raises:
        ImportRefused: aliases, other than plain tags, too many events, or too deep.
    """
    stack: list[_Open] = [_Open([], 1)]
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        line = 1 if event.start_mark is None else event.start_mark.line + 1
        if count > MAX_EVENTS:
            _refuse(line, f"This has more than {MAX_EVENTS:,} parts; split it.")
        if isinstance(event, yaml.AliasEvent):
            _refuse(line, "Aliases are not read; write the value out.")
        elif isinstance(event, yaml.ScalarEvent):
            stack[-1].take(_scalar(event, line))
        elif isinstance(event, yaml.CollectionStartEvent):
            _require_plain(event.tag, line)
            if len(stack) > _MAX_DEPTH:
                _refuse(line, f"This nests deeper than {_MAX_DEPTH} levels.")
            stack.append(_Open({_LINE: line} if isinstance(event, yaml.MappingStartEvent) else [], line))
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = stack.pop().value
            stack[-1].take(ended)
        elif isinstance(event, yaml.DocumentStartEvent) and stack[0].value:
            _refuse(line, "This is a second document; send one.")
    documents = stack[0].value
    return documents[0] if documents else None


@dataclass(slots=True)
class _Open:
    """An open list or map."""

    value: list[Any] | dict[Any, Any]
    line: int
    key: Any = _LINE
    """Key of a map whose value comes next; `_LINE`: a key comes next."""

    def take(self, value: Any) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.key is not _LINE:
            self.value[self.key], self.key = value, _LINE
        elif isinstance(value, list | dict):
            _refuse(self.line, "A list or a map cannot be a key.")
        else:
            self.key = value


def _scalar(event: Any, line: int) -> Any:
    _require_plain(event.tag, line)
    if event.tag is not None:
        kind = event.tag.removeprefix(_TAGGED)
    elif not event.implicit[0] or len(event.value) > _LONG_SCALAR:
        return event.value
    else:
        kind = str(_RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)).removeprefix(_TAGGED)  # type: ignore[no-untyped-call]
    if kind == "str" or event.tag == "!":
        return event.value
    return None if kind == "null" else _OTHER


def _require_plain(tag: str | None, line: int) -> None:
    if (
        tag is not None
        and tag != "!"
        and tag.removeprefix(_TAGGED) not in {"str", "null", "int", "float", "bool", "seq", "map"}
    ):
        _refuse(line, "Tags of programs are not read.")


def _refuse(line: int, detail: str) -> NoReturn:
    raise ImportRefused([(line, "", detail)])


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
    parsed: list[dict[str, Any]] = []
    wrong: list[int] = []
    for field in fields if isinstance(fields, list) else [fields]:
        if not isinstance(field, dict) or not isinstance(field.get("name"), str) or len(parsed) > MAX_FIELDS:
            wrong.append(_line(field))
            continue
        name = path + field["name"]
        meta = field.get("fides_meta")
        kind = meta.get("data_type") if isinstance(meta, dict) else None
        nested = field.get("fields")
        category = _categories(field) or inherited
        parsed.append({"name": name, "type": kind or ("object" if nested else "unknown"), "category": category})
        if nested:
            below, amiss = _fides_fields(nested, name + ".", inherited)
            parsed += below
            wrong += amiss
    return parsed, wrong


def _categories(thing: dict[Any, Any]) -> str | None:
    meta = thing.get("fides_meta")
    stated = thing.get("data_categories") or (meta.get("data_categories") if isinstance(meta, dict) else None)
    return ", ".join(str(category) for category in stated) if isinstance(stated, list) and stated else None
