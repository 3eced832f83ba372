"""Coral's ConcurrencyTest: a thread is read by some while others change it."""

import threading

import pytest

from chalicelib.domain import threads
from tests.mcp_world import SESSION, Later, World

pytestmark = pytest.mark.xdist_group("coral")


@pytest.mark.coral("ConcurrencyTest.testSessionThread")
def test_session_thread(here: World) -> None:
    """Every reading of a thread has those who were added first and what was sent first, and nothing is lost.

    The agents are there at once, and ten of them take part: that a graph may have so many is shown where graphs are.
    """
    others = [f"agent{number}" for number in range(100)]
    here.session("admin", *others, groups=[])
    thread = here.thread("admin")
    readings: list[tuple[set[str], list[str]]] = []
    over = threading.Event()

    def read() -> None:
        [view] = threads.views(here.services, SESSION)
        readings.append((set(view.participants), [message.text for message in view.messages]))

    def read_on() -> None:
        while not over.wait(0.05):
            read()

    reader = Later(read_on)
    added = others[:10]
    for name in added:
        here.tool("admin", "coral_add_participant", threadId=thread, participantName=name)
    for name in added:
        here.send("admin", thread, f"to {name}")
    over.set()
    reader.result()
    read()
    for participants, texts in readings:
        assert participants == {"admin", *added[: len(participants) - 1]}
        assert texts == [f"to {name}" for name in added[: len(texts)]]
    assert [len(part) for part in readings[-1]] == [11, 10]
    assert len(readings) > 3
