"""Detects the media type of evidence files by their content, and sanitizes their names. Pure.

Accepts a closed list of formats, each detected by its signature; the name and the declared type are ignored.

Example:
    media_type = media_type_of(content)
    name = safe_name("Report 2026.pdf", media_type)
"""

import codecs
import io
import re
import struct
import unicodedata
import zipfile
import zlib
from typing import Final

MAX_BYTES: Final = 20 * 1024 * 1024
MAX_NAME: Final = 120
MAX_NAME_BYTES: Final = 240
"""Bytes of a name in UTF-8; most file systems allow 255, which 120 Chinese characters exceed."""

MAX_DIRECTORY_BYTES: Final = 1024 * 1024
"""Bytes of the central directory of a ZIP package, some thousand parts. Reading a larger one takes too long."""
MAX_BYTES_IN_PROCESS: Final = 64 * 1024
"""Bytes of a file that is inspected without a helper process."""

MAX_UNPACKED_BYTES: Final = 512 * 1024 * 1024
"""Bytes that a package may unpack to, so that its readers can open it."""

_MAX_PART_BYTES: Final = 1024 * 1024

_SIGNATURES: Final = (
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
_OPEN_XML_TYPES: Final = {
    "word/document.xml": (_OPEN_XML + "wordprocessingml.document", ".docx"),
    "xl/workbook.xml": (_OPEN_XML + "spreadsheetml.sheet", ".xlsx"),
    "ppt/presentation.xml": (_OPEN_XML + "presentationml.presentation", ".pptx"),
}
_MACROS: Final = re.compile(rb"macroEnabled|vbaProject", re.IGNORECASE)
"""Marks of macros in the content types of a package."""

_OPEN_DOCUMENT_TYPES: Final = {
    "application/vnd.oasis.opendocument.text": ".odt",
    "application/vnd.oasis.opendocument.spreadsheet": ".ods",
    "application/vnd.oasis.opendocument.presentation": ".odp",
}
_OLE_TYPES: Final = {
    "WordDocument": ("application/msword", ".doc"),
    "Workbook": ("application/vnd.ms-excel", ".xls"),
    "PowerPoint Document": ("application/vnd.ms-powerpoint", ".ppt"),
}
FILE_EXTENSIONS: Final = {
    "application/pdf": ".pdf",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/tiff": ".tiff",
    "image/webp": ".webp",
    "text/plain": ".txt",
    **dict((*_OPEN_XML_TYPES.values(), *_OLE_TYPES.values())),
    **_OPEN_DOCUMENT_TYPES,
}
MEDIA_TYPES: Final = tuple(sorted(FILE_EXTENSIONS))
"""Every accepted media type."""

_EXTENSION_ALIASES: Final = {".jpeg": ".jpg", ".tif": ".tiff", ".csv": ".txt", ".md": ".txt", ".log": ".txt"}
_MARKUP: Final = re.compile(
    r"^\s*<[!?a-z]|<\s*(!doctype|html|script|svg|math|\?xml|\?php|body|head|iframe|img|a\s|object|embed|"
    r"(style|link|meta|base|form|input|video|audio|details|frameset|applet)[\s/>])",
    re.IGNORECASE,
)
"""Text that begins like markup, or that holds an element which loads or runs something."""

_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_NONCHARACTERS: Final = re.compile(r"[\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef\uffff\ufffe]")
"""Surrogates, private-use code points and noncharacters, which appear when binary data is decoded as text."""

_UNSAFE_CHARACTERS: Final = re.compile(r'[\\/:*?"<>|;%]')
_RESERVED_NAMES: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

ACCEPTED_FORMATS: Final = (
    "PDF; PNG, JPEG, GIF, TIFF, WebP; Word, Excel, PowerPoint and OpenDocument without macros; "
    "text in UTF-8, GB18030, or UTF-16 with its mark"
)


class UnacceptedFile(ValueError):  # noqa: N818 - a refusal, no fault
    """The file is not accepted; the message is the reason."""


def media_type_of(content: bytes) -> str:
    """Detect the media type of a file by its content.

    Raises:
        UnacceptedFile: empty, too large, of another format, with macros, or text that a browser would run.
    """
    if not content:
        raise UnacceptedFile("The file is empty.")
    if len(content) > MAX_BYTES:
        raise UnacceptedFile(f"The file has {len(content):,} bytes; at most {MAX_BYTES:,} are accepted.")
    if content.startswith(b"PK\x03\x04"):
        return _package_type(content)
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    for first, media_type in _SIGNATURES:
        if content.startswith(first):
            return _ole_type(content) if media_type == "application/x-ole-storage" else media_type
    return _text_type(content)


class FileInspection:
    """Inspects an uploaded file in a helper process (see `service.workers`)."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def media_type(self) -> tuple[str, str]:
        """Return the media type of the file and an empty reason, or an empty type and the reason for refusal."""
        try:
            return media_type_of(self._content), ""
        except UnacceptedFile as error:
            return "", str(error)


def safe_name(name: str | None, media_type: str) -> str:
    """Return a file name without path, control or reserved characters, with the extension of its media type."""
    base_name = unicodedata.normalize("NFC", name or "").replace("\\", "/").rsplit("/", 1)[-1]
    cleaned = "".join(
        "_" if _UNSAFE_CHARACTERS.match(character) else character
        for character in base_name
        if unicodedata.category(character)[0] != "C" and unicodedata.category(character) not in {"Zl", "Zp"}
    )
    stem, dot, extension = cleaned.strip(" .").rpartition(".")
    extension = f".{extension.lower()}" if dot else ""
    expected = FILE_EXTENSIONS[media_type]
    if _EXTENSION_ALIASES.get(extension, extension) != expected:
        stem, extension = cleaned.strip(" ."), expected
    stem = stem.strip(" .")[: MAX_NAME - len(extension)]
    stem = stem.encode()[: MAX_NAME_BYTES - len(extension)].decode(errors="ignore").rstrip(" .")
    if not stem or _RESERVED_NAMES.fullmatch(stem):
        stem = "document"
    return stem + extension


def _package_type(content: bytes) -> str:
    if _directory_bytes(content) > MAX_DIRECTORY_BYTES:
        raise UnacceptedFile("The file lists far more parts than an office document has.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            unpacked = sum(member.file_size for member in package.infolist())
            names = set(package.namelist())
            kind = _read_part(package, "mimetype", MAX_NAME).decode("ascii", "replace")
            types = _read_part(package, "[Content_Types].xml", _MAX_PART_BYTES)
    except _UNPACKING_ERRORS as error:
        raise UnacceptedFile("The file looks like an office document but cannot be opened.") from error
    if unpacked > MAX_UNPACKED_BYTES:
        raise UnacceptedFile(
            f"The document unpacks to {unpacked:,} bytes; at most {MAX_UNPACKED_BYTES:,} are accepted."
        )
    if _MACROS.search(types) or any(_is_macro(name) for name in names):
        raise UnacceptedFile("The document holds macros; save it without them.")
    if kind in _OPEN_DOCUMENT_TYPES:
        return kind
    if "[Content_Types].xml" in names:
        for part, (media_type, _) in _OPEN_XML_TYPES.items():
            if part in names or f"{media_type}.main+xml".encode() in types:
                return media_type
    raise UnacceptedFile(f"An archive is not accepted. Send one of: {ACCEPTED_FORMATS}.")


def _directory_bytes(content: bytes) -> int:
    """Return the declared size of a package's central directory in bytes, before reading it; a huge number for ZIP64."""
    # The end record is searched where `zipfile` searches it: at the end of the file, else as far back as a comment reaches.
    end = len(content) - _END_RECORD_BYTES
    if not (content.startswith(_END_RECORD, max(0, end)) and content.endswith(b"\x00\x00")):
        end = content.rfind(_END_RECORD, max(0, len(content) - _MAX_END_RECORD_BYTES))
    if content.startswith(_LOCATOR, max(0, end - _LOCATOR_BYTES)):
        return 2**64  # ZIP64, which no accepted file needs
    return int.from_bytes(content[max(0, end) :][12:16], "little") if end >= 0 else 0


_END_RECORD: Final = b"PK\x05\x06"
_END_RECORD_BYTES: Final = 22
_MAX_END_RECORD_BYTES: Final = 2**16 + _END_RECORD_BYTES
_LOCATOR: Final = b"PK\x06\x07"
_LOCATOR_BYTES: Final = 20

_UNPACKING_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    EOFError,
)
"""Errors that opening a damaged or hostile package raises."""


