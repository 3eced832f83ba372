"""Which hosts a request to the local stack may be for: a page whose name was made to lead here is for another."""

import pytest

from infra.local.api_gateway.hosts import is_loopback, is_served
from infra.local.stack import LocalStack


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:5555", "LOCALHOST:5555", "localhost.:80", "console.localhost:5555", "127.0.0.1:5555",
     "127.9.9.9", "[::1]:5555", "[::1]"],
)  # fmt: skip
def test_names_of_this_machine_are_served(host: str) -> None:
    assert is_served(host, "127.0.0.1")
    assert is_served(host, "0.0.0.0")


@pytest.mark.parametrize(
    "host",
    ["evil.test", "evil.test:5555", "localhost.evil.test", "notlocalhost", "127.0.0.1.evil.test", "127.1", "2130706433",
     "", ":5555", "[::1", "[::1]x", "[::1]:x", "::1", "localhost:5555:1", "localhost:x", "evil.test@localhost",
     "localhost/evil.test", "[fe80::1]", None],
)  # fmt: skip
def test_other_names_are_not(host: str | None) -> None:
    assert not is_served(host, "127.0.0.1")


def test_at_another_address_addresses_are_served_and_names_are_not() -> None:
    """No name leads to a page whose host is an address."""
    assert is_served("192.168.1.5:5555", "0.0.0.0")
    assert is_served("[fd00::5]:5555", "192.168.1.5")
    assert not is_served("192.168.1.5:5555", "127.0.0.1")
    assert not is_served("evil.test:5555", "0.0.0.0")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "", "my-machine"])
def test_the_key_that_everybody_knows_is_for_this_machine_alone(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ValueError, match=f"'dev'.*{host!r}"):
        LocalStack(host=host)
    LocalStack(host=host, api_key="another")
