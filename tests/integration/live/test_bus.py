"""Session events on the bus, where the deployment asks for them."""

from typing import Any

import pytest

from chalicelib.reactions import entries
from infra.local.stack import LocalStack
from tests.agents import SLEEPER
from tests.client import Client, eventually
from tests.integration.api.test_pages import deferred, talk

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
