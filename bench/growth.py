"""Growth: what an operation costs when sessions are long and namespaces are full, on a DynamoDB that has indexes."""

import json
import os
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.calls import NAMESPACE, SESSION
from bench.filling import fill
from bench.scene import Scene, scene
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.threads import ThreadRecord

DYNALITE = Path(__file__).parent / "dynalite"
MESSAGES = (10, 1_000, 10_000)
SESSIONS = (1, 100, 10_000)
ROUNDS = 120
TEXT = "x" * 200


@dataclass(frozen=True)
class Growth:
    """One operation at the three sizes."""

    name: str
    sizes: tuple[int, ...]
    items: list[int]
    units: list[float]
    #: Medians; empty where there is no DynamoDB to take them on.
    ms: list[float]

    def factor(self, figures: list[Any]) -> float:
        """Return what the largest size costs more than the smallest."""
        return float(figures[-1] / figures[0]) if figures and figures[0] else 1.0


class NotThere(Exception):
    """There is no DynamoDB with indexes on this machine; the message says why."""


@contextmanager
def dynalite() -> Iterator[str]:
    """Run dynalite, a DynamoDB on LevelDB, for as long as the block lasts, and give its address."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NotThere("dynalite needs Node.js")
    if not (DYNALITE / "node_modules").is_dir():
        done = subprocess.run([npm, "ci", "--silent"], cwd=DYNALITE, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotThere(f"npm ci: {done.stderr.strip()[-300:]}")
    port = free_port()
    program = "require('dynalite')({createTableMs: 0, deleteTableMs: 0}).listen(Number(process.argv[1]), '127.0.0.1')"
    server = subprocess.Popen([node, "-e", program, str(port)], cwd=DYNALITE, env=os.environ)
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    """Return a port of the loopback that is free."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise NotThere("dynalite does not answer")


def measure() -> list[Growth]:
    """Measure every operation at every size, by turns."""
    with dynalite() as url, scene(url) as here:
        return [*_by_messages(here), *_by_sessions(here)]


def _by_messages(here: Scene) -> list[Growth]:
    sessions = [_Session(here, count) for count in MESSAGES]
    here.clock.sleep(3600)  # what was said is of an hour ago

    def later(call: Callable[["_Session"], Any]) -> Callable[["_Session"], Callable[[], Any]]:
        def ready(session: _Session) -> Callable[[], Any]:
            here.clock.sleep(5)  # what the last round said is no part of this one
            here.know_key()
            return lambda: call(session)

        return ready

    operations: list[tuple[str, Callable[[_Session], Callable[[], Any]], int]] = [
        ("send", later(_Session.send), ROUNDS),
        ("empty wait", later(_Session.wait), ROUNDS),
        ("state", later(lambda session: here.rest("GET", SESSION, **session.where)), ROUNDS),
        ("extended state", later(lambda session: here.rest("GET", SESSION + "/extended", **session.where)), 3),
    ]
    found = [_measured(here, name, MESSAGES, sessions, ready, rounds=rounds) for name, ready, rounds in operations]
    records = {session.id: here.services.sessions.find("bench", session.id) for session in sessions}

    def open_again(session: _Session) -> Callable[[], Any]:
        record = records[session.id]
        assert record is not None
        here.services.sessions._table.put(record.to_item())
        return lambda: here.rest("DELETE", SESSION, **session.where)

    return [*found, _measured(here, "close", MESSAGES, sessions, open_again, rounds=ROUNDS)]


def _by_sessions(here: Scene) -> list[Growth]:
    names = [f"full-{count}" for count in SESSIONS]
    for name, count in zip(names, SESSIONS, strict=True):
        _fill(here, name, here.create(name, agents=2), count - 1)
    ids = {name: next(here.services.sessions.of_namespace(name, limit=1)).session_id for name in names}

    last = {name: _last_page(here, name, count) for name, count in zip(names, SESSIONS, strict=True)}

    def page(name: str) -> Callable[[], Any]:
        return lambda: here.rest("GET", NAMESPACE, query=last[name], namespace=name)

    def state(name: str) -> Callable[[], Any]:
        return lambda: here.rest("GET", SESSION, namespace=name, sessionId=ids[name])

    def create(name: str) -> Callable[[], Any]:
        return lambda: here.create(name)

    return [
        _measured(here, f"{what}, by sessions of the namespace", SESSIONS, names, call, rounds=ROUNDS)
        for what, call in (("list the last page, of one", page), ("state", state), ("create", create))
    ]


