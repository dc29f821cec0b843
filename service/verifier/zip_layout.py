"""Checks the layout of an evidence pack's ZIP file, so that every ZIP reader finds the same members in it.

Some readers use the central directory at the end, others the local header before each member. Both must agree, and every byte must belong
to a member or to the directory:

1. Members lie without gaps from the first byte to the directory.
2. A compressed stream ends where its member ends.
3. Nothing follows the end of the directory.

Source: APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14 to 4.3.16 (ends), 4.5.3 (sizes in 64 bits).
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64: Final = struct.Struct("<4sLQL")

_UTF_8: Final = 0x800
_ALLOWED_FLAGS: Final = _UTF_8 | 0x6
"""UTF-8 names and compression levels. Flags for sizes after the content, encryption and patches are not allowed."""
_ALLOWED_METHODS: Final = (0, 8)
_SIZES_FIELD: Final = 1
"""Id of the extra field of sizes in 64 bits. No other is allowed: some give a member another name."""
_TWO_SIZES: Final = 16
"""Bytes of two sizes in 64 bits."""
_FULL_16: Final = 0xFFFF
_FULL_32: Final = 0xFFFFFFFF
_CHUNK_SIZE: Final = 1 << 18
_MAX_DIRECTORY_SIZE: Final = 1 << 26
"""Maximal bytes of the directory."""
_ALLOWED_KINDS: Final = (0, 0o100000)
"""File type bits of a regular file, or none; links and devices are not allowed."""


class _LayoutError(ValueError):
    """The layout is not that of a pack."""


@dataclass(frozen=True)
class _Member:
    """A member as a header or the directory describes it."""

    name: bytes
    flags: int
    method: int
    time: tuple[int, int]
    crc: int
    packed: int
    """Bytes in the file."""
    size: int
    """Bytes of the uncompressed content."""


def find_faults(file: BinaryIO) -> Iterator[str]:
    """Yield the first reason why two readers could find different members in a file; nothing if there is none.

    Args:
        file: the pack, open for reading and seekable.

    Example:
        with path.open("rb") as file:
            for fault in find_faults(file):
                print(fault)
    """
    try:
        _check_layout(file)
    except (_LayoutError, struct.error, zlib.error, IndexError) as error:
        yield f"The file is not laid out as a pack: {error}"


def _check_layout(file: BinaryIO) -> None:
    begin, end, count = _find_directory(file)
    if end - begin > _MAX_DIRECTORY_SIZE:
        raise _LayoutError("its directory is too long.")
    file.seek(begin)
    directory, at, place = file.read(end - begin), 0, 0
    for _ in range(count):
        member, offset, at = _parse_entry(directory, at)
        if offset != place:
            raise _LayoutError(
                f"{_name_of(member)} begins at byte {offset} by the directory; the one before ends at {place}."
            )
        place = _check_local_header(file, place, member)
    if at != len(directory):
        raise _LayoutError("its directory has more entries than it counts.")
    if place != begin:
        raise _LayoutError(f"{begin - place} bytes before the directory belong to no member.")


def _find_directory(file: BinaryIO) -> tuple[int, int, int]:
    """Return the begin and the end of the directory, and its number of members; require that the file ends with it."""
    length = file.seek(0, 2)
    at = length - _END.size
    mark, disk, first_disk, here, count, size, begin, comment = _END.unpack(_read(file, at, _END.size))
    if mark != b"PK\5\6" or comment:
        raise _LayoutError("it does not end with the end of its directory.")
    if disk or first_disk or here != count:
        raise _LayoutError("it is one part of several.")
    is_long = count == _FULL_16 or _FULL_32 in {size, begin}
    if not is_long:
        mark = _read(file, at - _LOCATOR_64.size, 4) if at >= _LOCATOR_64.size else b""
        if mark == b"PK\6\7":
            raise _LayoutError("its directory ends twice.")
    else:
        place_at, at = at - _LOCATOR_64.size, at - _LOCATOR_64.size - _END_64.size
        mark, disk, place, disks = _LOCATOR_64.unpack(_read(file, place_at, _LOCATOR_64.size))
        if (mark, disk, place, disks) != (b"PK\6\7", 0, at, 1):
            raise _LayoutError("the 64-bit end of its directory is not where the locator points.")
        mark, rest, _, _, disk, first_disk, here, long_count, long_size, long_begin = _END_64.unpack(
            _read(file, at, _END_64.size)
        )
        if mark != b"PK\6\6" or rest != _END_64.size - 12 or disk or first_disk or here != long_count:
            raise _LayoutError("the end of its directory cannot be read.")
        if (
            count not in {long_count, _FULL_16}
            or size not in {long_size, _FULL_32}
            or begin not in {long_begin, _FULL_32}
        ):
            raise _LayoutError("the two ends of its directory differ.")
        count, size, begin = long_count, long_size, long_begin
    if begin + size != at:
        raise _LayoutError("something lies between its directory and the end.")
    return begin, at, count


def _parse_entry(directory: bytes, at: int) -> tuple[_Member, int, int]:
    """Return a member of the directory, the offset of its local header, and the place of the next entry."""
    entry = _CENTRAL.unpack_from(directory, at)
    mark, _, _, flags, method, time, day, crc, packed, size = entry[:10]
    name_size, extra_size, comment_size, disk, _, attributes, begin = entry[10:]
    names, extras = at + _CENTRAL.size, at + _CENTRAL.size + name_size
    name = directory[names:extras]
    if mark != b"PK\1\2" or comment_size or disk or len(name) != name_size:
        raise _LayoutError("an entry of its directory cannot be read.")
    if (attributes >> 16 & 0o170000) not in _ALLOWED_KINDS or attributes & 0x10:
        raise _LayoutError(f"{name!r} is no regular file.")
    extra = _parse_extra(directory[extras : extras + extra_size], extra_size)
    more = iter(_unpack_sizes(extra))
    size, packed, begin = (next(more) if number == _FULL_32 else number for number in (size, packed, begin))
    if next(more, None) is not None:
        raise _LayoutError(f"{name!r} has more 64-bit sizes than its entry needs.")
    return _require_portable(_Member(name, flags, method, (time, day), crc, packed, size)), begin, extras + extra_size


def _check_local_header(file: BinaryIO, at: int, member: _Member) -> int:
    """Compare the local header of a member with the directory, and return the end of the member."""
    mark, _, flags, method, time, day, crc, packed, size, name_size, extra_size = _LOCAL.unpack(
        _read(file, at, _LOCAL.size)
    )
    name, extra = file.read(name_size), _parse_extra(file.read(extra_size), extra_size)
    if mark != b"PK\3\4":
        raise _LayoutError(f"at byte {at} no member begins.")
    if extra or _FULL_32 in {packed, size}:
        long_size, long_packed = _unpack_sizes(extra) if len(extra) == _TWO_SIZES else (-1, -1)
        if size not in {long_size, _FULL_32} or packed not in {long_packed, _FULL_32}:
            raise _LayoutError(f"{name!r} has two sizes.")
        size, packed = long_size, long_packed
    if _Member(name, flags, method, (time, day), crc, packed, size) != member:
        raise _LayoutError(f"{_name_of(member)} has another local header than its entry in the directory.")
    _require_complete_content(file, member)
    return at + _LOCAL.size + int(name_size) + int(extra_size) + member.packed


def _require_complete_content(file: BinaryIO, member: _Member) -> None:
    """Require that the content, which begins at the file's position, has exactly the size of its member."""
    # A reader may take the end of the compressed stream for that of the member.
    inflating = zlib.decompressobj(-zlib.MAX_WBITS) if member.method else None
    left, size = member.packed, 0
    while left:
        packed = file.read(min(_CHUNK_SIZE, left))
        if not packed:
            raise _LayoutError(f"{_name_of(member)} is cut off.")
        left -= len(packed)
        while packed and inflating is not None and not inflating.eof and size <= member.size:
            size += len(inflating.decompress(packed, _CHUNK_SIZE))
            packed = inflating.unconsumed_tail
        if inflating is None:
            size += len(packed)
        elif inflating.unused_data or (inflating.eof and left):
            raise _LayoutError(f"bytes follow the compressed content of {_name_of(member)}.")
    if size != member.size or not (inflating is None or inflating.eof):
        raise _LayoutError(f"{_name_of(member)} has another size than its header states.")


