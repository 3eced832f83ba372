"""Sessions are readable after their end: listed, with their state and their events, for as long as they are kept."""

from typing import Any

import pytest

from chalicelib.reactions import archive
from infra.local.stack import LocalStack
from tests.client import Client, eventually, session, sleeper
from tests.integration.api.test_pages import talk

pytestmark = pytest.mark.xdist_group("api")


def at(path: str) -> str:
    """Return where a session is in the history, by its path."""
    *_, namespace, session_id = path.split("/")
    return f"/api/v1/local/namespace/{namespace}/history/{session_id}"


def listed(client: Client, namespace: str, query: str = "") -> list[Any]:
    """List the history of a namespace."""
    answer = client.call("GET", f"/api/v1/local/namespace/{namespace}/history{query}")
    assert answer.status == 200, answer
    return list(answer.body)


def events(client: Client, where: str, after: str = "0", limit: int = 1000) -> tuple[list[Any], str]:
    """Read a page of events, and the cursor behind it."""
    answer = client.call("GET", f"{where}/events?after={after}&limit={limit}")
    assert answer.status == 200, answer
    return answer.body, answer.headers["Next-Cursor"]


def all_events(client: Client, where: str, after: str = "0", limit: int = 1000) -> list[Any]:
    """Read events page by page."""
    found: list[Any] = []
    while True:
        page, cursor = events(client, where, after, limit)
        if cursor == after:
            return found
        found += page
        after = cursor


def running(client: Client, namespace: str, *names: str, **settings: Any) -> str:
    """Make a session whose agents run."""
    path = client.create(session(*map(sleeper, names or ("a", "b")), namespace=namespace, **settings))
    agents = names or ("a", "b")

    def started() -> bool:
        kinds = [event["type"] for event in events(client, path)[0]]
        return kinds.count("runtime_started") == len(agents)

    eventually(started, 20, "the agents run")
    return path


def end(client: Client, path: str) -> None:
    """Close a session and wait until it is gone."""
    assert client.call("DELETE", path).status == 200
    client.wait_for_status(path, None, within_s=20)


def ended(client: Client, namespace: str, *texts: str, **settings: Any) -> str:
    """Make a session with these messages that has ended, and return its path."""
    path = running(client, namespace, **settings)
    if texts:
        talk(client, path, *texts)
    end(client, path)
    return path


def test_a_session_that_has_ended_is_in_the_history(client: Client, namespace: str) -> None:
    request = session(sleeper("a"), sleeper("b"), namespace=namespace)
    request["annotations"] = {"team": "one"}
    path = client.create(request)
    eventually(lambda: len(events(client, path)[0]) == 2, 20, "the agents run")
    talk(client, path, "hello", "again", name="first")
    live = client.call("GET", f"{path}/extended").body
    end(client, path)

    home = f"/api/v1/local/namespace/{namespace}"
    eventually(lambda: client.call("GET", home).status == 404, what="it goes with its last session")
    [entry] = listed(client, namespace)
    assert (entry["sessionId"], entry["namespace"]) == (path.rsplit("/", 1)[1], namespace)
    assert (entry["reason"], entry["annotations"]) == ("closed_by_user", {"team": "one"})
    summary = entry["summary"]
    assert (summary["messages"], summary["threads"], summary["waits"]) == (2, 1, 0)
    assert summary["createdAt"] <= summary["executedAt"] < summary["closingAt"] <= summary["endedAt"]
    assert [agent["name"] for agent in summary["agents"]] == ["a", "b"]
    assert all(0 < agent["runningMs"] <= summary["runMs"] for agent in summary["agents"])
    assert entry["expiresAt"] > summary["endedAt"]

    whole = client.call("GET", at(path)).body
    assert {key: whole[key] for key in entry} == entry
    assert whole["state"]["threads"] == live["threads"]
    assert [agent["status"]["type"] for agent in whole["state"]["agents"]] == ["stopped", "stopped"]
    assert whole["state"]["base"]["status"]["type"] == "closing"
    assert whole["report"]["sessionState"] == {"type": "base", "state": whole["state"]["base"]}
    assert [row["name"] for row in whole["report"]["agentStats"]] == ["a", "b"]
    assert "omitted" not in whole
    assert whole["stopReasons"] == dict.fromkeys("ab", "the session is closed")


