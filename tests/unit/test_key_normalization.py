"""Which keys are spellings of one thing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.registry.key_normalization import folded_key

SNOWFLAKE = "snowflake://acme-cn1/crm.public.customers"
SAME = [
    (SNOWFLAKE, "snowflake://acme-cn1/CRM.PUBLIC.CUSTOMERS"),
    (SNOWFLAKE, "Snowflake://ACME-CN1/Crm.Public.Customers"),
    (SNOWFLAKE, 'snowflake://acme-cn1/"CRM"."PUBLIC"."CUSTOMERS"'),
    (SNOWFLAKE, "snowflake://acme-cn1/[crm].[public].[customers]"),
    (SNOWFLAKE, "snowflake://acme-cn1/`crm`.`public`.`customers`"),
    (SNOWFLAKE, "snowflake://acme-cn1/'crm.public.customers'"),
    (SNOWFLAKE, "snowflake://acme-cn1/“crm”.‘public’.customers"),
    (SNOWFLAKE, "snowflake://acme-cn1/ｃｒｍ.public.customers"),
    (SNOWFLAKE, "snowflake://acme-cn1/crm．public．customers"),
    (SNOWFLAKE, "snowflake://acme-cn1/crm.public.customers/"),
    (SNOWFLAKE, "snowflake://acme-cn1/crm.public.customers."),
    (SNOWFLAKE, "snowflake://acme-cn1//crm..public.customers"),
    (SNOWFLAKE, "snowflake://acme-cn1/crm . public . customers"),
    (SNOWFLAKE, "snowflake://acme-cn1/crm%2Epublic%2Ecustomers"),
    (SNOWFLAKE, "snowflake://acme-cn1/crm.public.customers\ufe0f"),
    (SNOWFLAKE, "snowflake:/acme-cn1/crm.public.customers"),
    ("s3://bucket/orders", "s3://bucket//orders/"),
    ("s3://bucket/orders", "s3a://bucket/orders"),
    ("s3://bucket/my table", "s3://bucket/my%20table"),
    ("s3://bucket/orders", "s3:\\\\bucket\\orders"),
    ("postgres://db:5432/crm.public.orders", "postgres://db/crm.public.orders"),
    ("postgres://db:5432/crm.public.orders", "postgresql://DB/crm.public.orders"),
    ("postgres://db:5432/crm.public.orders", "jdbc:postgresql://db:5432/crm.public.orders"),
    ("kafka://broker:9092/topic", "kafka://broker/topic"),
    ("hdfs://name:8020/a", "hdfs://name:9000/a"),
    ("mysql://db:3306", "mysql://db"),
    ("Straße/a", "STRASSE/a"),
    ("caf\u00e9/a", "cafe\u0301/a"),
    ("①/a", "1/a"),
    ("orders", "ORDERS."),
    ("Harbour-Analytics", "harbour-analytics"),
    ("harbour..analytics", "harbour.analytics:"),
]
DIFFERENT = [
    (SNOWFLAKE, "snowflake://acme-cn2/crm.public.customers"),
    (SNOWFLAKE, "snowflake://acme-cn1/crm.public.customer"),
    (SNOWFLAKE, "snowflake://acme-cn1/crm_public_customers"),
    (SNOWFLAKE, "bigquery://acme-cn1/crm.public.customers"),
    ("postgres://db:5433/a", "postgres://db/a"),
    ("postgres://db:5432/a", "mysql://db:5432/a"),
    ("s3://bucket/a/b", "s3://bucket/a.b"),
    ("s3://bucket/a", "s3://bucket/a/b"),
    ("harbour-analytics", "harbour_analytics"),
    ("harbour-analytics", "harbouranalytics"),
    ("orders 1", "orders1"),
    ("订单", "訂單"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_thing_are_twins(one: str, other: str) -> None:
    assert folded_key(one) == folded_key(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_things_are_not(one: str, other: str) -> None:
    assert folded_key(one) != folded_key(other)


@pytest.mark.parametrize("odd", ["'", '""', "..", "/", "[]", "``", "://", "a:/", "%", "%zz", "x"])
def test_a_key_of_nothing_but_signs_has_a_form_too(odd: str) -> None:
    assert folded_key(odd)


@given(st.text(min_size=1, max_size=60))
def test_a_folded_key_says_something_and_does_not_depend_on_case_or_form(key: str) -> None:
    assert folded_key(key)
    assert folded_key(unicodedata.normalize("NFD", key)) == folded_key(unicodedata.normalize("NFC", key))


@given(st.text("abcXYZ019_-", min_size=1), st.sampled_from(["", "/", ".", "//", "%2F", " "]), st.sampled_from("\"'`"))
def test_signs_around_a_name_make_no_other_thing(name: str, tail: str, quote: str) -> None:
    plain = folded_key(f"s3://bucket/{name}")
    assert plain == folded_key(f"s3://bucket/{quote}{name.upper()}{quote}{tail}") == folded_key(f"s3://BUCKET//{name}")
