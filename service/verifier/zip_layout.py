"""Reads the layout of an evidence pack's ZIP file, so that every reader of the file finds the same members in it.

Some readers go by the directory at the end, others by the header before each member. Both must say the same, and every byte must belong to
one of them: members lie without gaps from the first byte to the directory, what was compressed ends where its member ends, and nothing
follows the end of the directory.

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
_PLACE_64: Final = struct.Struct("<4sLQL")

_UTF_8: Final = 0x800
_KNOWN_FLAGS: Final = _UTF_8 | 0x6
"""Names in UTF-8, and how hard it was compressed. None that hides sizes behind the content, encrypts or patches."""
_METHODS: Final = (0, 8)
_SIZES: Final = 1
"""The extra field of sizes in 64 bits, the only one: others can give a member another name."""
_BOTH_64: Final = 16
"""Bytes of two sizes in 64 bits."""
_FULL_16: Final = 0xFFFF
_FULL_32: Final = 0xFFFFFFFF
_CHUNK: Final = 1 << 18
_MAX_DIRECTORY: Final = 1 << 26
"""Bytes of the directory at most."""
_KINDS: Final = (0, 0o100000)
"""A plain file, or no kind; no link, no device."""


class _LayoutError(ValueError):
    """The file is not laid out as a pack is."""


@dataclass(frozen=True)
class _Member:
    """What a header says of a member."""

    name: bytes
    flags: int
    method: int
    time: tuple[int, int]
    crc: int
    packed: int
    """Bytes as they lie in the file."""
    size: int
    """Bytes of the content."""


def faults(file: BinaryIO) -> Iterator[str]:
    """Return in which way two readers could find different members in a file; nothing, where they cannot.

    Args:
        file: the pack, which can be read anywhere.
    """
    try:
        _look(file)
    except (_LayoutError, struct.error, zlib.error, IndexError) as error:
        yield f"The file is not laid out as a pack: {error}"


def _look(file: BinaryIO) -> None:
    begin, end, count = _directory(file)
    if end - begin > _MAX_DIRECTORY:
        raise _LayoutError("its directory is too long.")
    file.seek(begin)
    directory, at, place = file.read(end - begin), 0, 0
    for _ in range(count):
        member, told, at = _central(directory, at)
        if told != place:
            raise _LayoutError(f"{_shown(member)} is told to begin at byte {told}, the one before ends at {place}.")
        place = _local(file, place, member)
    if at != len(directory):
        raise _LayoutError("its directory holds more than it counts.")
    if place != begin:
        raise _LayoutError(f"{begin - place} bytes before the directory belong to no member.")


def _directory(file: BinaryIO) -> tuple[int, int, int]:
    """Return where the directory begins and ends, and how many members it names; demand that the file ends with it."""
    length = file.seek(0, 2)
    at = length - _END.size
    mark, disk, first_disk, here, count, size, begin, comment = _END.unpack(_read(file, at, _END.size))
    if mark != b"PK\5\6" or comment:
        raise _LayoutError("it does not end with the end of its directory.")
    if disk or first_disk or here != count:
        raise _LayoutError("it is one of several.")
    is_long = count == _FULL_16 or _FULL_32 in {size, begin}
    if not is_long:
        mark = _read(file, at - _PLACE_64.size, 4) if at >= _PLACE_64.size else b""
        if mark == b"PK\6\7":
            raise _LayoutError("its directory ends twice.")
    else:
        place_at, at = at - _PLACE_64.size, at - _PLACE_64.size - _END_64.size
        mark, disk, place, disks = _PLACE_64.unpack(_read(file, place_at, _PLACE_64.size))
        if (mark, disk, place, disks) != (b"PK\6\7", 0, at, 1):
            raise _LayoutError("the end of its directory is not where it is told to be.")
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


def _central(directory: bytes, at: int) -> tuple[_Member, int, int]:
    """Return what the directory says of a member, where that is told to begin, and where the next entry does."""
    told = _CENTRAL.unpack_from(directory, at)
    mark, _, _, flags, method, time, day, crc, packed, size = told[:10]
    of_name, of_extra, of_comment, disk, _, attributes, begin = told[10:]
    names, extras = at + _CENTRAL.size, at + _CENTRAL.size + of_name
    name = directory[names:extras]
    if mark != b"PK\1\2" or of_comment or disk or len(name) != of_name:
        raise _LayoutError("an entry of its directory cannot be read.")
    if (attributes >> 16 & 0o170000) not in _KINDS or attributes & 0x10:
        raise _LayoutError(f"{name!r} is no plain file.")
    extra = _extra(directory[extras : extras + of_extra], of_extra)
    more = iter(_numbers(extra))
    size, packed, begin = (next(more) if number == _FULL_32 else number for number in (size, packed, begin))
    if next(more, None) is not None:
        raise _LayoutError(f"{name!r} has sizes that nobody asked for.")
    return _checked(_Member(name, flags, method, (time, day), crc, packed, size)), begin, extras + of_extra


def _local(file: BinaryIO, at: int, member: _Member) -> int:
    """Hold the header before a member against the directory, and return where the member ends."""
    mark, _, flags, method, time, day, crc, packed, size, of_name, of_extra = _LOCAL.unpack(
        _read(file, at, _LOCAL.size)
    )
    name, extra = file.read(of_name), _extra(file.read(of_extra), of_extra)
    if mark != b"PK\3\4":
        raise _LayoutError(f"at byte {at} no member begins.")
    if extra or _FULL_32 in {packed, size}:
        long_size, long_packed = _numbers(extra) if len(extra) == _BOTH_64 else (-1, -1)
        if size not in {long_size, _FULL_32} or packed not in {long_packed, _FULL_32}:
            raise _LayoutError(f"{name!r} has two sizes.")
        size, packed = long_size, long_packed
    if _Member(name, flags, method, (time, day), crc, packed, size) != member:
        raise _LayoutError(f"{_shown(member)} is another one by the header before it than by the directory.")
    _require_whole(file, member)
    return at + _LOCAL.size + int(of_name) + int(of_extra) + member.packed


def _require_whole(file: BinaryIO, member: _Member) -> None:
    """Demand that the content, which begins here, takes all of its room: a reader may go by where the compressed stream ends."""
    inflating = zlib.decompressobj(-zlib.MAX_WBITS) if member.method else None
    left, size = member.packed, 0
    while left:
        packed = file.read(min(_CHUNK, left))
        if not packed:
            raise _LayoutError(f"{_shown(member)} is cut off.")
        left -= len(packed)
        while packed and inflating is not None and not inflating.eof and size <= member.size:
            size += len(inflating.decompress(packed, _CHUNK))
            packed = inflating.unconsumed_tail
        if inflating is None:
            size += len(packed)
        elif inflating.unused_data or (inflating.eof and left):
            raise _LayoutError(f"something is hidden behind the content of {_shown(member)}.")
    if size != member.size or not (inflating is None or inflating.eof):
        raise _LayoutError(f"{_shown(member)} has another size than it is told to have.")


def _checked(member: _Member) -> _Member:
    """Demand a member that all readers read alike."""
    if member.flags & ~_KNOWN_FLAGS or member.method not in _METHODS:
        raise _LayoutError(f"{_shown(member)} is not stored in a way that all read.")
    name = member.name
    is_plain = name.isascii() and not {*name} & {*b"\\:\0"} and name.decode().isprintable()
    if not is_plain or any(part in {b"", b".", b".."} for part in name.split(b"/")):
        raise _LayoutError(f"{name!r} is no name of a file below a folder.")
    return member


def _extra(content: bytes, length: int) -> bytes:
    """Return what follows the head of the extra field of sizes, which is the only one; nothing, where there is none."""
    if len(content) != length:
        raise _LayoutError("it ends within a header.")
    if not content:
        return b""
    kind, size = struct.unpack_from("<2H", content)
    if kind != _SIZES or size != len(content) - 4 or not size:
        raise _LayoutError("a header has an extra field that packs do not have.")
    return content[4:]


def _numbers(extra: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(extra) // 8}Q", extra))  # a rest of fewer bytes is an error of its own


def _shown(member: _Member) -> str:
    return member.name.decode("ascii", "replace")


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    if at < 0:
        raise _LayoutError("it is too short.")
    file.seek(at)
    return file.read(size)
