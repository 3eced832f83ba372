"""The receivers of ``examples/webhooks``: what they take and refuse, and that they work on each delivery once."""

import http.client
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from chalicelib.reactions.signatures import WebhookSecrets, signed_headers
from infra.local.stack import LocalStack
from tests.client import Client, eventually, function, session

FOLDER = Path(__file__).parents[3] / "examples/webhooks"
SECRET = "a secret of these tests"
DEADLINE_S = 30

pytestmark = pytest.mark.xdist_group("receivers")


def report(session_id: str) -> bytes:
    return json.dumps({"sessionState": {"type": "base", "state": {"id": session_id}}}).encode()


def signed(delivery: str, body: bytes, *, secret: str = SECRET, at_s: float | None = None) -> dict[str, str]:
    when_s = int(time.time() if at_s is None else at_s)
    return signed_headers(WebhookSecrets.model_validate({"current": secret}), "ns", delivery, when_s, body)


class Running:
    """A receiver's process, and the folder in which it keeps what came."""

    def __init__(self, command: list[str], inbox: Path, secret: str | None = SECRET) -> None:
        self.command = command
        self.inbox = inbox
        self._secret = secret

    def __enter__(self) -> Self:
        environment = {**os.environ, "INBOX": str(self.inbox)}
        environment |= {} if self._secret is None else {"ATOLL_WEBHOOK_SECRET": self._secret}
        self._process = subprocess.Popen(
            [*self.command, "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def listens(self) -> Self:
        self.port = int(self.says().removeprefix("listening on "))
        return self

    def ends_with(self) -> int:
        """Wait for its end by itself, and return its status."""
        return self._process.wait(DEADLINE_S)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())

    def says(self) -> str:
        """Return the next line that it prints."""
        return self._lines.get(timeout=DEADLINE_S)

    def post(self, body: bytes, headers: dict[str, str], *before: tuple[str, str]) -> int:
        """Send a request, with other headers ``before`` its own; return the status that it is answered with."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.putrequest("POST", "/hook")
            for name, value in [*before, *headers.items(), ("content-length", str(len(body)))]:
                connection.putheader(name, value)
            connection.endheaders(body)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(params=["python", "node"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Running:
    if request.param == "python":
        return Running([sys.executable, str(FOLDER / "receiver.py")], tmp_path)
    if (node := shutil.which("node")) is None:
        pytest.skip("there is no Node here")
    return Running([node, str(FOLDER / "receiver.mjs")], tmp_path)


@pytest.fixture
def running(receiver: Running) -> Iterator[Running]:
    with receiver:
        yield receiver.listens()


def test_each_delivery_is_worked_on_once(running: Running, tmp_path: Path) -> None:
    for delivery in ("one", "one", "two"):
        assert running.post(report(delivery), signed(delivery, report(delivery))) == 204
    assert [running.says(), running.says()] == ["session one has ended", "session two has ended"]
    assert running.post(report("one"), signed("one", report("one"))) == 204
    news = b'{"type": "budget_low"}'
    assert running.post(news, signed("news", news)) == 204
    assert running.post(report("three"), signed("three", report("three"))) == 204
    assert running.says() == "session three has ended"


def test_what_is_not_atolls_is_refused(running: Running, tmp_path: Path) -> None:
    body = report("one")
    right = signed("one", body)
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        assert running.post(body, {key: value for key, value in right.items() if key != name}) == 400, name
    for wrong in (
        {"webhook-id": "two"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "nan"},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,?"},
        {"webhook-signature": right["webhook-signature"].replace("v1,", "v9,")},
        signed("one", body, secret="another"),
        signed("one", body, at_s=time.time() - 301),
        signed("one", body, at_s=time.time() + 360),  # later by the time that the others take
    ):
        assert running.post(body, {**right, **wrong}) == 400, wrong
    assert running.post(body + b" ", right) == 400
    assert running.post(b"\xff", right) == 400
    assert running.post(body, {}) == 400
    assert not list(tmp_path.iterdir())
    assert running.post(body, right) == 204  # it is still there


@pytest.mark.parametrize("name", ["webhook-id", "Webhook-Id"])
def test_a_delivery_is_kept_under_the_id_that_is_signed(running: Running, tmp_path: Path, name: str) -> None:
    body = report("one")
    status = running.post(body, signed("one", body), (name, "../outside"))
    assert status in (204, 400)
    assert not (tmp_path.parent / "outside.json").exists()
    if status == 204:
        assert running.says() == "session one has ended"
    assert {each.stem for each in tmp_path.iterdir()} <= {"one"}


def test_without_a_secret_it_does_not_start(receiver: Running) -> None:
    """Everybody can sign with an empty one."""
    for secret in ("", None):
        with Running(receiver.command, receiver.inbox, secret) as started:
            assert started.ends_with() != 0


def test_what_a_crash_left_over_is_worked_on_at_the_next_start(receiver: Running, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_bytes(report("one"))
    (tmp_path / "two.done").write_bytes(report("two"))
    with receiver:
        assert "session one has ended" in {receiver.says(), receiver.says()}
        eventually((tmp_path / "one.done").exists)


def test_a_session_reports_its_end(running: Running) -> None:
    """A session as a user asks for it, whose report comes from Atoll itself."""
    with LocalStack(webhook_secret=SECRET) as stack:
        url = f"http://127.0.0.1:{running.port}/hook"
        asked = session(function("ann", "seed"), webhooks={"sessionEnd": {"url": url}})
        path = Client(stack.url, stack.key).create(asked)
        assert running.says() == f"session {path.rpartition('/')[2]} has ended"