def _require_portable(member: _Member) -> _Member:
    """Return a member; raise if readers may read it differently."""
    if member.flags & ~_ALLOWED_FLAGS or member.method not in _ALLOWED_METHODS:
        raise _LayoutError(f"{_name_of(member)} has flags or a compression method that packs do not use.")
    name = member.name
    is_plain = name.isascii() and not {*name} & {*b"\\:\0"} and name.decode().isprintable()
    if not is_plain or any(part in {b"", b".", b".."} for part in name.split(b"/")):
        raise _LayoutError(f"{name!r} is not a plain relative path.")
    return member


def _parse_extra(content: bytes, length: int) -> bytes:
    """Return the content of the extra field of sizes; empty if a header has no extra field."""
    if len(content) != length:
        raise _LayoutError("it ends within a header.")
    if not content:
        return b""
    kind, size = struct.unpack_from("<2H", content)
    if kind != _SIZES_FIELD or size != len(content) - 4 or not size:
        raise _LayoutError("a header has an extra field that packs do not use.")
    return content[4:]


def _unpack_sizes(extra: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(extra) // 8}Q", extra))  # a remainder of fewer bytes is a struct.error


def _name_of(member: _Member) -> str:
    return member.name.decode("ascii", "replace")


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    if at < 0:
        raise _LayoutError("it is too short.")
    file.seek(at)
    return file.read(size)