def test_its_events_are_those_that_were_read_live(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "PART_BYTES", 700)
    mode = {"mode": "hold_after_exit", "duration": 1_000}
    path = running(client, namespace, persistenceMode=mode)
    talk(client, path, *map(str, range(12)))
    assert client.call("DELETE", path).status == 200

    def stopped() -> bool:
        return [event["type"] for event in events(client, path)[0]].count("runtime_stopped") == 2

    eventually(stopped, 20, "the log says that the agents have stopped")
    live, end_cursor = events(client, path)
    halfway = events(client, path, limit=7)[1]
    client.wait_for_status(path, None, within_s=20)

    assert len(live) == 17
    assert all_events(client, at(path)) == live
    assert all_events(client, at(path), limit=3) == live
    assert events(client, at(path), limit=7) == (live[:7], halfway)
    assert all_events(client, at(path), halfway) == live[7:], "who followed it goes on with the same cursor"
    assert events(client, at(path), end_cursor)[0] == []


def test_who_follows_a_session_to_its_end_misses_nothing(client: Client, namespace: str) -> None:
    path = running(client, namespace)
    talk(client, path, "one")
    found, cursor = events(client, path)
    talk(client, path, "two")
    end(client, path)
    found += all_events(client, at(path), cursor)
    assert found == all_events(client, at(path))
    assert [event["message"]["text"] for event in found if event["type"] == "thread_message_sent"] == ["one", "two"]


def test_the_history_is_listed_newest_first_and_page_by_page(client: Client, namespace: str) -> None:
    assert client.call("POST", "/api/v1/local/namespace", {"name": namespace, "deleteOnLastSessionExit": False})
    ids = [ended(client, namespace).rsplit("/", 1)[1] for _ in range(3)]
    assert [entry["sessionId"] for entry in listed(client, namespace)] == ids[::-1]

    where, seen = f"/api/v1/local/namespace/{namespace}/history?limit=1", list[str]()
    cursor: str | None = ""
    while cursor is not None:
        answer = client.call("GET", f"{where}&cursor={cursor}" if cursor else where)
        seen += [entry["sessionId"] for entry in answer.body]
        cursor = answer.headers.get("Next-Cursor")
    assert seen == ids[::-1]


def test_the_history_is_filtered(client: Client, namespace: str) -> None:
    assert client.call("POST", "/api/v1/local/namespace", {"name": namespace, "deleteOnLastSessionExit": False})
    request = session(sleeper("a", seconds=0), namespace=namespace)
    request["annotations"] = {"team": "one"}
    exited = client.create(request)
    client.wait_for_status(exited, None, within_s=20)
    closed = ended(client, namespace)
    [later, earlier] = listed(client, namespace)

    def ids(query: str) -> list[str]:
        return [entry["sessionId"] for entry in listed(client, namespace, query)]

    first, second = earlier["sessionId"], later["sessionId"]
    assert (exited.endswith(first), closed.endswith(second)) == (True, True)
    assert ids("?reason=agents_exited") == [first]
    assert ids("?reason=closed_by_user") == [second]
    assert ids("?reason=ttl") == []
    assert ids("?annotations=team:one") == [first]
    between = later["summary"]["closingAt"]
    assert ids(f"?from={between}") == [second]
    assert ids(f"?to={between}") == [first]
    assert ids(f"?from={earlier['summary']['closingAt']}&to={between}") == [first]


