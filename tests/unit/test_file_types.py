"""Which files are taken, and what they are called."""

import codecs
import io
import struct
import tracemalloc
import zipfile

import pytest

from service.transfers.file_types import (
    MAX_BYTES,
    MAX_DIRECTORY_BYTES,
    MAX_UNPACKED_BYTES,
    FileInspection,
    UnacceptedFile,
    media_type_of,
    safe_name,
)

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def package(**members: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return made.getvalue()


def spoilt(
    *,
    stated: int,
    member: str = "mimetype",
    size: int = 100_000,
    damaged: bool = False,
    compression: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """A package that lies about the size of a member, or whose packed bytes are damaged."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        archive.writestr(member, bytes(size))
    content = bytearray(made.getvalue())
    listed = content.rindex(b"PK\x01\x02") + 24
    content[listed : listed + 4] = stated.to_bytes(4, "little")
    if damaged:
        begins = content.index(member.encode()) + len(member)
        content[begins : begins + 8] = b"\xff" * 8
    return bytes(content)


DOCX = package(**{"[Content_Types].xml": "<Types/>", "word/document.xml": "<w/>"})


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"%PDF-1.7 ...", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"II*\x00", "image/tiff"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (DOCX, WORD),
        (
            package(**{"[Content_Types].xml": "", "xl/workbook.xml": ""}),
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ),
        (
            package(mimetype="application/vnd.oasis.opendocument.text"),
            "application/vnd.oasis.opendocument.text",
        ),
        (OLE + "WordDocument".encode("utf-16-le"), "application/msword"),
        (OLE + "Workbook".encode("utf-16-le"), "application/vnd.ms-excel"),
        ("Einwilligung, 同意\n".encode(), "text/plain"),
        (b"\xef\xbb\xbfname,count\r\n", "text/plain"),
        ("个人信息出境同意记录\r\n".encode("gb18030"), "text/plain"),
        ("同意记录 <1>\n".encode("utf-16"), "text/plain"),
        (codecs.BOM_UTF16_BE + "同意记录".encode("utf-16-be"), "text/plain"),
        (
            package(**{"[Content_Types].xml": f"<Override ContentType='{WORD}.main+xml'/>", "word/document2.xml": ""}),
            WORD,
        ),
    ],
)
def test_a_file_is_what_is_in_it(content: bytes, media_type: str) -> None:
    assert media_type_of(content) == media_type


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"%PDF-" + bytes(MAX_BYTES), "at most"),
        (b"PK\x03\x04 nonsense", "cannot be opened"),
        (package(**{"anything.txt": "x"}), "archive"),
        (package(**{"[Content_Types].xml": "x"}), "archive"),
        (package(**{"[Content_Types].xml": "", "word/document.xml": "", "word/vbaProject.bin": ""}), "macros"),
        (package(**{"mimetype": "application/vnd.oasis.opendocument.text", "Basic/x.xml": ""}), "macros"),
        (OLE + "WordDocument_VBA_PROJECT".encode("utf-16-le"), "macros"),
        (OLE, "not accepted"),
        (b"MZ\x90\x00", "not accepted"),
        (b"\x7fELF\x02", "not accepted"),
        (b"caf\xe9", "not accepted"),
        (b"a\x00b", "not accepted"),
        (b"<html><script>alert(1)</script>", "markup"),
        (b'<?xml version="1.0"?><svg onload="x"/>', "markup"),
        (b"Hello\n < SCRIPT >", "markup"),
        (b" <!-- --><p>", "markup"),
        (b"<?php system();", "markup"),
        (b"Hello <style >", "markup"),
        ("同意 <script>".encode("utf-16"), "markup"),
        ("同意 <script>".encode("gb18030"), "markup"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8", "not accepted"),
        ("\ue000".encode("gb18030"), "not accepted"),
        (package(**{"[Content_Types].xml": "macroEnabled", "word/document.xml": "", "word/x.bin": ""}), "macros"),
        (package(**{"mimetype": "application/vnd.oasis.opendocument.text", "Scripts/x.py": ""}), "macros"),
        (spoilt(stated=MAX_UNPACKED_BYTES + 1, member="word/document.xml"), "unpacks to"),
        (spoilt(stated=50), "cannot be opened"),
        (spoilt(stated=50, damaged=True), "cannot be opened"),
        (spoilt(stated=50, compression=zipfile.ZIP_BZIP2), "cannot be opened"),
    ],
)
def test_what_is_not_on_the_list_is_refused_with_the_reason(content: bytes, why: str) -> None:
    with pytest.raises(UnacceptedFile, match=why):
        media_type_of(content)


@pytest.mark.parametrize(
    ("given", "media_type", "kept"),
    [
        ("report.pdf", "application/pdf", "report.pdf"),
        ("../../etc/passwd", "application/pdf", "passwd.pdf"),
        ("C:\\docs\\contract.PDF", "application/pdf", "contract.pdf"),
        ("invoice.pdf.exe", "application/pdf", "invoice.pdf.exe.pdf"),
        ('a"b;c\r\nX: y.png', "image/png", "a_b_cX_ y.png"),
        ("photo.jpeg", "image/jpeg", "photo.jpeg"),
        ("rows.csv", "text/plain", "rows.csv"),
        ("影响评估报告.docx", WORD, "影响评估报告.docx"),
        ("exe\u202efdp.png", "application/pdf", "exefdp.png.pdf"),
        ("", "application/pdf", "document.pdf"),
        (None, "application/pdf", "document.pdf"),
        ("...", "text/plain", "document.txt"),
        ("con.txt", "text/plain", "document.txt"),
        ("x" * 300 + ".pdf", "application/pdf", "x" * 116 + ".pdf"),
        ("合" * 300 + ".pdf", "application/pdf", "合" * 78 + ".pdf"),
    ],
)
def test_a_name_is_made_safe_and_ends_as_the_file_is(given: str | None, media_type: str, kept: str) -> None:
    assert safe_name(given, media_type) == kept


def test_a_member_that_lies_about_its_size_is_not_unpacked() -> None:
    content = spoilt(stated=50, size=50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(UnacceptedFile, match="cannot be opened"):
            media_type_of(content)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def ended(table: int, *, comment: bytes = b"", offset: int = 0, wide: bool = False) -> bytes:
    """What looks like a package whose end says that its table of contents is so long."""
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, table, offset, len(comment)) + comment
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 30, 1) if wide else b""
    return b"PK\x03\x04" + bytes(60) + locator + end


PARTS = "lists far more parts"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (ended(MAX_DIRECTORY_BYTES), "cannot be opened"),
        (ended(MAX_DIRECTORY_BYTES + 1), PARTS),
        (ended(2**32 - 1, comment=b"said"), PARTS),
        (ended(MAX_DIRECTORY_BYTES + 1, offset=0x06054B50), PARTS),
        (ended(10, comment=b"PK\x05\x06 and no end"), PARTS),
        (ended(10, wide=True), PARTS),
        (b"PK\x03\x04" + bytes(40), "cannot be opened"),
        (b"PK\x03\x04", "cannot be opened"),
    ],
)
def test_a_table_of_contents_is_measured_before_it_is_read(content: bytes, why: str) -> None:
    with pytest.raises(UnacceptedFile, match=why):
        media_type_of(content)


def test_a_helper_tells_the_type_or_why_there_is_none() -> None:
    assert FileInspection(DOCX).media_type() == (WORD, "")
    assert FileInspection(b"").media_type() == ("", "The file is empty.")
