"""Persons and secrets sent in every field that a caller can send: what the servers log of it is looked through at the session's end."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from service import logs
from tests.conftest import Clock, Served, Settings, database_named, run_sql
from tests.faults.test_process import serving
from tests.planted import PERSON, PERSON_ZH, PLANTED, require_clean
from tests.waiting import seen
from tests.world import STAGES, Json, Person, World, day

EVERYTHING = " / ".join(PLANTED.values())
ROLES = ("registrar", "requester", "exporter", "auditor", "admin", *(f"reviewer:{stage}" for stage in STAGES))


@pytest.fixture(scope="module")
def everyone(world: World) -> Person:
    return world.person(*ROLES)


def routes(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            yield method.upper(), path, told


def headers_with(plant: str, secret: str | None) -> dict[str, str]:
    text = quote(plant, safe=" /@.")
    names = ("X-Request-ID", "Idempotency-Key", "If-Match", "If-None-Match", "Cookie", "User-Agent", "Referer")
    sent = {
        name: text.replace(" ", "_")
        for name in (*names, "X-Forwarded-For", "Forwarded", "Accept", "X-" + re.sub("[^A-Za-z0-9]", "-", plant))
    }
    return sent | {"Authorization": f"Bearer {secret or text.replace(' ', '_')}"}


def filled(schema: Json, document: Json, plant: str, depth: int = 0) -> Any:
    """Return a body of a schema's shape with what is planted wherever a text may stand."""
    if "$ref" in schema:
        return filled(document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]], document, plant, depth)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return filled(schema[several][0], document, plant, depth)
    if schema.get("type") == "object" and depth < 5:
        return {name: filled(each, document, plant, depth + 1) for name, each in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [filled(schema.get("items", {}), document, plant, depth + 1)]
    return {"integer": 1, "number": 1, "boolean": True}.get(schema.get("type", ""), plant)


def bodies(told: Json, document: Json, plant: str) -> Iterator[tuple[bytes, str]]:
    content = told.get("requestBody", {}).get("content", {})
    for media_type, shape in content.items():
        if media_type == "application/json":
            shaped = filled(shape.get("schema", {}), document, plant)
            yield json.dumps(shaped).encode(), media_type
            yield json.dumps({plant: plant}).encode(), media_type
            yield f'{{"a": "{plant}", "a": 1}}'.encode(), media_type
        yield plant.encode(), media_type.replace("multipart/form-data", f"multipart/form-data; boundary={plant[:3]}")
    yield plant.encode(), "text/plain"


def test_every_route_is_sent_persons_and_secrets_in_every_part_of_a_request(
    http: httpx.Client, everyone: Person, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = http.get("/openapi.json").json()
    plants = itertools.cycle(PLANTED.values())
    answered = set()
    for method, path, told in routes(document):
        for secret in (everyone.secret, None):
            plant = next(plants)
            place = path
            for parameter in told.get("parameters", []):
                if parameter["in"] == "path":
                    place = place.replace(f"{{{parameter['name']}}}", quote(plant, safe=""))
            known = [each["name"] for each in told.get("parameters", []) if each["in"] == "query"]
            for query in (dict.fromkeys(known, plant), {plant: plant}, {}):
                # What is asked of the gate is on record as it was asked: no text that is sealed elsewhere.
                in_body = f"asked {plant}" if path.startswith(("/access/", "/v1/exports")) else plant
                for body, media_type in bodies(told, document, in_body) if method != "GET" else [(b"", "")]:
                    headers = headers_with(plant, secret) | ({"Content-Type": media_type} if media_type else {})
                    if query == {} and method == "POST":
                        headers.pop("Idempotency-Key")
                    encoded = {name: value.encode("utf-8") for name, value in headers.items()}
                    answer = http.request(method, place, params=query, content=body, headers=encoded)
                    assert answer.status_code < 500, (method, path, answer.text)
                    answered.add(answer.status_code)
    assert {401, 404, 422} <= answered
    require_clean(tmp_path_factory.getbasetemp())


def test_a_whole_story_about_a_planted_person(world: World) -> None:
    """What is taken, and not only what is refused."""
    handler = world.registrar.made(
        "/v1/handlers", {"key": world.name("planted"), "name": PLANTED["address"], "facts": {"ciio": False}}
    )
    dataset = world.dataset(handler, "personal", title=f"{PERSON_ZH} {PLANTED['id_number']}", owner=PLANTED["email"])
    recipient = world.recipient(name=PLANTED["address"])
    transfer = world.submitted(handler, [dataset], recipient, description=EVERYTHING, persons=100)
    paper = {"kind": transfer["missing_evidence"][0], "reference": PLANTED["passport"], "issuer": PERSON}
    sent = world.requester.http.post(
        f"/v1/transfers/{transfer['id']}/evidence",
        files={
            "document": (None, json.dumps(paper | {"issued_on": day(0), "note": PLANTED["card"]}), "application/json"),
            "file": (f"{PERSON_ZH}-{PLANTED['mobile']}.txt", PLANTED["id_number"].encode(), "text/plain"),
        },
        headers={"Authorization": f"Bearer {world.requester.secret}"},
    )
    assert sent.status_code in {201, 422}, sent.text
    for stage in transfer["stages"]:
        world.add_evidence(transfer, issuer=PERSON)
        world.review(transfer, stage["name"], comment=EVERYTHING)
        break
    world.ask(dataset, recipient, purpose=PLANTED["password"], fields=[PLANTED["mobile"]])
    refused = world.exporter.post(
        "/v1/exports",
        {
            "dataset": dataset["id"],
            "recipient": recipient["id"],
            "purpose": PLANTED["password"],
            "person_hashes": [PLANTED["hash"]],
        },
        X_Request_ID=PLANTED["id_number"],
    )
    assert refused.status_code == 403
    assert refused.headers["X-Request-ID"] == PLANTED["id_number"], "the caller has it back as it was"
    world.admin.made("/v1/principals", {"name": f"{PERSON} {world.name('p')}", "kind": "person"})


BREAK = """
create function broken_{table}() returns trigger language plpgsql as $$
begin raise exception 'broken' using detail = format('Key (name)=(%s) was planted', row_to_json(new)::text); end $$;
create trigger broken before insert on {table} for each row execute function broken_{table}()
"""
MEND = "drop trigger broken on {table}; drop function broken_{table}()"


@pytest.mark.parametrize("table", ["handlers", "exports"])
def test_a_fault_of_the_database_is_logged_by_type_and_place(world: World, database_url: str, table: str) -> None:
    handler = world.handler()
    dataset, recipient = world.dataset(handler, title=PLANTED["address"]), world.recipient()
    run_sql(database_url, BREAK.format(table=table))
    try:
        if table == "handlers":
            body = {"key": world.name("planted"), "name": PLANTED["address"], "facts": {"ciio": False}}
            answer = world.registrar.post("/v1/handlers", body)
        else:
            answer = world.export(dataset, recipient, purpose=PLANTED["address"])
    finally:
        run_sql(database_url, MEND.format(table=table))
    assert answer.status_code == 500
    assert PLANTED["address"] not in answer.text


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_server_process_that_is_sent_persons_and_faults_logs_none_of_them(tmp_path: Path, style: str) -> None:
    with serving(tmp_path / "data", OUTBOUND_LOG_FORMAT=style, OUTBOUND_LOG_LEVEL="debug") as (address, _, output):
        secret = next(word for word in output.read_text().split() if word.startswith("ob_live_"))
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {secret}"}) as http:
            for plant in PLANTED.values():
                asked = {"X-Request-ID": quote(plant), "User-Agent": quote(plant)}
                assert http.get("/v1/principals", params={"name": plant}, headers=asked).status_code == 422
                http.post("/v1/principals", json={"name": plant, "kind": "person"}, headers=asked)
                http.post("/v1/principals", content=f"{{{plant}".encode(), headers=asked)
                http.get(f"/{quote(plant)}", headers=asked)
        assert len(output.read_text().splitlines()) > 4 * len(PLANTED), "lines were written"
    require_clean(tmp_path)


@contextmanager
def a_log(folder: Path, text: str) -> Iterator[Path]:
    """A log for the search to find, which is gone before the session's own search."""
    file = folder / "output-1"
    file.write_text(text, "utf-8")
    try:
        yield folder
    finally:
        file.unlink()


@pytest.mark.parametrize(
    "spelling",
    [PERSON, quote(PERSON), json.dumps(PERSON_ZH), PERSON_ZH, PERSON.upper(), quote(PERSON_ZH)],
    ids=["plain", "quoted", "escaped", "chinese", "upper", "chinese-quoted"],
)
def test_what_is_planted_in_a_log_is_found_however_it_is_written(tmp_path: Path, spelling: str) -> None:
    with a_log(tmp_path, f"a line\nwith {spelling} in it\n"), pytest.raises(AssertionError, match="output-1:2 holds a"):
        require_clean(tmp_path)


@pytest.mark.parametrize("secret", ["ob_live_abcdefghjkmn_" + "a" * 52, "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhYmMifQ.x"])
def test_a_secret_in_a_log_is_found(tmp_path: Path, secret: str) -> None:
    with a_log(tmp_path, f'{{"event": "{secret}"}}\n'), pytest.raises(AssertionError, match="holds a secret"):
        require_clean(tmp_path)


def test_the_log_of_the_session_is_the_one_that_is_searched(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ident = "8f14e45f-ceea-467f-a8c6-1f3a1d3a2f10"
    world.registrar.send("GET", "/v1/me", X_Request_ID=ident)

    def logged() -> list[Json]:
        lines = (tmp_path_factory.getbasetemp() / "served.log").read_text().splitlines()
        return [json.loads(line) for line in lines if ident in line]

    # The line is written after the answer has been sent.
    assert [line["route"] for line in seen(logged, 10)] == ["/v1/me"]


def test_an_id_that_a_person_made_up_is_logged_by_its_hash() -> None:
    plain = ["8f14e45f-ceea-467f-a8c6-1f3a1d3a2f10"]
    plain += ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "rq_01abcdefghjkmnpqrstvwxyz00-1f"]
    assert [logs.loggable_id(ident) for ident in plain] == plain
    for ident in (
        *map(quote, PLANTED.values()),
        "a\x1b[31m",
        "a b",
        "\xe4",
    ):
        assert logs.loggable_id(ident).startswith("sha256:")


def test_a_start_that_fails_says_why(tmp_path: Path, postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "key.pem"
    key.write_text("no key")
    run_sql(
        postgres,
        "drop database if exists start_that_fails",
        "create database start_that_fails template template_outbound",
    )
    settings = Settings(data_dir=tmp_path / "data", signing_key_file=key)
    served = Served(settings, database_named(postgres, "start_that_fails"), Clock())
    with pytest.raises(SystemExit):
        served.run()
    assert "no key" not in capsys.readouterr().err
