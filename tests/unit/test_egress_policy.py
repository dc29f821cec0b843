"""Which addresses may be called when somebody else has named them: what is inside is never outside, however it is spelt."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.egress_policy import BlockedAddressError, is_public, require_public, target_of

INSIDE = [
    "0.0.0.0",  # noqa: S104 - a value, nothing is bound
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2606:4700::1111%1",
]
OUTSIDE = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "223.255.255.255",
    "2400:3200::1",
    "2606:4700::1111",
    "2a00:1450:4001::1",
]
NO_ADDRESS = ["", "localhost", "127.1", "0177.0.0.1", "2130706433", "0x7f000001", "1.1.1.1 ", "1.1.1.256", "１.1.1.1"]


@pytest.mark.parametrize("address", [*INSIDE, *NO_ADDRESS])
def test_an_address_inside_or_in_a_spelling_of_its_own_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
def test_whatever_is_public_is_global_to_the_standard_library_as_well(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(str(address)):
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    "url",
    [
        "https://idp.example.com",
        "https://IDP.example.com/a?b=c",
        "https://idp.example.com:8443/",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]:443/x",
    ],
)
def test_an_https_address_may_be_called(url: str) -> None:
    target = target_of(url)
    assert not target.is_trusted
    assert target.host == target.host.lower()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "idp.example.com",
        "//idp.example.com/",
        "https://",
        "https:///path",
        "http://idp.example.com/",
        "ftp://idp.example.com/",
        "file:///etc/passwd",
        "gopher://idp.example.com/",
        "https://user@idp.example.com/",
        "https://user:secret@idp.example.com/",
        "https://@idp.example.com/",
        "https://idp.example.com/#part",
        "https://idp.example.com\\@127.0.0.1/",
        "https://idp.example.com/a b",
        "https://idp.example.com/\r\nHost: x",
        "https://idp.example.com/ä",
        "https://idp.example.com:0x50/",
        "https://idp.example.com:99999999/",
        "https://idp.example.com./",
        "https://idp..example.com/",
        "https://-idp.example.com/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://1.1.1.0x1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[fe80::1%25eth0]/",
        "https://%31%32%37.0.0.1/",
        "https://" + "a" * 2048 + ".example.com/",
    ],
)
def test_anything_else_is_barred(url: str) -> None:
    with pytest.raises(BlockedAddressError) as barred:
        target_of(url)
    assert "secret" not in str(barred.value)


@pytest.mark.parametrize("allowed", ["idp.internal", "idp.internal:8080"])
def test_a_host_that_the_operator_trusts_may_be_anywhere_and_without_tls(allowed: str) -> None:
    target = target_of("http://idp.internal:8080/x", {allowed})
    require_public(target, ["10.0.0.7"])
    assert target.is_trusted
    assert target_of("http://127.0.0.1:9/", {"127.0.0.1"}).is_trusted


def test_trust_in_one_port_is_not_trust_in_another() -> None:
    with pytest.raises(BlockedAddressError):
        target_of("http://idp.internal/", {"idp.internal:8080"})
    assert target_of("http://idp.internal/", {"idp.internal:80"}).port == 80
    assert target_of("https://idp.internal/", {"idp.internal:443"}).is_trusted


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["10.0.0.1", "1.1.1.1"], ["nonsense"]])
def test_one_address_inside_bars_a_host(addresses: list[str]) -> None:
    with pytest.raises(BlockedAddressError):
        require_public(target_of("https://example.com/"), addresses)
    require_public(target_of("https://example.com/"), ["1.1.1.1", "2606:4700::1111"])
