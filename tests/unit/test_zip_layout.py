"""In a file whose layout has no fault every reader finds the same members."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO

import pytest

from service.verifier import zip_layout

TEXT = b"A pack has a line. " * 40
CENTRAL, END = 46, 22


def written(*, method: int = zipfile.ZIP_DEFLATED, is_long: bool = False) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in ("records/one.ndjson", "two.txt"):
            with archive.open(name, "w", force_zip64=is_long) as out:
                out.write(TEXT)
    return file.getvalue()


def faults(content: bytes) -> list[str]:
    return list(zip_layout.find_faults(BytesIO(content)))


def directory_of(content: bytes) -> int:
    return int(struct.unpack_from("<L", content, len(content) - 6)[0])


def with_directory_at(content: bytes, place: int) -> bytes:
    return content[:-6] + struct.pack("<L", place) + content[-2:]


def replaced(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def second_entry(content: bytes) -> int:
    return directory_of(content) + CENTRAL + len("records/one.ndjson")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("is_long", [False, True])
def test_a_file_as_packs_are_written_has_no_fault(method: int, *, is_long: bool) -> None:
    assert faults(written(method=method, is_long=is_long)) == []


def test_a_file_without_members_has_no_fault() -> None:
    file = BytesIO()
    zipfile.ZipFile(file, "w").close()
    assert faults(file.getvalue()) == []


def test_a_directory_in_64_bits_has_no_fault_and_must_be_told_once() -> None:
    content = written()
    begin, at = directory_of(content), len(content) - END
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, at - begin, begin)
    place = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    short = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert faults(content[:at] + end + place + short) == []
    for changed in (
        content[:at] + end + place + content[at:],  # told twice
        content[:at] + end + replaced(place, 8, b"\1") + short,  # told to be elsewhere
        content[:at] + replaced(end, 0, b"XX") + place + short,
        content[:at] + replaced(end, 4, b"\1") + place + short,  # with more behind it
        content[:at] + replaced(end, 24, b"\1") + place + short,  # several parts
        content[:at] + end + place + replaced(short, 12, b"\1\0\0\0"),  # two lengths
    ):
        assert faults(changed)


def prefixed(content: bytes) -> bytes:
    return b"before" + content


def prefixed_and_told(content: bytes) -> bytes:
    """The whole file moved: each place that is told is moved as well."""
    begin = directory_of(content)
    moved = with_directory_at(content, begin + 6)
    for at in (begin, second_entry(content)):
        (offset,) = struct.unpack_from("<L", moved, at + 42)
        moved = replaced(moved, at + 42, struct.pack("<L", offset + 6))
    return b"before" + moved


def followed(content: bytes) -> bytes:
    return content + b"after"


def commented(content: bytes) -> bytes:
    return content[:-2] + struct.pack("<H", 5) + b"after"


def gap_before_the_directory(content: bytes) -> bytes:
    begin = directory_of(content)
    return with_directory_at(content[:begin] + b"between" + content[begin:], begin + 7)


def gap_after_the_directory(content: bytes) -> bytes:
    return content[:-END] + b"between" + content[-END:]


def members_in_another_order(content: bytes) -> bytes:
    begin, second = directory_of(content), second_entry(content)
    return content[:begin] + content[second:-END] + content[begin:second] + content[-END:]


def named_twice(content: bytes) -> bytes:
    begin, at = directory_of(content), len(content) - END
    size = at - begin + second_entry(content) - begin
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, size, begin, 0)
    return content[:at] + content[begin : second_entry(content)] + end


def counted_less(content: bytes) -> bytes:
    at = len(content) - END
    return replaced(content, at + 8, struct.pack("<2H", 1, 1))


def counted_more(content: bytes) -> bytes:
    at = len(content) - END
    return replaced(content, at + 8, struct.pack("<2H", 3, 3))


def in_several_parts(content: bytes) -> bytes:
    return replaced(content, len(content) - END + 4, b"\1")


def named_otherwise_before_it(content: bytes) -> bytes:
    return replaced(content, 30, b"R")


def larger_before_it(content: bytes) -> bytes:
    return replaced(content, 22, b"\xff")


def entry_without_its_mark(content: bytes) -> bytes:
    return replaced(content, directory_of(content), b"XX")


def header_without_its_mark(content: bytes) -> bytes:
    return replaced(content, 0, b"XX")


def a_link(content: bytes) -> bytes:
    return replaced(content, directory_of(content) + 38, struct.pack("<L", 0o120777 << 16))


def a_folder(content: bytes) -> bytes:
    return replaced(content, directory_of(content) + 38, struct.pack("<L", 0x10))


def cut_short(content: bytes) -> bytes:
    return content[-10:]


def no_zip(content: bytes) -> bytes:
    return bytes(len(content))


CHANGES: list[Callable[[bytes], bytes]] = [
    prefixed,
    prefixed_and_told,
    followed,
    commented,
    gap_before_the_directory,
    gap_after_the_directory,
    members_in_another_order,
    named_twice,
    counted_less,
    counted_more,
    in_several_parts,
    named_otherwise_before_it,
    larger_before_it,
    entry_without_its_mark,
    header_without_its_mark,
    a_link,
    a_folder,
    cut_short,
    no_zip,
]


@pytest.mark.parametrize("change", CHANGES, ids=[change.__name__ for change in CHANGES])
def test_what_two_readers_may_read_differently_is_a_fault(change: Callable[[bytes], bytes]) -> None:
    assert len(faults(change(written()))) == 1


def with_member(
    content: bytes,
    *,
    name: bytes = b"one.txt",
    flags: int = 0,
    method: int = 8,
    extra: bytes = b"",
    central_extra: bytes = b"",
    size: int | None = None,
) -> bytes:
    """Return a file of one member, told by both headers as it is told here."""
    crc, length = zlib.crc32(TEXT), len(TEXT) if size is None else size
    head = (flags, method, 0, 33, crc, len(content), length, len(name))
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, *head, len(extra)) + name + extra
    central = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, *head, len(central_extra), 0, 0, 0, 0, 0) + name
    central += central_extra
    place = len(local) + len(content)
    return local + content + central + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central), place, 0)


def deflated(content: bytes) -> bytes:
    deflating = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflating.compress(content) + deflating.flush()


def test_the_content_takes_all_of_its_room() -> None:
    assert faults(with_member(deflated(TEXT))) == []
    assert faults(with_member(TEXT, method=0)) == []
    for changed in (
        with_member(deflated(TEXT) + b"PK\3\4 hidden"),
        with_member(deflated(TEXT) + bytes(1 << 19)),
        with_member(deflated(TEXT)[:-3]),
        with_member(deflated(TEXT), size=len(TEXT) - 1),
        with_member(deflated(TEXT), size=len(TEXT) + 1),
        with_member(deflated(bytes(1 << 20))),
        with_member(TEXT, method=0, size=7),
        with_member(b"\xff" * 30),
        with_member(TEXT, method=12),
    ):
        assert len(faults(changed)) == 1


@pytest.mark.parametrize(
    "name",
    [b"../one", b"/one", b"a//b", b"a/./b", b"a\\b", b"c:one", b"one\0.txt", b"a/", b"", "\u0441".encode(), b"a\nb"],
)
def test_a_name_is_that_of_a_file_below_a_folder(name: bytes) -> None:
    assert len(faults(with_member(deflated(TEXT), name=name, flags=0x800))) == 1


@pytest.mark.parametrize("flag", [0x1, 0x8, 0x20, 0x40, 0x2000])
def test_no_flag_hides_what_a_member_is(flag: int) -> None:
    assert len(faults(with_member(deflated(TEXT), flags=flag))) == 1


def test_no_extra_field_gives_a_member_another_name_or_size() -> None:
    packed = deflated(TEXT)
    sizes = struct.pack("<2H2Q", 1, 16, len(TEXT), len(packed))
    assert faults(with_member(packed, extra=sizes)) == []
    for extra in (
        struct.pack("<2HBL", 0x7075, 7, 1, 0) + b"x",  # a second name
        struct.pack("<2H2Q", 1, 16, len(TEXT), 7),
        struct.pack("<2HQ", 1, 8, len(TEXT)),
        struct.pack("<2H", 1, 0),
        struct.pack("<2H2Q", 1, 8, 0, 0),
        b"\1",
    ):
        assert len(faults(with_member(packed, extra=extra))) == 1, extra
        assert len(faults(with_member(packed, central_extra=extra))) == 1, extra


def test_a_file_that_ends_within_a_member_is_no_pack() -> None:
    content = written(method=zipfile.ZIP_STORED)
    begin = directory_of(content)
    assert len(faults(content[:40] + content[begin:])) == 1
    huge = replaced(content, len(content) - END + 12, struct.pack("<2L", 0, 0))
    assert len(faults(huge)) == 1


def test_a_directory_of_any_length_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_layout, "_MAX_DIRECTORY_SIZE", 10)
    assert faults(written()) == ["The file is not laid out as a pack: its directory is too long."]


def test_a_member_that_is_longer_than_the_file_is_a_fault() -> None:
    content = with_member(TEXT, method=0)
    longer = struct.pack("<2L", len(content) + 1, len(content) + 1)
    changed = replaced(replaced(content, 18, longer), directory_of(content) + 20, longer)
    assert faults(changed) == ["The file is not laid out as a pack: one.txt is cut off."]


def test_an_extra_field_that_is_cut_off_is_a_fault() -> None:
    content = with_member(deflated(TEXT))
    changed = replaced(content, directory_of(content) + 30, struct.pack("<H", 50))
    assert faults(changed) == ["The file is not laid out as a pack: it ends within a header."]
