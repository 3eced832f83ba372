"""Which pages of a browser may make a request with a cookie, by the headers that no page can set."""

import pytest

from chalicelib.api.same_origin import check
from chalicelib.domain.errors import Forbidden

HOST = {"host": "atoll.test:5555"}

OURS = [
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},  # typed, or from a bookmark
    {"origin": "http://atoll.test:5555"},
    {"origin": "https://Atoll.test:5555"},
    {"sec-fetch-site": "same-origin", "origin": "https://behind.a.proxy"},  # the browser knows its address
    {"origin": "https://console.test", "x-forwarded-host": "console.test"},
]

FOREIGN = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},  # another port of this host: browsers send it the cookie, SameSite or not
    {"sec-fetch-site": "same-site", "origin": "http://atoll.test:5555"},
    {"sec-fetch-site": ""},
    {"origin": "http://evil.test"},
    {"origin": "http://atoll.test"},
    {"origin": "http://atoll.test:5555.evil.test"},
    {"origin": "http://evil.test/atoll.test:5555"},
    {"origin": "http://atoll.test:5555@evil.test"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://["},
]


@pytest.mark.parametrize("headers", OURS, ids=str)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_pages_of_this_host_may(method: str, headers: dict[str, str]) -> None:
    check(method, HOST | headers)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_other_pages_may_not(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden) as refused:
        check(method, HOST | headers)
    assert repr(next(iter(headers.values()))) in str(refused.value)


def test_who_names_no_page_may_read_and_change_nothing() -> None:
    """Browsers send neither header with a GET over plain HTTP; with anything else all send one."""
    for method in ("GET", "HEAD"):
        check(method, HOST)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        with pytest.raises(Forbidden, match="Origin"):
            check(method, HOST)


def test_an_origin_is_not_compared_with_a_host_that_is_not_there() -> None:
    with pytest.raises(Forbidden):
        check("GET", {"origin": "http://"})
