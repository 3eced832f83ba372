"""Signing in with a browser: the form, the cookie, and where it leads."""

import http.client
from urllib.parse import quote, urlsplit

import pytest

from infra.local.stack import LocalStack
from tests.client import Client

pytestmark = pytest.mark.xdist_group("api")

FORM = "application/x-www-form-urlencoded"


class Browser:
    """Posts forms and follows nothing."""

    def __init__(self, stack: LocalStack) -> None:
        self._host = urlsplit(stack.url).netloc

    def post(
        self, body: str | bytes, to: str | None = None, content_type: str = FORM, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection(self._host, timeout=30)
        query = "" if to is None else f"?to={to}"
        connection.request("POST", f"/api/v1/auth/token{query}", body, {"Content-Type": content_type, **headers})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text


@pytest.fixture
def browser(stack: LocalStack) -> Browser:
    return Browser(stack)


def test_the_cookie_authenticates_as_the_key_does(browser: Browser, stack: LocalStack) -> None:
    status, headers, body = browser.post("token=dev")
    assert (status, headers["location"], body) == (302, "/ui/console/", "")
    cookie = headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    pair = cookie.split(";", maxsplit=1)[0]
    assert pair.startswith("authSessionToken=")
    visitor = Client(stack.url, None)
    assert visitor.call("GET", "/api/v1/registry").status == 401
    assert visitor.call("GET", "/api/v1/registry", headers={"Cookie": f"other=1; {pair}"}).status == 200
    assert visitor.call("GET", "/api/v1/registry", headers={"Cookie": "authSessionToken=wrong"}).status == 401


def test_over_https_the_cookie_stays_there(browser: Browser) -> None:
    assert "; Secure" in browser.post("token=dev", **{"X-Forwarded-Proto": "https"})[1]["set-cookie"]
    assert "; Secure" not in browser.post("token=dev")[1]["set-cookie"]


@pytest.mark.parametrize("body", ["token=wrong", "token=", "", "other=dev", "TOKEN=dev"])
def test_a_wrong_token_is_refused_without_a_cookie(browser: Browser, body: str) -> None:
    status, headers, text = browser.post(body, to="/docs")
    assert status == 401
    assert "message" in text
    assert not {"set-cookie", "location"} & set(headers)


@pytest.mark.parametrize("body", [b"\xff\xfe", "&".join(f"a{number}=1" for number in range(100))])
def test_what_is_no_form_is_refused(browser: Browser, body: str | bytes) -> None:
    assert browser.post(body)[0] == 400


def test_a_form_is_wanted_here(browser: Browser) -> None:
    assert browser.post('{"token": "dev"}', content_type="application/json")[0] == 415


@pytest.mark.parametrize(
    ("to", "location"),
    [
        ("/docs", "/docs"),
        ("/", "/"),
        ("", "/ui/console/"),
        (quote("/a?b=c&d=e#f", safe=""), "/a?b=c&d=e#f"),
        (quote("/a b/ü", safe=""), "/a%20b/%C3%BC"),
        (quote("/a%2Fb", safe=""), "/a%2Fb"),
        (quote("/\u2028", safe=""), "/%E2%80%A8"),
        (quote("/x//evil", safe=""), "/x//evil"),
    ],
)
def test_it_leads_to_a_path_of_this_host(browser: Browser, to: str, location: str) -> None:
    status, headers, _ = browser.post("token=dev", to=to)
    assert (status, headers["location"]) == (302, location)


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/\x00/evil.example",
        "\t//evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/a\r\nSet-Cookie: x=y",
        "/" + "a" * 3_000,
    ],
)
def test_it_does_not_lead_elsewhere(browser: Browser, to: str) -> None:
    status, headers, _ = browser.post("token=dev", to=quote(to, safe=""))
    assert status == 400
    assert not {"set-cookie", "location"} & set(headers)
