"""Derives the `links` of the OpenAPI document, which lead from one answer to the next call, from its own paths and schemas."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

Json = dict[str, Any]

_NAMED: Final = re.compile(r"\{(\w+)\}")
_SENTENCE: Final = re.compile(r"(?<=[.;:])\s|\n")
_CREATED: Final = ("201", "202")
_METHODS: Final = ("get", "post", "patch", "put", "delete")
_ALSO: Final = {
    "renews": "transfer",
    "superseded_by": "permit",
    "supersedes": "permit",
    "requester": "principal",
    "delegate": "principal",
    "delegator": "principal",
}
"""Members whose name is a relation, with the kind of resource that they name."""


@dataclass(frozen=True)
class _Operation:
    path: str
    method: str
    definition: Json

    @property
    def name(self) -> str:
        return str(self.definition["operationId"])

    @cached_property
    def thing(self) -> str:
        """Path of its resource: up to the last parameter; empty for a path without parameters."""
        return self.path[: self.path.rfind("}") + 1]

    @cached_property
    def parameters(self) -> list[str]:
        return _NAMED.findall(self.path)


def add_links(document: Json) -> None:
    """Add links to every answer that creates, reads or lists resources: to the operations that take the ids in it.

    Links are defined once under `components`. A resource links to its operations, a member with the id of another resource links to
    the operation that reads it, and a list links to the operation that reads its first item, or to the operations on that item.
    """
    _Linking(document).link()


class _Linking:
    def __init__(self, document: Json) -> None:
        self._schemas = document["components"]["schemas"]
        self._links: dict[str, Json] = {}
        self._components = document["components"]
        self._operations = [
            _Operation(path, method, definitions[method])
            for path, definitions in document["paths"].items()
            for method in _METHODS
            if method in definitions
        ]
        self._readings = {
            operation.path: operation
            for operation in self._operations
            if operation.method == "get" and operation.path == operation.thing != ""
        }
        self._kinds = {
            _member_of(reading.thing): reading for reading in self._readings.values() if len(reading.parameters) == 1
        }

    def link(self) -> None:
        for operation in self._operations:
            for status, answer in operation.definition["responses"].items():
                content = answer.get("content", {}).get("application/json")
                if not status.startswith("2") or content is None:
                    continue
                schema = self._resolved(content.get("schema", {}))
                links = dict(self._links_of(operation, status, schema))
                for name, link in links.items():
                    if self._links.setdefault(name, link) != link:
                        raise ValueError(f"two links are named {name}")
                if links:
                    answer["links"] = {name: {"$ref": f"#/components/links/{name}"} for name in sorted(links)}
        self._components["links"] = dict(sorted(self._links.items()))

    def _resolved(self, schema: Json) -> Json:
        reference = schema.get("$ref")
        resolved: Json = schema if reference is None else self._schemas[reference.rpartition("/")[2]]
        return resolved

    def _links_of(self, operation: _Operation, status: str, schema: Json) -> Iterator[tuple[str, Json]]:
        members = schema.get("properties", {})
        if "items" in members and "next_cursor" in members:
            yield from self._first(operation, members["items"])
            return
        yield from self._references(operation, members)
        thing = self._thing_of(operation, status, members)
        if thing is not None:
            yield from self._own(operation, thing, members)
            yield from self._parts(thing, members)

    def _first(self, operation: _Operation, items: Json) -> Iterator[tuple[str, Json]]:
        for reading in self._readings.values():
            is_of = reading.path.rpartition("/")[0] == operation.path
            key = _key(reading, self._resolved(items["items"]).get("properties", {}))
            if is_of and key:
                name = reading.name.removeprefix("read_")
                pointers = _path_of(reading) | {reading.parameters[-1]: f"$response.body#/items/0/{key}"}
                yield f"first_{name}", _link(reading, pointers, "Read the first of the page.")
        for target in self._operations:
            is_of = target.thing.rpartition("/")[0] == operation.path and target.thing not in self._readings
            key = _key(target, self._resolved(items["items"]).get("properties", {})) if is_of else None
            if key:
                pointers = _path_of(target) | {target.parameters[-1]: f"$response.body#/items/0/{key}"}
                yield target.name, _link(target, pointers)

    def _references(self, operation: _Operation, members: Json) -> Iterator[tuple[str, Json]]:
        for member, schema in members.items():
            reading = self._kinds.get(_ALSO.get(member, member))
            if reading is not None and reading != operation and _is_text(schema):
                yield (
                    member,
                    _link(
                        reading, {reading.parameters[0]: f"$response.body#/{member}"}, f"Read what `{member}` names."
                    ),
                )

    def _thing_of(self, operation: _Operation, status: str, members: Json) -> str | None:
        """Return the path of the resource in an answer, if it creates or reads one."""
        if operation.path in self._readings and operation.method in {"get", "patch"}:
            return operation.path
        if status not in _CREATED:
            return None
        created = (path for path in self._readings if path.rpartition("/")[0] == operation.path)
        thing = next(created, None) or operation.thing
        while thing:
            if thing in self._readings and self._holds(thing, members):
                return thing
            thing = thing[: thing.rfind("{") - 1]
            thing = thing[: thing.rfind("}") + 1]
        return None

    def _holds(self, thing: str, members: Json) -> bool:
        """Return True if an answer has all members of a resource."""
        content = self._readings[thing].definition["responses"]["200"]["content"]["application/json"]
        return set(self._resolved(content["schema"]).get("properties", {})) <= set(members)

    def _own(self, operation: _Operation, thing: str, members: Json) -> Iterator[tuple[str, Json]]:
        key = _key(self._readings[thing], members)
        for target in self._operations if key else ():
            if target.thing == thing and target != operation:
                pointers = _path_of(target) | {target.parameters[-1]: f"$response.body#/{key}"}
                if any(parameter["name"] == "If-Match" for parameter in target.definition.get("parameters", ())):
                    pointers["If-Match"] = "$response.header.ETag"
                yield target.name, _link(target, pointers)

    def _parts(self, thing: str, members: Json) -> Iterator[tuple[str, Json]]:
        """Link to parts of a resource that have a path of their own below it."""
        key = _key(self._readings[thing], members)
        for target in self._operations if key else ():
            collection, _, last = target.thing.rpartition("/")
            if not last.startswith("{") or collection.rpartition("/")[0] != thing:
                continue
            inside = collection.rpartition("/")[2]
            pointers = _path_of(target) | {target.parameters[-2]: f"$response.body#/{key}"}
            many, member = members.get(inside, {}), _member_of(target.thing)
            is_read = target == self._readings.get(target.thing)
            if many.get("type") == "array" and (is_read or target.thing not in self._readings):
                pointers[target.parameters[-1]] = f"$response.body#/{inside}/0/id"
                yield (
                    (inside, _link(target, pointers, f"Read the first of `{inside}`."))
                    if is_read
                    else (target.name, _link(target, pointers))
                )
            elif member in members and is_read:
                number = "" if _is_of(members[member], "integer") else "/number"
                pointers[target.parameters[-1]] = f"$response.body#/{member}{number}"
                yield member, _link(target, pointers, f"Read what `{member}` names.")


def _key(reading: _Operation, members: Json) -> str | None:
    """Return the member that identifies a resource among those of its kind."""
    last = reading.parameters[-1]
    return next((name for name in (last, "id") if name in members), None)


def _member_of(thing: str) -> str:
    """Return the name of members that hold the id of a resource: `handler` for `/v1/handlers/{handler_id}`."""
    return thing.split("/")[-2].replace("-", "_").removesuffix("s")


def _path_of(target: _Operation) -> dict[str, str]:
    """Return the sources of all parameters but the last: the path of the request."""
    return {name: f"$request.path.{name}" for name in target.parameters[:-1]}


def _is_of(schema: Json, kind: str) -> bool:
    return any(option.get("type") == kind for option in schema.get("anyOf", [schema]))


def _is_text(schema: Json) -> bool:
    return _is_of(schema, "string")


def _link(target: _Operation, parameters: dict[str, str], meaning: str | None = None) -> Json:
    description = meaning or _SENTENCE.split(target.definition["description"])[0].rstrip(".;:") + "."
    return {"operationId": target.name, "parameters": parameters, "description": description}