@pytest.mark.parametrize(
    "query", ["reason=none", "from=yesterday", "to=1", "from=2026-01-02&to=2026-01-01", "from=0001-01-01", "limit=0"]
)
def test_a_filter_that_means_nothing_is_refused(client: Client, namespace: str, query: str) -> None:
    answer = client.call("GET", f"/api/v1/local/namespace/{namespace}/history?{query}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.body["message"]


def test_a_cursor_belongs_to_the_filter(client: Client, namespace: str) -> None:
    assert client.call("POST", "/api/v1/local/namespace", {"name": namespace, "deleteOnLastSessionExit": False})
    for _ in range(2):
        ended(client, namespace)
    where = f"/api/v1/local/namespace/{namespace}/history?limit=1"
    cursor = client.call("GET", f"{where}&reason=closed_by_user").headers["Next-Cursor"]
    assert client.call("GET", f"{where}&reason=closed_by_user&cursor={cursor}").status == 200
    assert client.call("GET", f"{where}&cursor={cursor}").status == 400


def test_a_session_is_deleted_from_the_history(client: Client, stack: LocalStack, namespace: str) -> None:
    path = ended(client, namespace, "hello")
    record = stack.services.history.find(namespace, path.rsplit("/", 1)[1])
    assert record is not None
    assert {key.rsplit("/", 1)[1] for key in objects(stack, path)} == {record.state, *record.parts, record.lines}

    assert client.call("DELETE", at(path)).status == 200

    assert listed(client, namespace) == []
    for method, where in (("GET", ""), ("GET", "/events"), ("GET", "/logs"), ("DELETE", "")):
        assert client.call(method, at(path) + where).status == 404
    assert objects(stack, path) == []


def objects(stack: LocalStack, path: str) -> list[str]:
    """Return the keys of what is in the bucket of a session."""
    bucket, prefix = stack.services.settings.bodies_bucket, f"history/{path.rsplit('/', 1)[1]}/"
    found = stack.services.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return [each["Key"] for each in found]


def test_a_namespace_takes_its_history_along(client: Client, stack: LocalStack, namespace: str) -> None:
    assert client.call("POST", "/api/v1/local/namespace", {"name": namespace, "deleteOnLastSessionExit": False})
    before = ended(client, namespace, "hello")
    assert objects(stack, before)
    during = running(client, namespace)

    assert client.call("DELETE", f"/api/v1/local/namespace/{namespace}").status == 200

    assert listed(client, namespace) == []
    assert [client.call("GET", at(path)).status for path in (before, during)] == [404, 404]
    assert (objects(stack, before), objects(stack, during)) == ([], [])


def test_sessions_that_were_never_executed_have_no_history(client: Client, namespace: str) -> None:
    path = client.create(session(sleeper("a"), namespace=namespace, defer=True))
    end(client, path)
    assert listed(client, namespace) == []
    assert client.call("GET", at(path)).status == 404


@pytest.mark.parametrize("what", ["", "/{id}", "/{id}/events", "/{id}/logs"])
def test_the_history_of_another_tenant_is_refused(client: Client, narrow: Client, namespace: str, what: str) -> None:
    where = f"/api/v1/local/namespace/{namespace}/history{what.format(id='x')}"
    assert narrow.call("GET", where).status == 403
    assert narrow.call("DELETE", f"/api/v1/local/namespace/{namespace}/history/x").status == 403


def test_messages_that_are_too_many_for_an_answer_are_left_out(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ended(client, namespace, "a text", "another")
    assert client.call("GET", at(path)).body["state"]["threads"][0]["messages"]
    from chalicelib.api import history, paging

    for module in (history, paging):
        monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 4_000)
    assert "omitted" not in client.call("GET", at(path)).body
    monkeypatch.setattr(history, "MAX_ANSWER_BYTES", 5)
    body = client.call("GET", at(path)).body
    assert "messages" in body["omitted"]
    assert "/events" in body["omitted"]
    assert body["state"]["threads"][0]["messages"] == []
    assert len(all_events(client, at(path))) == 7


def test_what_has_expired_is_not_there(client: Client, stack: LocalStack, namespace: str) -> None:
    path = ended(client, namespace)
    bucket = stack.services.settings.bodies_bucket
    for key in objects(stack, path):
        stack.services.client("s3").delete_object(Bucket=bucket, Key=key)
    for where in (at(path), f"{at(path)}/events"):
        answer = client.call("GET", where)
        assert (answer.status, "expired" in answer.body["message"]) == (404, True)


def test_a_session_that_is_there_has_a_summary(client: Client, namespace: str, stack: LocalStack) -> None:
    path = running(client, namespace)
    talk(client, path, "hello")
    summary = client.call("GET", f"{path}/summary").body
    assert (summary["messages"], summary["threads"], summary["waits"]) == (1, 1, 0)
    assert [agent["name"] for agent in summary["agents"]] == ["a", "b"]
    assert all(0 < agent["runningMs"] <= summary["runMs"] for agent in summary["agents"])
    assert not {"closingAt", "endedAt", "holdMs"} & set(summary)
    estimate = summary["estimate"]
    assert 50 < estimate["awsCalls"] < 300
    assert estimate["microUsd"] > 0

    pending = client.create(session(sleeper("a"), namespace=namespace, defer=True))
    summary = client.call("GET", f"{pending}/summary").body
    a = {"name": "a", "runtime": "executable", "runningMs": 0, "waitingMs": 0}
    assert (summary["messages"], summary["agents"]) == (0, [a])
    assert not {"executedAt", "runMs"} & set(summary)
    assert client.call("GET", f"{path}x/summary").status == 404


def test_a_log_that_takes_too_long_has_no_summary_yet(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = running(client, namespace)
    from chalicelib.api import history

    monkeypatch.setattr(history, "TIME_LIMIT_MS", -1)
    answer = client.call("GET", f"{path}/summary")
    assert (answer.status, "history" in answer.body["message"]) == (413, True)