class _Session:
    """A session with a thread of so many messages."""

    def __init__(self, here: Scene, messages: int) -> None:
        self._here = here
        self.id = here.create(agents=2, ttl=3_600_000 * 24)
        self.where: dict[str, Any] = {"namespace": "bench", "sessionId": self.id}
        secrets = here.admit(self.id)
        self._one, self._two = secrets.values()
        for secret in secrets.values():
            here.mcp(secret, "tools/list")
        names = list(secrets)
        now_ms = here.clock.now_ms()
        self._thread = "long"
        here.services.threads.create(
            ThreadRecord(
                session_id=self.id,
                thread_id=self._thread,
                name="long",
                creator_name=names[0],
                created_at_ms=now_ms,
                expires_at=now_ms // 1000 + 10**6,
                participants=set(names),
            )
        )
        self._say(names[0], messages, now_ms)

    def _say(self, sender: str, messages: int, now_ms: int) -> None:
        def event(number: int) -> dict[str, Any]:
            message = {
                "id": f"m{number}",
                "threadId": self._thread,
                "text": TEXT,
                "senderName": sender,
                "mentionNames": [],
                "timestamp": "2026-01-01T00:00:00.000Z",
            }
            return {"type": "thread_message_sent", "timestamp": message["timestamp"], "message": message}

        fill(self._here.services, self.id, map(event, range(messages)), expires_at=now_ms // 1000 + 10**6)

    def send(self) -> Any:
        """Send one more message."""
        return self._here.tool(self._one, "coral_send_message", threadId=self._thread, content=TEXT)

    def wait(self) -> Any:
        """Wait for nothing."""
        now_ms = self._here.clock.now_ms()
        return self._here.tool(self._two, "coral_wait_for_mention", currentUnixTime=now_ms, maxWaitMs=0)


def _fill(here: Scene, namespace: str, example: str, count: int) -> None:
    record = here.services.sessions.find(namespace, example)
    assert record is not None
    items = [SessionRecord.to_item(record) | {"sessionId": f"{number:08x}-0000"} for number in range(count)]
    here.services.sessions._table.write_all(items)


def _last_page(here: Scene, namespace: str, count: int) -> dict[str, str]:
    """Return the query for the last of so many sessions: the page that says the same whatever lies before it."""
    cursor: dict[str, str] = {}
    for start in range(0, count - 1, 1_000):
        query = {"limit": str(min(1_000, count - 1 - start)), **cursor}
        headers = here.answer("GET", NAMESPACE, query=query, namespace=namespace)["headers"]
        cursor = {"cursor": headers["Next-Cursor"]}
    return {"limit": "1", **cursor}


def _measured(
    here: Scene,
    name: str,
    sizes: tuple[int, ...],
    subjects: list[Any],
    ready: Callable[[Any], Callable[[], Any]],
    *,
    rounds: int,
) -> Growth:
    items, units = [], []
    for subject in subjects:
        call = ready(subject)
        here.know_key()
        with here.meter.counting() as counted:
            call()
        items.append(counted.items_read + counted.items_written)
        units.append(counted.read_units + counted.write_units)
    times: list[list[float]] = [[] for _ in subjects]
    turns = list(zip(subjects, times, strict=True))
    for number in range(rounds):
        for subject, taken in turns if number % 2 else reversed(turns):
            call = ready(subject)
            started = time.perf_counter()
            call()
            taken.append((time.perf_counter() - started) * 1000)
    return Growth(name, sizes, items, units, [statistics.median(taken) for taken in times])


if __name__ == "__main__":
    for growth in measure():
        print(json.dumps(vars(growth)), growth.factor(growth.units), growth.factor(growth.ms))
