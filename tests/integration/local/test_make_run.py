"""`make run` as its user sees it: killed and started again, with output that nobody reads, and ended with Ctrl-C."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.__main__ import STOP_S
from tests.agents import SLEEPER
from tests.aws_calls import child
from tests.client import Client, eventually, session, sleeper
from tests.integration.webhooks.receivers import Receiver, receiving

ROOT = Path(__file__).parents[3]

#: How long a process may take to start, in s.
PROCESS_S = 60.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


class Run:
    """One process after the other, on one port and one folder of data."""

    def __init__(self, home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        variables = {"HOME": str(home), "AGENTS": str(SLEEPER), "PORT": str(port), "DATA": str(home / "data")}
        self.environment = {**os.environ, **variables, "COLUMNS": "200"}
        self.client = Client(f"http://127.0.0.1:{port}", "dev")
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, output: int) -> subprocess.Popen[bytes]:
        """Start it and wait until it answers; its output goes into a pipe, whose writing end this closes."""
        command = child.command("infra.local")
        process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=output)
        os.close(output)
        self.processes.append(process)
        eventually(lambda: self._answers(process), PROCESS_S, "it answers")
        return process

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, f"it has ended with {process.returncode}"
        try:
            return self.client.call("GET", "/api/v1/registry").status == 200
        except OSError:  # the port is not taken yet, or no longer by the process before
            return False


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    running = Run(tmp_path)
    yield running
    for process in running.processes:
        process.kill()
        process.wait()


def report_of(path: str, receiver: Receiver) -> list[object]:
    delivery_id = f"{path.rpartition('/')[2]}-end"
    return [json.loads(r.body) for r in receiver.received if r.headers["webhook-id"] == delivery_id]


def test_it_is_killed_goes_on_and_ends_with_reports(run: Run, receiver: Receiver) -> None:
    hook: dict[str, Any] = {"webhooks": {"sessionEnd": {"url": receiver.url}}}
    nobody, closed = os.pipe()
    os.close(nobody)
    first = run.start(closed)
    path = run.client.create(session(sleeper("a"), sleeper("b"), namespace="shop", **hook))
    kinds = ["runtime_started", "runtime_started"]
    eventually(lambda: [event["type"] for event in run.client.call("GET", f"{path}/events").body] == kinds, 20)
    first.kill()
    first.wait()

    nobody, full = os.pipe()
    os.set_blocking(full, False)
    while _fill(full):
        pass
    os.set_blocking(full, True)
    second = run.start(full)
    eventually(lambda: report_of(path, receiver), 20, "the session that was running reports its end")
    path = run.client.create(session(sleeper("a"), namespace="shop", **hook))
    second.send_signal(signal.SIGINT)
    assert second.wait(STOP_S + 5) == 0
    assert report_of(path, receiver)
    os.close(nobody)


def _fill(pipe: int) -> bool:
    try:
        return os.write(pipe, b"x" * 4_096) > 0
    except BlockingIOError:
        return False


def test_a_folder_that_is_in_use_is_refused(run: Run, tmp_path: Path) -> None:
    from infra.local.data import Data

    kept = Data(tmp_path / "data")
    ran = subprocess.run(
        child.command("infra.local"),
        cwd=ROOT,
        env=run.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PROCESS_S,
    )
    kept.close()
    assert (ran.returncode, ran.stderr) == (1, "")
    assert f"Atoll cannot keep its data in {tmp_path}/data: another Atoll has this folder in use" in ran.stdout
