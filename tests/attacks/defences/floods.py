"""Floods and slow callers."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, Edit, one

LIMITS: Final = "service/http/rate_limits.py"
PROTOCOL: Final = "service/http/server_protocol.py"
FRAMING: Final = "service/http/request_parser.py"
CROWDING: Final = "service/http/connection_limits.py"
LIMITED: Final = "tests/faults/test_limits.py::"
SLOW: Final = "tests/faults/test_slow.py::"

DEFENCES: Final = (
    one(
        "A171",
        "what a key asks is counted",
        LIMITS,
        "RateLimiter.require_request",
        "_take(self._keyed if path not in self._gate_paths else None, credential, self._clock())",
        "pass",
        LIMITED + "test_a_key_that_asks_too_often_is_told_when_to_come_back_and_others_are_served",
    ),
    one(
        "A172",
        "failed attempts of an address are counted",
        LIMITS,
        "RateLimiter.require_attempt",
        "if wait",
        "False",
        LIMITED + "test_failed_attempts_of_an_address_end_and_whoever_is_known_goes_on",
    ),
    one(
        "A173",
        "credentials that were let in are forgotten one day",
        LIMITS,
        "RateLimiter.record_answer",
        "len(self._authenticated) > MAX_AUTHENTICATED",
        "False",
        LIMITED + "test_what_is_remembered_has_an_end_and_shows_no_secret",
    ),
    one(
        "A173",
        "addresses are forgotten one day",
        "service/http/token_bucket.py",
        "Buckets.take",
        "len(self._full_at) > self._capacity",
        "False",
        LIMITED + "test_what_is_remembered_has_an_end_and_shows_no_secret",
    ),
    one(
        "A174",
        "a head comes in time",
        PROTOCOL,
        "TimeoutProtocol._close_slow",
        "if not self._open_exchanges",
        "False",
        SLOW + "test_a_head_that_does_not_come_is_not_waited_for",
    ),
    one(
        "A175",
        "a body comes in time",
        PROTOCOL,
        "TimeoutProtocol._close_slow",
        "self._is_dripping(self._received - before[2])",
        "False",
        SLOW + "test_a_body_that_stalls_or_drips_is_408",
    ),
    one(
        "A176",
        "an answer is taken in time",
        PROTOCOL,
        "TimeoutProtocol._check_progress",
        "self.transport.abort(…)",
        "",
        SLOW + "test_an_answer_that_nobody_takes_is_given_up",
    ),
    one(
        "A177",
        "a connection on which nothing comes is closed",
        PROTOCOL,
        "TimeoutProtocol._close_slow",
        "if self._is_whole and self._is_idle()",
        "False",
        SLOW + "test_five_hundred_idle_connections_harm_nobody_and_are_let_go",
    ),
    one(
        "A178",
        "a head holds so many fields",
        FRAMING,
        "_parse_fields",
        "len(fields) > MAX_FIELDS",
        "False",
        SLOW + "test_a_head_that_holds_too_much_or_says_two_things_is_refused",
    ),
    one(
        "A185",
        "there are so many connections",
        PROTOCOL,
        "TimeoutProtocol.connection_made",
        "not self._can_be_added()",
        "False",
        SLOW + "test_more_connections_than_there_may_be_are_503",
    ),
    one(
        "A188",
        "a request is taken on the shortest way where nothing else is under way",
        "service/gate/fast_path/http_protocol.py",
        "FastPathProtocol._is_free",
        (
            "(self.cycle is None or self.cycle.response_complete) and (not (self.pipeline or "
            "self.flow.write_paused)) and (self.limit_concurrency is None)"
        ),
        "not (self.pipeline or self.flow.write_paused) and self.limit_concurrency is None",
        "tests/faults/test_direct.py::test_requests_that_follow_each_other_are_answered_in_order",
    ),
    one(
        "A189",
        "behind a head that is known comes all that it announced, and nothing else",
        "service/gate/fast_path/http_protocol.py",
        "_HeaderTemplate.match_request",
        "varying.pop(_LENGTH) == b'%d' % len(body)",
        "int(varying.pop(_LENGTH)) >= len(body)",
        "tests/faults/test_direct.py::test_what_stands_behind_a_known_head_is_read_for_what_it_is",
    ),
    one(
        "A190",
        "a key is looked up each time, whatever is known of the head that shows it",
        "service/gate/jobs.py",
        "admit_caller",
        "not holder.is_valid",
        "",
        "tests/faults/test_direct.py::test_a_key_that_is_revoked_opens_nothing_where_its_head_is_known",
    ),
    one(
        "A191",
        "what may differ in a known head is a word",
        "service/gate/fast_path/http_protocol.py",
        "_HeaderTemplate.match_request",
        "all(map(_VALUE.fullmatch, varying.values()))",
        "",
        "tests/faults/test_direct.py::test_a_value_in_another_form_is_not_read_by_a_known_head",
    ),
    one(
        "A193",
        "behind the very head that came last comes all that it announced, and nothing else",
        "service/gate/fast_path/http_protocol.py",
        "_HeaderTemplate.match_request",
        "len(data) == len(self.latest) + self.length",
        "",
        "tests/faults/test_direct.py::test_what_stands_behind_a_known_head_is_read_for_what_it_is",
    ),
    one(
        "A214",
        "a body holds so many values",
        "service/validation/strict_json.py",
        "_require_few_values",
        "body.count(b',') + body.count(b'[') + body.count(b'{') > MAX_VALUES",
        "False and body.count(b',') + body.count(b'[') + body.count(b'{') > MAX_VALUES",
        "tests/attacks/test_texts.py::test_a_body_of_values_alone_is_refused_before_any_of_them_is_looked_at",
    ),
    one(
        "A215",
        "connections of one address are counted",
        CROWDING,
        "ConnectionSet.find_replaceable",
        "address is not None and len(own) >= limit.by_address",
        "False",
        SLOW + "test_one_address_has_its_share_of_connections_until_its_callers_are_known",
    ),
    Defence(
        "A216",
        "one whose caller is not known gives way",
        (
            Edit(PROTOCOL, "TimeoutProtocol._can_be_added", "candidate.give_way(…)"),
            Edit(PROTOCOL, "TimeoutProtocol._can_be_added", "return candidate is not None", "return False"),
        ),
        SLOW + "test_whoever_holds_connections_keeps_nobody_out",
    ),
    one(
        "A217",
        "some places are kept for known callers",
        CROWDING,
        "ConnectionLimit.for_unauthenticated",
        "self.most - self.most // RESERVED_FRACTION",
        "self.most",
        SLOW + "test_some_places_are_kept_for_callers_who_are_known",
    ),
    one(
        "A218",
        "nobody is known by credentials that nobody has looked at",
        LIMITS,
        "RateLimiter.record_answer",
        "is_authenticated",
        "",
        LIMITED + "test_credentials_that_nobody_looks_at_make_nobody_known",
    ),
)
