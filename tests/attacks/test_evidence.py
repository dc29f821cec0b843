"""Whoever sends a file that is something else, or harms whoever opens it."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from tests.attacks.companies import PDF, Company, upload
from tests.world import Json, Person, World, day

TYPES = b'<?xml version="1.0"?><Types><Override PartName="/word/document.xml" ContentType="x"/></Types>'


@pytest.fixture(scope="session")
def shown(world: World, victim: Company) -> Json:
    return world.submitted(victim.handler, [victim.dataset], victim.recipient, persons=150_000)


def package(*members: tuple[str, bytes], **more: int) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in (("[Content_Types].xml", TYPES), ("word/document.xml", b"<w/>"), *members):
            made.writestr(name, content, **more)  # type: ignore[arg-type]
    return kept.getvalue()


def bomb() -> bytes:
    """A document that claims to unpack to 4 GiB."""
    whole = bytearray(package(("word/media/a.bin", bytes(1000))))
    place = whole.rindex(b"PK\x01\x02")
    struct.pack_into("<L", whole, place + 24, 0xFFFFFFFE)
    return bytes(whole)


REFUSED = {
    "a zip bomb": bomb(),
    "an archive that is no document": package().replace(b"word/document.xml", b"wild/document.xml"),
    "a document with macros": package(("word/vbaProject.bin", b"macro")),
    "a program": b"MZ\x90\x00" + bytes(200),
    "a page": b"<!doctype html><script>fetch('/v1/api-keys')</script>",
    "a picture that is a script": b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>",
    "a page behind white space": b"\n\n  <html><body onload=x()>",
    "markup inside text": b"Dear all,\n<iframe src=//evil.example></iframe>\n",
    "markup in UTF-16": "\ufeff<script>x()</script>".encode("utf-16-le"),
    "a shell script with NULs": b"#!/bin/sh\x00\nrm -rf /\n",
    "a polyglot that begins as a program": b"MZ\x90\x00" + PDF,
    "a page that claims to be a PDF further down": b"<html>" + PDF,
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_that_is_no_document_is_refused_whatever_it_is_called(world: World, shown: Json, what: str) -> None:
    for name in ("contract.pdf", "contract.docx"):
        refused = upload(world.requester, shown, REFUSED[what], name)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/file"), refused.text


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "..\\..\\windows\\system32\\a.pdf",
        "/etc/cron.d/x",
        "a.pdf\r\nSet-Cookie: x=y",
        'a".html; filename="b.html',
        "con.pdf",
        "\u202efdp.exe",
        "a.html",
        "a.pdf\x00.html",
        "é" * 400,
    ],
)
def test_a_name_leads_nowhere_and_ends_as_the_file_is(world: World, shown: Json, name: str) -> None:
    made = upload(world.requester, shown, PDF, name)
    if made.status_code in {400, 422}:
        return  # the name could not even be sent
    kept = made.json()["document"]["name"]
    assert made.status_code == 201
    assert kept.endswith(".pdf")
    assert not set(kept) & set('/\\:"<>|\r\n;%\x00\u202e')
    assert not kept.startswith(".")
    file = world.auditor.get(f"/v1/transfers/{shown['id']}/evidence/{made.json()['id']}/file")
    assert file.headers["content-disposition"].startswith("attachment; ")
    assert "set-cookie" not in file.headers


def test_a_polyglot_goes_out_as_what_it_was_taken_for_and_never_as_a_page(world: World, shown: Json) -> None:
    """A file may be two things at once; the browser is told which, and not to guess, and to keep it rather than show it."""
    polyglot = PDF + b"\n%<html><script>alert(1)</script></html>\n"
    made = upload(world.requester, shown, polyglot, "both.html")
    assert made.status_code == 201
    file = world.auditor.get(f"/v1/transfers/{shown['id']}/evidence/{made.json()['id']}/file")
    assert file.content == polyglot
    assert file.headers["content-type"] == "application/pdf"
    assert file.headers["x-content-type-options"] == "nosniff"
    assert file.headers["content-disposition"].startswith("attachment; ")
    assert "default-src 'none'" in file.headers["content-security-policy"]


def test_whoever_filed_a_paper_does_not_say_that_it_is_right(world: World, shown: Json) -> None:
    both = world.person("requester", "reviewer:privacy")
    made = upload(both, shown, PDF)
    verify = f"/v1/transfers/{shown['id']}/evidence/{made.json()['id']}/verify"
    assert both.post(verify).status_code == 403
    assert world.requester.post(verify).status_code == 403
    assert world.reviewers["privacy"].post(verify).status_code == 200


def test_a_paper_is_not_verified_through_somebody_else(world: World, shown: Json) -> None:
    """Neither with a key that whoever filed it made for a reviewer, nor by a role that they have lent."""
    author, stand_in = world.person("requester", "admin", "reviewer:privacy"), world.person()
    made = upload(author, shown, PDF)
    verify = f"/v1/transfers/{shown['id']}/evidence/{made.json()['id']}/verify"
    reviewer = world.person("reviewer:privacy")
    secret = author.made("/v1/api-keys", {"principal": reviewer.id})["secret"]
    assert Person(world.http, secret, reviewer.id, reviewer.name).post(verify).status_code == 403
    days = {"valid_from": day(0), "valid_until": day(5)}
    author.made("/v1/delegations", {"delegate": stand_in.id, "reason": "Away", **days})
    assert stand_in.post(verify).status_code == 403
    assert world.reviewers["privacy"].post(verify).status_code == 200
