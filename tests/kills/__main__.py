"""`make kills`: kills `make run` again and again while it is written to, and looks for what was answered and is lost.

    KILLS    how often (50)
    SEED     when; the same seed draws the same times

Each run is written to by several clients at once: namespaces, sessions that run and report, messages. After each kill
the next run must know all that was answered before. At the end every session must have reported, and have its messages.
"""

import functools
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.agents import SLEEPER
from tests.client import Client, eventually, session, sleeper
from tests.integration.webhooks.receivers import Receiver, receiving

ROOT = Path(__file__).parents[2]

#: How long a run may take to answer, and how long sessions may take to report at the end, in s.
START_S = 120.0
REPORTS_S = 120.0

#: How long a run is written to before it is killed, in s.
SHORTEST_S, LONGEST_S = 0.05, 1.5

#: What a client sees of a server that is killed.
GONE = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)


class Answered:
    """What was answered in all runs."""

    def __init__(self) -> None:
        self.namespaces: set[str] = set()
        #: Sessions by their paths: the texts that were acknowledged.
        self.sessions: dict[str, list[str]] = {}


class Run:
    """One process from its start to its kill."""

    def __init__(self, home: Path, port: int) -> None:
        variables = {"HOME": str(home), "AGENTS": str(SLEEPER), "PORT": str(port), "DATA": str(home / "data")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "infra.local"], cwd=ROOT, env={**os.environ, **variables}, stdout=subprocess.DEVNULL
        )
        self.client = Client(f"http://127.0.0.1:{port}", "dev")
        eventually(self._answers, START_S, "it answers")

    def _answers(self) -> bool:
        try:
            return self.client.call("GET", "/api/v1/registry").status == 200
        except GONE:
            return False

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


def _namespaces(run: Run, answered: Answered, draw: random.Random) -> None:
    while True:
        name = f"n{draw.getrandbits(64):x}"
        answer = run.client.call("POST", "/api/v1/local/namespace", {"name": name, "deleteOnLastSessionExit": False})
        assert answer.status == 200, answer
        answered.namespaces.add(name)


def _sessions(run: Run, answered: Answered, draw: random.Random, receiver: Receiver) -> None:
    hook: dict[str, Any] = {"webhooks": {"sessionEnd": {"url": receiver.url}}}
    for _ in range(3):
        path = run.client.create(session(sleeper("a", 600), namespace="kept", **hook))
        texts = answered.sessions[path] = []
        puppet = path.replace("/local/session/", "/puppet/") + "/a/thread"
        answer = run.client.call("POST", puppet, {"threadName": "t", "participantNames": []})
        if answer.status != 200:
            continue
        for _ in range(20):
            text = f"{draw.getrandbits(64):x}"
            message = {"threadId": answer.body["thread"]["id"], "content": text, "mentions": []}
            if run.client.call("POST", f"{puppet}/message", message).status != 200:
                break
            texts.append(text)


def _write(write: Callable[[], None], faults: list[BaseException]) -> None:
    try:
        write()
    except GONE:
        pass  # what was not answered may be there or not
    except BaseException as error:
        faults.append(error)


def _events(client: Client, path: str) -> str:
    """Return the events of a session as text, from its log or from the history."""
    *_, namespace, session_id = path.split("/")
    for where in (path, f"/api/v1/local/namespace/{namespace}/history/{session_id}"):
        answer = client.call("GET", f"{where}/events?limit=1000")
        if answer.status == 200:
            return json.dumps(answer.body)
    return ""


def _look(run: Run, answered: Answered) -> None:
    """Fail when something that was answered is not there."""
    found = {each["name"] for each in run.client.call("GET", "/api/v1/local/namespace").body}
    assert answered.namespaces <= found, f"namespaces are lost: {answered.namespaces - found}"
    for path, texts in answered.sessions.items():
        events = eventually(functools.partial(_events, run.client, path), 20, f"{path} is there")
        lost = [text for text in texts if text not in events]
        assert not lost, f"messages of {path} are lost: {lost}"


def main() -> int:
    """Kill and look; return the exit code."""
    kills, seed = int(os.environ.get("KILLS") or 50), int(os.environ.get("SEED") or time.time())
    print(f"SEED={seed}", flush=True)
    draw, answered, faults = random.Random(seed), Answered(), list[BaseException]()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, receiving() as receiver:
        for number in range(kills):
            run = Run(Path(folder), port)
            _look(run, answered)
            writers = [
                threading.Thread(target=_write, args=(write, faults))
                for write in (
                    lambda run=run: _namespaces(run, answered, draw),
                    lambda run=run: _sessions(run, answered, draw, receiver),
                )
            ]
            for writer in writers:
                writer.start()
            time.sleep(draw.uniform(SHORTEST_S, LONGEST_S))
            run.kill()
            for writer in writers:
                writer.join()
            assert not faults, faults
            texts = sum(map(len, answered.sessions.values()))
            print(
                f"{number + 1} kills: {len(answered.namespaces)} namespaces, {len(answered.sessions)} sessions, "
                f"{texts} messages, {len(receiver.received)} reports",
                flush=True,
            )
        last = Run(Path(folder), port)
        try:
            _look(last, answered)
            ids = {f"{path.rpartition('/')[2]}-end" for path in answered.sessions}
            for path in answered.sessions:
                last.client.call("DELETE", path)
            eventually(
                lambda: ids <= {each.headers["webhook-id"] for each in receiver.received},
                REPORTS_S,
                "every session has reported",
            )
            size = sum(file.stat().st_size for file in (Path(folder) / "data").iterdir())
            print(f"nothing that was answered is lost; the data has {size / 1e6:.1f} MB", flush=True)
        finally:
            last.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
