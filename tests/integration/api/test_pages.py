"""Listings page by page, filtered, and answers that would be too large."""

import base64
from typing import Any
from urllib.parse import quote

import pytest

from chalicelib.api.paging import MAX_ANSWER_BYTES, Paging
from chalicelib.store.sessions import SessionRecord
from infra.local.stack import LocalStack
from tests.client import Client, session, sleeper
from tests.integration.api.calls import calls_to_aws

pytestmark = pytest.mark.xdist_group("api")

SESSION = "/api/v1/local/session"
NAMESPACE = "/api/v1/local/namespace"


def pages(client: Client, path: str, limit: int) -> list[list[Any]]:
    """Read a listing to its end."""
    found: list[list[Any]] = []
    cursor = ""
    while True:
        query = f"{'&' if '?' in path else '?'}limit={limit}{cursor}"
        answer = client.call("GET", path + query)
        assert answer.status == 200, answer
        found.append(answer.body)
        if "Next-Cursor" not in answer.headers:
            return found
        cursor = f"&cursor={quote(answer.headers['Next-Cursor'], safe='')}"


def deferred(client: Client, namespace: str, *names: str, **annotations: str) -> str:
    """Create a session that waits, and return its path."""
    request = session(*map(sleeper, names or ["a"]), namespace=namespace, defer=True)
    return client.create({**request, "annotations": annotations})


def talk(client: Client, path: str, *texts: str, name: str = "talk") -> str:
    """Send messages in a new thread and return its id."""
    puppet = path.replace("/local/session/", "/puppet/") + "/a/thread"
    thread: str = client.call("POST", puppet, {"threadName": name, "participantNames": []}).body["thread"]["id"]
    for text in texts:
        message = {"threadId": thread, "content": text, "mentions": []}
        assert client.call("POST", f"{puppet}/message", message).status == 200
    return thread


@pytest.fixture
def everything(client: Client, namespace: str) -> dict[str, str]:
    """Seven of everything, and the path of the listing of each kind with the field that identifies an entry."""
    path = deferred(client, namespace, *"abcdefg")
    for _ in range(6):
        deferred(client, namespace)
    for number in range(6):
        talk(client, path, name=f"thread {number}")
        client.call("POST", NAMESPACE, {"name": f"{namespace}-{number}"})
    thread = talk(client, path, *map(str, range(7)))
    return {
        NAMESPACE: "name",
        f"{NAMESPACE}/extended": "base",
        f"{NAMESPACE}/{namespace}": "id",
        f"{NAMESPACE}/{namespace}/extended": "base",
        f"{path}/agent": "name",
        f"{path}/thread": "id",
        f"{path}/thread/{thread}/message": "id",
    }


def test_pages_make_up_the_whole(client: Client, everything: dict[str, str]) -> None:
    for path, field in everything.items():
        whole = client.call("GET", path)
        assert "Next-Cursor" not in whole.headers
        assert len(whole.body) >= 7
        ids = [_id(each, field) for each in whole.body]
        for limit in (1, 3, 7, 1000):
            parts = pages(client, path, limit)
            assert [_id(each, field) for part in parts for each in part] == ids, (path, limit)
            assert all(len(part) == limit for part in parts[:-1])
            assert parts[-1]


def _id(entry: dict[str, Any], field: str) -> str:
    return str(entry[field].get("id") or entry[field]["name"]) if field == "base" else str(entry[field])


def test_messages_come_in_the_order_of_their_thread(client: Client, namespace: str) -> None:
    path = deferred(client, namespace)
    thread = talk(client, path, *"abcde")
    talk(client, path, "of another thread")
    parts = pages(client, f"{path}/thread/{thread}/message", 2)
    assert [[each["text"] for each in part] for part in parts] == [["a", "b"], ["c", "d"], ["e"]]


