"""Who gives way where there is no room, and that the numbers are right whatever comes and goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.http.connection_limits import ConnectionLimit, ConnectionSet

ROOM = ConnectionLimit(most=8, by_address=3)


def crowd_of(*addresses: bytes | None) -> ConnectionSet[int]:
    crowd = ConnectionSet[int]()
    for number, address in enumerate(addresses):
        crowd.add(number, address)
    return crowd


def told(crowd: ConnectionSet[int], address: bytes | None) -> list[int] | None:
    found = crowd.find_replaceable(address, ROOM)
    return None if found is None else list(found)


def test_there_is_room_for_some() -> None:
    assert ROOM.for_unauthenticated == 6
    assert told(crowd_of(), b"a") is None
    assert told(crowd_of(b"a", b"a", b"b", b"b", None), b"a") is None


def test_an_address_that_has_its_share_gives_way_to_itself_the_oldest_first() -> None:
    crowd = crowd_of(b"a", b"b", b"a", b"a")
    assert told(crowd, b"a") == [0, 2, 3]
    assert told(crowd, b"b") is None
    crowd.mark_authenticated(2, b"a")
    assert told(crowd, b"a") is None


def test_who_is_spared_has_no_share_but_gives_way_to_all() -> None:
    assert told(crowd_of(*[None] * 5), None) is None
    assert told(crowd_of(b"a", *[None] * 5), None) == [1, 2, 3, 4, 5, 0]
    assert told(crowd_of(b"a", *[None] * 5), b"b") == [1, 2, 3, 4, 5, 0]


def test_known_callers_give_way_to_nobody_and_have_the_places_that_are_left() -> None:
    crowd = crowd_of(b"a", b"b", b"c", b"d", b"e")
    for number in range(5, 8):
        crowd.add(number, b"k")
        crowd.mark_authenticated(number, b"k")
        crowd.mark_authenticated(number, b"k")
    assert len(crowd) == 8
    assert told(crowd, b"z") == [0, 1, 2, 3, 4]
    for number, address in enumerate((b"a", b"b", b"c", b"d", b"e")):
        crowd.mark_authenticated(number, address)
    assert told(crowd, b"z") == []


ADDRESSES = st.sampled_from([b"a", b"b", b"c", None])
ACTS = st.lists(st.tuples(st.sampled_from(["enter", "let in", "leave"]), st.integers(0, 9)), max_size=60)


@given(st.lists(ADDRESSES, min_size=10, max_size=10), ACTS)
def test_the_numbers_are_those_of_who_is_there(addresses: list[bytes | None], acts: list[tuple[str, int]]) -> None:
    crowd, strangers, known = ConnectionSet[int](), dict[int, None](), set[int]()
    for act, number in acts:
        address = addresses[number]
        if act == "enter" and number not in strangers and number not in known:
            crowd.add(number, address)
            strangers[number] = None
        elif act == "let in" and number in strangers:
            crowd.mark_authenticated(number, address)
            del strangers[number]
            known.add(number)
        elif act == "leave":
            crowd.remove(number, address)
            strangers.pop(number, None)
            known.discard(number)
        assert len(crowd) == len(strangers) + len(known)
        for one in set(addresses):
            found = told(crowd, one)
            own = [stranger for stranger in strangers if addresses[stranger] == one]
            if one is not None and len(own) >= ROOM.by_address:
                assert found == own
            elif len(strangers) >= ROOM.for_unauthenticated or len(crowd) >= ROOM.most:
                assert sorted(found or []) == sorted(strangers)
            else:
                assert found is None
