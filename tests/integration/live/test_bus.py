"""Session events on the bus, where the deployment asks for them."""

from typing import Any

import pytest

from chalicelib.reactions import entries
from infra.local.stack import LocalStack
from tests.agents import SLEEPER
from tests.client import Client, eventually
from tests.integration.api.test_pages import deferred, talk
from tests.integration.live.test_session_events import held_back

pytestmark = pytest.mark.xdist_group("live")


@pytest.mark.parametrize("asked", [True, False])
def test_session_events_are_on_the_bus_when_asked_for(monkeypatch: pytest.MonkeyPatch, *, asked: bool) -> None:
    monkeypatch.setattr(entries, "LARGEST_ON_BUS", 1_000)
    seen: list[dict[str, Any]] = []
    with LocalStack(agents=[SLEEPER], on_event=seen.append, settings={"session_events": asked}) as stack:
        client = Client(stack.url, stack.key)
        path = deferred(client, "tests", "a")
        talk(client, path, "short", "x" * 2_000)
        whole = client.call("GET", f"{path}/events").body

        def details() -> list[dict[str, Any]]:
            return [event["detail"] for event in seen if event["detail-type"] == "session_event"]

        if not asked:
            assert details() == []
            return
        eventually(lambda: len(details()) == 3)

    where = {"namespace": "tests", "sessionId": path.rsplit("/", 1)[1]}
    assert [each for each in details() if each["cursor"] == "2"] == [{**where, "cursor": "2", "event": whole[1]}]
    cut = next(each["event"]["message"]["text"] for each in details() if each["cursor"] == "3")
    assert cut == "[2000 bytes left out: GET …/events?after=2&limit=1]"


@pytest.mark.parametrize("executed", [True, False])
def test_events_of_a_session_that_is_gone_already_are_on_the_bus_too(*, executed: bool) -> None:
    seen: list[dict[str, Any]] = []
    with LocalStack(agents=[SLEEPER], on_event=seen.append, settings={"session_events": True}) as stack:
        client = Client(stack.url, stack.key)
        path = deferred(client, "tests", "a", "b")
        if executed:
            assert client.call("POST", path, {}).status == 200
        with held_back(stack):
            talk(client, path, "last")
            assert client.call("DELETE", path).status == 200
            client.wait_for_status(path, None)

        def last() -> list[dict[str, Any]]:
            details = [event["detail"] for event in seen if event["detail-type"] == "session_event"]
            return [each for each in details if each["event"].get("message", {}).get("text") == "last"]

        eventually(last)
    assert (last()[0]["namespace"], last()[0]["sessionId"]) == ("tests", path.rsplit("/", 1)[1])