def test_a_page_and_the_state_of_the_session_have_one_order(
    client: Client, stack: LocalStack, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that send at once, the one who was first in the log is slower to come."""
    path = deferred(client, namespace)
    thread = talk(client, path, "first")
    append, late = stack.services.log.append, list[Any]()

    def overtaken(session: str, told: Any, **named: Any) -> Any:
        ticket = stack.services.log.draw(session, expires_at=named["expires_at"])
        if not late:
            late.append(True)
            talk_in(client, path, thread, "overtaking")
        return append(session, told, **{**named, "ticket": ticket})

    monkeypatch.setattr(stack.services.log, "append", overtaken)
    talk_in(client, path, thread, "slow")
    parts = pages(client, f"{path}/thread/{thread}/message", 1)
    assert [each["text"] for part in parts for each in part] == ["first", "slow", "overtaking"]
    [shown] = client.call("GET", f"{path}/extended").body["threads"]
    assert [each["text"] for each in shown["messages"]] == ["first", "slow", "overtaking"]


def talk_in(client: Client, path: str, thread: str, text: str) -> None:
    message = {"threadId": thread, "content": text, "mentions": []}
    answer = client.call("POST", path.replace("/local/session/", "/puppet/") + "/a/thread/message", message)
    assert answer.status == 200


def test_messages_are_counted_on_from_where_they_were_counted(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.domain.threads.COUNTED_ANEW", 2)
    path = deferred(client, namespace)
    thread, other = talk(client, path, *"abc"), talk(client, path, "d")
    for _ in range(3):
        listed = {each["id"]: each["messageCount"] for each in client.call("GET", f"{path}/thread").body}
        shown = client.call("GET", f"{path}/thread/{thread}").body["messageCount"]
        assert (listed[other], listed[thread]) == (1, shown)
        talk_in(client, path, thread, "one more")
    assert client.call("GET", f"{path}/thread/{thread}").body["messageCount"] == 6
    with calls_to_aws() as made:
        client.call("GET", f"{path}/thread")
    assert made == ["BatchGetItem", "Query", "GetItem", "Query"]


def test_a_cursor_of_an_earlier_version_is_refused(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = deferred(client, namespace)
    thread = talk(client, path, *"ab")
    sealed = Paging.sealed
    monkeypatch.setattr(Paging, "sealed", lambda paging, _: sealed(paging, "1790000000000#01J"))
    cursor = client.call("GET", f"{path}/thread/{thread}/message?limit=1").headers["Next-Cursor"]
    assert client.call("GET", f"{path}/thread/{thread}/message?limit=1&cursor={quote(cursor)}").status == 400


def test_a_closed_thread_shows_its_summary_and_no_messages(client: Client, namespace: str) -> None:
    path = deferred(client, namespace)
    thread = talk(client, path, "gone")
    puppet = path.replace("/local/session/", "/puppet/") + "/a/thread"
    client.call("DELETE", puppet, {"threadId": thread, "summary": "what is left"})
    shown = client.call("GET", f"{path}/thread/{thread}").body
    assert (shown["state"]["summary"], shown["messageCount"]) == ("what is left", 0)
    assert client.call("GET", f"{path}/thread/{thread}/message").body == []


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "1.5", "x", "", "00000000000005", "٣"])
def test_a_limit_is_a_number_from_1_to_1000(client: Client, limit: str) -> None:
    answer = client.call("GET", f"{NAMESPACE}?limit={quote(limit)}")
    assert answer.status == 400
    assert "1 to 1000" in answer.body["message"]


def test_a_cursor_that_was_tampered_with_is_refused(client: Client, stack: LocalStack, namespace: str) -> None:
    for _ in range(2):
        deferred(client, namespace)
    cursor = client.call("GET", f"{NAMESPACE}/{namespace}?limit=1").headers["Next-Cursor"]
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    forged = [
        base64.urlsafe_b64encode(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]) for place in range(len(raw))
    ]
    for wrong in [*(each.decode().rstrip("=") for each in forged), "", "x", "ä", "A" * 5_000, cursor[:-2]]:
        answer = client.call("GET", f"{NAMESPACE}/{namespace}?limit=1&cursor={quote(wrong)}")
        assert answer.status == 400, wrong
    other = f"{NAMESPACE}/{namespace}?limit=1&annotations=a:b&cursor={quote(cursor)}"
    assert client.call("GET", other).status == 400


def test_who_does_not_page_sees_all(
    client: Client, stack: LocalStack, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"{number:04d}" for number in range(1_001)]
    client.call("POST", NAMESPACE, {"name": namespace})
    for session_id in ids:
        _record(stack, namespace, session_id)
    listing = f"{NAMESPACE}/{namespace}"
    with calls_to_aws() as made:
        whole = client.call("GET", listing)
    assert [each["id"] for each in whole.body] == ids
    assert "Next-Cursor" not in whole.headers
    assert made == ["Query"]

    first = client.call("GET", f"{listing}?limit=1000")
    assert len(first.body) == 1_000
    rest = client.call("GET", f"{listing}?cursor={first.headers['Next-Cursor']}")
    assert [each["id"] for each in rest.body] == ids[1_000:]

    monkeypatch.setattr("chalicelib.api.paging.MAX_ANSWER_BYTES", 1_000)
    refused = client.call("GET", listing)
    assert refused.status == 413
    assert "limit and cursor" in refused.body["message"]


def test_a_listing_that_takes_too_long_says_how_to_page(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        deferred(client, namespace)
    monkeypatch.setattr("chalicelib.api.paging.TIME_LIMIT_MS", -1)
    refused = client.call("GET", f"{NAMESPACE}/{namespace}")
    assert refused.status == 413
    assert "limit and cursor" in refused.body["message"]


def _record(stack: LocalStack, namespace: str, session_id: str) -> None:
    now_ms = stack.services.clock.now_ms()
    stack.services.sessions.create(
        SessionRecord(
            namespace=namespace,
            session_id=session_id,
            status="pending_execution",
            created_at_ms=now_ms,
            expires_at=now_ms // 1000 + 3_600,
            namespace_state={"name": namespace, "deleteOnLastSessionExit": True, "annotations": {}},
        )
    )


def test_annotations_filter_listings(client: Client, namespace: str) -> None:
    notes = [{"team": "red", "env": "a:b"}, {"team": "red"}, {"team": "blue", "x": "team:red"}]
    paths = [deferred(client, namespace, **each) for each in notes]
    ids = [path.rsplit("/", 1)[1] for path in paths]
    listing = f"{NAMESPACE}/{namespace}"

    def found(query: str) -> set[str]:
        return {each["id"] for each in client.call("GET", f"{listing}?{query}").body}

    assert found("annotations=team:red") == set(ids[:2])
    assert found("annotations=team%3Ared&annotations=env:a:b") == {ids[0]}
    assert found("annotations=team:green") == set()
    assert [len(part) for part in pages(client, f"{listing}?annotations=team:red", 1)][:2] == [1, 1]
    assert client.call("GET", f"{listing}?annotations=red").status == 400
    extended = client.call("GET", f"{listing}/extended?annotations=team:blue").body
    assert [each["base"]["id"] for each in extended] == [ids[2]]


def test_annotations_filter_namespaces(client: Client, namespace: str) -> None:
    for name, team in (("a", "red"), ("b", "blue")):
        client.call("POST", NAMESPACE, {"name": f"{namespace}-{name}", "annotations": {namespace: team}})
    for path in (NAMESPACE, f"{NAMESPACE}/extended"):
        [found] = client.call("GET", f"{path}?annotations={namespace}:red").body
        assert (found.get("base") or found)["name"] == f"{namespace}-a"


def test_a_state_of_more_than_5_mb_says_how_to_page(client: Client, namespace: str) -> None:
    path = deferred(client, namespace)
    text = "x" * 290_000
    thread = talk(client, path, *[text] * 17)
    whole = client.call("GET", f"{path}/extended")
    assert whole.status == 200
    assert len(whole.body["threads"][0]["messages"]) == 17
    puppet = path.replace("/local/session/", "/puppet/") + "/a/thread/message"
    client.call("POST", puppet, {"threadId": thread, "content": text, "mentions": []})
    for large in (f"{path}/extended", f"{NAMESPACE}/{namespace}/extended"):
        answer = client.call("GET", large)
        assert answer.status == 413
        assert str(MAX_ANSWER_BYTES) in answer.body["message"]
        assert "/thread/{threadId}/message" in answer.body["message"]
    parts = pages(client, f"{path}/thread/{thread}/message", 1_000)
    assert [len(part) for part in parts] == [17, 1]


def test_a_page_ends_early_only_when_pages_were_asked_for(client: Client, namespace: str) -> None:
    for _ in range(2):
        talk(client, deferred(client, namespace), *["x" * 290_000] * 10)
    listing = f"{NAMESPACE}/{namespace}/extended"
    refused = client.call("GET", listing)
    assert refused.status == 413
    assert "limit and cursor" in refused.body["message"]
    assert [len(part) for part in pages(client, listing, 10)] == [1, 1]


def test_a_namespace_of_more_sessions_than_an_answer_holds_says_how_to_page(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.domain.sessions.MAX_SESSIONS_TOGETHER", 2)
    listing = f"{NAMESPACE}/extended?annotations=full:{namespace}"
    client.call("POST", NAMESPACE, {"name": namespace, "annotations": {"full": namespace}})
    for _ in range(2):
        deferred(client, namespace)
    assert [len(each["sessions"]) for each in client.call("GET", listing).body] == [2]
    deferred(client, namespace)
    answer = client.call("GET", listing)
    assert answer.status == 413
    assert "page by page" in answer.body["message"]


def test_a_listing_goes_on_behind_an_entry_that_no_answer_holds(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.api.namespaces.MAX_ANSWER_BYTES", 1_000)
    paths = sorted(deferred(client, namespace) for _ in range(3))
    talk(client, paths[1], "x" * 2_000)
    listing, found, cursor = f"{NAMESPACE}/{namespace}/extended?limit=3", [], ""
    for _ in range(3):
        answer = client.call("GET", listing + cursor)
        if answer.status == 200:
            found.append([each["base"]["id"] for each in answer.body])
        else:
            assert (answer.status, paths[1].rpartition("/")[2] in answer.body["message"]) == (413, True)
            found.append([])
        cursor = f"&cursor={quote(answer.headers.get('Next-Cursor', ''), safe='')}"
    ids = [path.rpartition("/")[2] for path in paths]
    assert found == [[ids[0]], [], [ids[2]]]
    assert "Next-Cursor" not in answer.headers


def test_reading_costs_few_calls(client: Client, namespace: str) -> None:
    path = deferred(client, namespace)
    expected = {
        path: ["BatchGetItem"],
        f"{NAMESPACE}/{namespace}": ["Query"],
        f"{NAMESPACE}/{namespace}?limit=1": ["Query"],
        NAMESPACE: ["Scan"],
        f"{path}/agent": ["BatchGetItem", "Query"],
        f"{path}/thread": ["BatchGetItem", "Query"],
    }
    for each, operations in expected.items():
        with calls_to_aws() as made:
            assert client.call("GET", each).status == 200
        assert made == operations, each
    client.call("POST", path, {})
    with calls_to_aws() as made:
        assert client.call("DELETE", path).status == 200
    assert made == ["BatchGetItem", "UpdateItem"]


def test_a_key_of_few_namespaces_does_not_read_all(stack: LocalStack) -> None:
    from chalicelib.domain import api_keys

    api_keys.put(stack.services, "exact", "two tenants'", ["one", "two"])
    client = Client(stack.url, "exact")
    for name in ("one", "two"):
        client.call("POST", NAMESPACE, {"name": name})
    with calls_to_aws() as made:
        found = client.call("GET", NAMESPACE).body
    assert [each["name"] for each in found] == ["one", "two"]
    assert made == ["BatchGetItem"]
    assert [[each["name"] for each in part] for part in pages(client, NAMESPACE, 1)] == [["one"], ["two"]]
