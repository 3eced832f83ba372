"""Which addresses may be called: those of public hosts, however they are wrapped."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws.http import is_public

_INNER = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
]


@st.composite
def inner_addresses(draw: st.DrawFn) -> ipaddress.IPv4Address:
    network = ipaddress.IPv4Network(draw(st.sampled_from(_INNER)))
    return network[draw(st.integers(0, network.num_addresses - 1))]


@given(inner_addresses())
def test_no_inner_address_is_public_in_any_wrapping(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    spellings = [
        str(address),
        f"::ffff:{address}",
        f"::{address}",
        f"64:ff9b::{address}",
        str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80))),
        str(ipaddress.IPv6Address((0x2001 << 112) | (number ^ 0xFFFF_FFFF))),
    ]
    assert [spelling for spelling in spellings if is_public(spelling)] == []


@given(st.ip_addresses(v=6).filter(lambda ip: ip not in ipaddress.ip_network("2000::/3")))
def test_ipv6_outside_global_unicast_is_public_only_as_a_wrapped_public_ipv4(address: ipaddress.IPv6Address) -> None:
    wrapped = address.ipv4_mapped or address in ipaddress.ip_network("64:ff9b::/96")
    assert not is_public(str(address)) or wrapped


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",  # EC2's metadata
        "169.254.170.2",  # ECS's credentials
        "169.254.170.23",  # EKS's credentials
        "fd00:ec2::254",
        "192.0.0.192",  # another cloud's metadata
        "100.100.100.200",
        "::1",
        "::",
        "fe80::1%eth0",
        "ff02::1",
        "fec0::1",
        "64:ff9b:1::a00:1",
        "2001:db8::1",
        "3fff::1",
    ],
)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_public_hosts_are_public(address: str) -> None:
    assert is_public(address)
