"""Which files are taken as evidence, and under which name they are kept. Pure decisions on bytes.

A closed list of forms, each known by its own first bytes; what merely looks similar is refused, whatever the caller calls it.
"""

import io
import re
import unicodedata
import zipfile
from typing import Final

MAX_BYTES: Final = 20 * 1024 * 1024
MAX_NAME: Final = 120

_FIRST_BYTES: Final = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
)
_OPEN_XML: Final = "application/vnd.openxmlformats-officedocument."
_OFFICE: Final = {
    "word/document.xml": (_OPEN_XML + "wordprocessingml.document", ".docx"),
    "xl/workbook.xml": (_OPEN_XML + "spreadsheetml.sheet", ".xlsx"),
    "ppt/presentation.xml": (_OPEN_XML + "presentationml.presentation", ".pptx"),
}
_OPEN_DOCUMENT: Final = {
    "application/vnd.oasis.opendocument.text": ".odt",
    "application/vnd.oasis.opendocument.spreadsheet": ".ods",
    "application/vnd.oasis.opendocument.presentation": ".odp",
}
_OLD_OFFICE: Final = {
    "WordDocument": ("application/msword", ".doc"),
    "Workbook": ("application/vnd.ms-excel", ".xls"),
    "PowerPoint Document": ("application/vnd.ms-powerpoint", ".ppt"),
}
_ENDINGS: Final = {
    "application/pdf": ".pdf",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/tiff": ".tiff",
    "image/webp": ".webp",
    "text/plain": ".txt",
    **dict((*_OFFICE.values(), *_OLD_OFFICE.values())),
    **_OPEN_DOCUMENT,
}
MEDIA_TYPES: Final = tuple(sorted(_ENDINGS))
"""Every type that is taken."""

_SAME: Final = {".jpeg": ".jpg", ".tif": ".tiff", ".csv": ".txt", ".md": ".txt", ".log": ".txt"}
_MARKUP: Final = re.compile(
    rb"<\s*(!doctype|html|script|svg|\?xml|body|head|iframe|img|a\s|object|embed)", re.IGNORECASE
)
_UNSAFE: Final = re.compile(r'[\\/:*?"<>|;%]')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

TAKEN: Final = "PDF; PNG, JPEG, GIF, TIFF, WebP; Word, Excel, PowerPoint and OpenDocument without macros; UTF-8 text"


class NotTaken(ValueError):  # noqa: N818 - says what it is
    """The bytes are of no form that is taken; the message says why."""


def media_type_of(content: bytes) -> str:
    """Return the type of a file by what is in it.

    Raises:
        NotTaken: empty, too large, of another form, with macros, or a text that a browser would run.
    """
    if not content:
        raise NotTaken("The file is empty.")
    if len(content) > MAX_BYTES:
        raise NotTaken(f"The file has {len(content):,} bytes; {MAX_BYTES:,} are taken at most.")
    if content.startswith(b"PK\x03\x04"):
        return _packed(content)
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    for first, media_type in _FIRST_BYTES:
        if content.startswith(first):
            return _old_office(content) if media_type == "application/x-ole-storage" else media_type
    return _text(content)


def safe_name(name: str | None, media_type: str) -> str:
    """Return a file's name without path, control or reserved characters, with the ending of what it really is."""
    given = unicodedata.normalize("NFC", name or "").replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(
        "_" if _UNSAFE.match(character) else character
        for character in given
        if unicodedata.category(character)[0] != "C" and unicodedata.category(character) not in {"Zl", "Zp"}
    )
    stem, dot, ending = kept.strip(" .").rpartition(".")
    ending = f".{ending.lower()}" if dot else ""
    wanted = _ENDINGS[media_type]
    if _SAME.get(ending, ending) != wanted:
        stem, ending = kept.strip(" ."), wanted
    stem = stem.strip(" .")[: MAX_NAME - len(ending)].rstrip(" .")
    if not stem or _RESERVED.fullmatch(stem):
        stem = "document"
    return stem + ending


def _packed(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            names = set(package.namelist())
            kind = package.read("mimetype")[:100].decode("ascii", "replace") if _holds(package, "mimetype") else ""
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise NotTaken("The file looks like an office document and cannot be opened.") from error
    if any(name.lower().rsplit("/", 1)[-1] == "vbaproject.bin" or name.startswith("Basic/") for name in names):
        raise NotTaken("The document holds macros; save it without them.")
    if kind in _OPEN_DOCUMENT:
        return kind
    if "[Content_Types].xml" in names:
        for part, (media_type, _) in _OFFICE.items():
            if part in names:
                return media_type
    raise NotTaken(f"An archive is not taken. What is: {TAKEN}.")


def _holds(package: zipfile.ZipFile, name: str) -> bool:
    """Tell whether a package has a small member of this name."""
    return any(member.filename == name and member.file_size < MAX_NAME for member in package.infolist())


def _old_office(content: bytes) -> str:
    if "_VBA_PROJECT".encode("utf-16-le") in content:
        raise NotTaken("The document holds macros; save it without them.")
    for stream, (media_type, _) in _OLD_OFFICE.items():
        if stream.encode("utf-16-le") in content:
            return media_type
    raise NotTaken(f"This form of file is not taken. What is: {TAKEN}.")


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotTaken(f"This form of file is not taken. What is: {TAKEN}.") from error
    if any(unicodedata.category(character) == "Cc" and character not in "\n\r\t\f" for character in text):
        raise NotTaken(f"This form of file is not taken. What is: {TAKEN}.")
    if _MARKUP.search(content):
        raise NotTaken("Text with markup that a browser would run is not taken; send a PDF.")
    return "text/plain"