def _read_part(package: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return the first bytes of a part, up to a limit; empty if there is no such part. The declared size is not trusted.

    Raises:
        BadZipFile: a compression method that office documents do not use.
    """
    member = next((entry for entry in package.infolist() if entry.filename == name), None)
    if member is None:
        return b""
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise zipfile.BadZipFile(name)
    with package.open(member) as stream:
        return stream.read(limit)


def _is_macro(name: str) -> bool:
    return name.lower().rsplit("/", 1)[-1] == "vbaproject.bin" or name.startswith(("Basic/", "Scripts/"))


def _ole_type(content: bytes) -> str:
    if "_VBA_PROJECT".encode("utf-16-le") in content:
        raise UnacceptedFile("The document holds macros; save it without them.")
    for stream, (media_type, _) in _OLE_TYPES.items():
        if stream.encode("utf-16-le") in content:
            return media_type
    raise UnacceptedFile(f"This format is not accepted. Send one of: {ACCEPTED_FORMATS}.")


def _text_type(content: bytes) -> str:
    text = _decode_text(content)
    if text is None or _CONTROL_CHARACTERS.search(text) or _NONCHARACTERS.search(text):
        raise UnacceptedFile(f"This format is not accepted. Send one of: {ACCEPTED_FORMATS}.")
    if _MARKUP.search(text):
        raise UnacceptedFile("Text with markup that a browser would run is not accepted; send a PDF.")
    return "text/plain"


def _decode_text(content: bytes) -> str | None:
    """Decode text in UTF-8, UTF-16 with its mark or GB18030; None: none of them fits."""
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if is_wide else ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None
