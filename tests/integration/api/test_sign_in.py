"""Signing in with a browser: the form, the cookie, and where it leads."""

import http.client
from urllib.parse import quote, urlsplit

import pytest

from chalicelib.domain import api_keys
from infra.local.stack import LocalStack
from tests.client import Answer, Client
from tests.integration.api.calls import calls_to_aws

pytestmark = pytest.mark.xdist_group("api")

FORM = "application/x-www-form-urlencoded"


class Browser:
    """Posts forms and follows nothing."""

    def __init__(self, stack: LocalStack) -> None:
        self._host = urlsplit(stack.url).netloc

    def post(
        self, body: str | bytes, to: str | None = None, content_type: str = FORM, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        query = "" if to is None else f"?to={to}"
        return self._call("POST", f"/api/v1/auth/token{query}", body, {"Content-Type": content_type, **headers})

    def signs_in(self, key: str = "dev") -> str:
        """Return the cookie that a key is given, as a browser sends it back."""
        return self.post(f"token={key}")[1]["set-cookie"].split(";", maxsplit=1)[0]

    def signs_out(self, cookie: str | None, **headers: str) -> tuple[int, dict[str, str], str]:
        sent = {"Origin": f"http://{self._host}"} | ({} if cookie is None else {"Cookie": cookie})
        return self._call("DELETE", "/api/v1/auth/token", None, {**sent, **headers})

    def sends(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Post a body without a Content-Type."""
        return self._call("POST", path, body, headers)[0]

    def _call(
        self, method: str, path: str, body: str | bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection(self._host, timeout=30)
        connection.request(method, path, body, headers)
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


def visit(stack: LocalStack, cookie: str, path: str = "/api/v1/registry") -> Answer:
    """Make a request with nothing but a cookie."""
    return Client(stack.url, None).call("GET", path, headers={"Cookie": cookie})


#: What a browser says of a page at another port of this host, which it sends the cookie all the same.
NEIGHBOUR = {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"}


@pytest.mark.parametrize("page", [NEIGHBOUR, {"Origin": "http://localhost:3000"}, {"Origin": "null"}], ids=str)
def test_a_page_of_another_origin_signs_nobody_in(browser: Browser, page: dict[str, str]) -> None:
    status, headers, text = browser.post("token=dev", **page)
    assert (status, "set-cookie" in headers) == (403, False)
    assert "only pages of this host" in text


def test_the_cookie_is_of_no_use_to_a_page_of_another_origin(browser: Browser, stack: LocalStack) -> None:
    cookie = {"Cookie": browser.signs_in()}
    visitor, path = Client(stack.url, None), "/api/v1/local/namespace"
    wanted = {"name": "forged"}
    assert visitor.call("POST", path, wanted, {**cookie, **NEIGHBOUR}).status == 403
    assert visitor.call("GET", path, headers={**cookie, **NEIGHBOUR}).status == 403
    assert visitor.call("POST", path, wanted, cookie).status == 403, "who changes anything says which page it is"
    assert browser.signs_out(cookie["Cookie"], **NEIGHBOUR)[0] == 403
    assert "forged" not in [each["name"] for each in visitor.call("GET", path, headers=cookie).body]

    ours = {**cookie, "Origin": stack.url}
    assert visitor.call("POST", path, wanted, ours).status == 200
    assert visitor.call("DELETE", f"{path}/forged", headers={**cookie, "Sec-Fetch-Site": "same-origin"}).status == 200


def test_a_key_is_taken_from_any_page(client: Client) -> None:
    """No browser adds a bearer token by itself."""
    assert client.call("GET", "/api/v1/registry", headers=NEIGHBOUR).status == 200
    assert client.call("GET", "/api/v1/registry", headers={**NEIGHBOUR, "Cookie": "authSessionToken=x"}).status == 200


def test_a_body_with_the_cookie_says_what_it_is(browser: Browser, stack: LocalStack) -> None:
    """A page can send a body without a type anywhere, and no browser asks first."""
    ours = {"Cookie": browser.signs_in(), "Origin": stack.url}
    assert browser.sends("/api/v1/local/namespace", b'{"name": "untyped"}', ours) == 415
    assert browser.sends("/api/v1/local/namespace", b'{"name": "untyped"}', {"Authorization": "Bearer dev"}) == 200
    Client(stack.url, stack.key).call("DELETE", "/api/v1/local/namespace/untyped")


def test_the_cookie_is_no_key_and_is_stored_nowhere(browser: Browser, stack: LocalStack) -> None:
    cookies = {browser.signs_in() for _ in range(2)}
    assert len(cookies) == 2, "each sign-in has an id of its own"
    stored = str(stack.services.dynamodb.scan(TableName=stack.services.settings.table("api-keys"))["Items"])
    for cookie in cookies:
        sign_in = cookie.partition("=")[2]
        assert len(sign_in) >= 22, "at least 128 bits, 6 in a character"
        assert sign_in not in stored
        assert Client(stack.url, sign_in).call("GET", "/api/v1/registry").status == 401
    assert visit(stack, "authSessionToken=dev").status == 401
    assert {key.name for key in stack.services.api_keys.all()} == {"local", "one tenant's"}


def test_a_sign_in_reaches_what_its_key_does(browser: Browser, stack: LocalStack) -> None:
    cookie = browser.signs_in("narrow")
    assert Client(stack.url, "narrow").call("POST", "/api/v1/local/namespace", {"name": "tenant"}).status == 200
    assert visit(stack, cookie, "/api/v1/local/namespace/tenant").status == 200
    assert visit(stack, cookie, "/api/v1/local/namespace/other").status == 403


def test_a_sign_in_ends_after_twelve_hours(
    browser: Browser, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = stack.services.clock.now_ms() // 1000 * 1000
    monkeypatch.setattr(stack.services.clock, "now_ms", lambda: now_ms)
    cookie = browser.signs_in()
    for later_ms, status in ((12 * 3_600_000 - 1, 200), (12 * 3_600_000, 401)):
        monkeypatch.setattr(stack.services.clock, "now_ms", lambda later_ms=later_ms: now_ms + later_ms)
        assert visit(stack, cookie).status == status


def test_a_sign_in_ends_with_its_key(browser: Browser, stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: no process believes what it has read of the key before."""
    api_keys.put(stack.services, "revoked", "revoked")
    api_keys.put(stack.services, "expiring", "expiring", lifetime_s=3_600)
    revoked, expiring = browser.signs_in("revoked"), browser.signs_in("expiring")
    assert [visit(stack, cookie).status for cookie in (revoked, expiring)] == [200, 200]
    api_keys.revoke(stack.services, "revoked")
    assert [visit(stack, cookie).status for cookie in (revoked, expiring)] == [401, 200]
    now_ms = stack.services.clock.now_ms()
    monkeypatch.setattr(stack.services.clock, "now_ms", lambda: now_ms + 3_600_000)
    assert visit(stack, expiring).status == 401


def test_signing_out_ends_the_sign_in_and_no_other(browser: Browser, stack: LocalStack) -> None:
    mine, other = browser.signs_in(), browser.signs_in()
    for _ in range(2):
        status, headers, body = browser.signs_out(mine)
        assert (status, body) == (200, "")
        cleared = headers["set-cookie"].split("; ")
        assert cleared[0] == "authSessionToken="
        assert {"Max-Age=0", "Path=/", "HttpOnly", "SameSite=Strict"} <= set(cleared)
        assert [visit(stack, cookie).status for cookie in (mine, other)] == [401, 200]


@pytest.mark.parametrize("cookie", [None, "authSessionToken=", "authSessionToken=unknown", "authSessionToken=dev"])
def test_signing_out_without_a_sign_in_changes_nothing(browser: Browser, stack: LocalStack, cookie: str | None) -> None:
    assert browser.signs_out(cookie)[0] == 200
    assert Client(stack.url, "dev").call("GET", "/api/v1/registry").status == 200
    assert "; Secure" in browser.signs_out(cookie, **{"X-Forwarded-Proto": "https"})[1]["set-cookie"]


def test_a_sign_in_is_one_write_and_its_use_two_reads(browser: Browser, stack: LocalStack) -> None:
    browser.signs_in()  # the key is known from here on
    with calls_to_aws() as made:
        cookie = browser.signs_in()
    assert made == ["PutItem"]
    with calls_to_aws() as made:
        visit(stack, cookie, "/api/v1/local/namespace/nowhere")
    assert made[:2] == ["GetItem", "BatchGetItem"]
    with calls_to_aws() as made:
        browser.signs_out(cookie)
    assert made == ["DeleteItem"]


def test_a_sign_in_that_cannot_be_stored_is_refused_for_now(browser: Browser, stack: LocalStack) -> None:
    cookie = browser.signs_in()
    with calls_to_aws(fail_at=0):
        status, headers, _ = browser.post("token=dev")
    assert (status, headers["retry-after"]) == (503, "1")
    assert "set-cookie" not in headers
    with calls_to_aws(fail_at=0):
        status, headers, _ = browser.signs_out(cookie)
    assert (status, "set-cookie" in headers) == (503, False)
    assert visit(stack, cookie).status == 200


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
