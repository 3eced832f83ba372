"""The web console in a browser: how soon its pages are there, how they scroll, and how soon an event is on the screen.

The stack runs in a process of its own. Each figure is the median of three browsers that have nothing in their caches.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import talking
from bench.filling import fill
from chalicelib.domain import threads
from chalicelib.store.sessions import SessionRecord
from chalicelib.wire.events import AgentWaitStart, ThreadMessageSent
from chalicelib.wire.threads import SessionThreadMessage
from infra import web_console
from infra.local.stack import LocalStack
from tests import environments

HERE = Path(__file__).parents[1] / "tests/console"

SESSIONS, ENTRIES, AGENTS = 1_000, 10_000, 5
#: From one entry to the next.
APART_MS = 100
DEADLINE_S = 300


class NotThere(Exception):
    """There is no browser, or no console, on this machine."""


@dataclass(frozen=True)
class Figures:
    """What a browser saw."""

    #: Of a namespace with many sessions: the first that is painted, and the list.
    first_paint_ms: float
    rows_ms: float
    #: Of a long session: its timeline, and all of its events.
    lanes_ms: float
    all_ms: float
    #: While the list of its events scrolls.
    frames_per_s: float
    #: From the acknowledgement of a message until the page shows it.
    shown_ms: float


def measure() -> Figures:
    """Fill a stack, look at it, and return the figures. Raises `NotThere`."""
    try:
        web_console.build()
        node = environments.node(HERE)
    except (web_console.NotBuilt, environments.NotInstallable) as error:
        raise NotThere(str(error)) from None
    with LocalStack() as stack:
        environment = {**os.environ, **_filled(stack), "ATOLL_URL": stack.url, "ATOLL_API_KEY": stack.key}
        command = [node, str(HERE / "figures.mjs")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    if done.returncode:
        raise NotThere(done.stderr[-2000:])
    return Figures(**json.loads(done.stdout))


def _filled(stack: LocalStack) -> dict[str, str]:
    """Make the sessions; return what the browser has to know of them."""
    long = talking.Session(stack, AGENTS)
    thread = threads.create(stack.services, long.actor(long.names[0]), "a long talk", long.names[1:])
    now_ms = stack.services.clock.now_ms()
    fill(stack.services, long.id, _events(long, thread.id, now_ms), expires_at=now_ms // 1000 + 3600)
    for number in range(SESSIONS - 1):
        stack.services.sessions.create(_session(number, now_ms))
    where = {"NAMESPACE": talking.NAMESPACE, "SESSION": long.id, "SPEAKER": long.names[0], "THREAD": thread.id}
    return {**where, "ENTRIES": str(ENTRIES), "SESSIONS": str(SESSIONS)}


def _session(number: int, now_ms: int) -> SessionRecord:
    return SessionRecord(
        namespace=talking.NAMESPACE,
        session_id=f"{number:08}-0000-4000-8000-000000000000",
        status="pending_execution",
        created_at_ms=now_ms - number,
        expires_at=now_ms // 1000 + 3600,
        namespace_state=talking.NAMESPACE_STATE,
        annotations={"task": f"number {number}"},
    )


def _events(session: talking.Session, thread_id: str, now_ms: int) -> Iterator[dict[str, Any]]:
    """Yield messages by turns, each after the wait of who sends the next."""
    for number in range(ENTRIES):
        name, other = (session.names[(number // 2 + step) % AGENTS] for step in (0, 1))
        at_ms = now_ms - (ENTRIES - number) * APART_MS
        if number % 2:
            yield AgentWaitStart(timestamp=at_ms, name=name, filters=[]).to_wire()
            continue
        message = SessionThreadMessage(
            id=str(number),
            thread_id=thread_id,
            text=f"message {number} of a long talk",
            sender_name=name,
            mention_names=[other],
            timestamp=at_ms,
        )
        yield ThreadMessageSent(timestamp=at_ms, message=message).to_wire()
