"""Archiving a long session, slice by slice as RemoveSession's calls do it: how long, and the memory it takes."""

import gc
import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.filling import fill
from chalicelib.reactions import archive
from chalicelib.services import Services
from chalicelib.wire.events import ThreadMessageSent
from chalicelib.wire.threads import SessionThreadMessage
from infra.deploy import description
from infra.local.stack import LocalStack

ROOT = Path(__file__).parents[1]
NAMESPACE = "bench"

#: Entries of the log, each a message of so many characters.
ENTRIES, CHARS = 100_000, 500
#: How long a slice is here: short enough that it takes several.
SLICE_MS = 2_000
#: How many entries are written into the log together.
AT_ONCE = 10_000


@dataclass(frozen=True)
class Archived:
    """What archiving one session took."""

    entries: int
    #: How long each call took.
    slices_s: list[float]
    #: By how much this process grew at most: its DynamoDB and its S3, which keeps the archive, are in it.
    memory_mib: float
    #: The parts of the log, and the events and messages that are read back from them.
    parts: int
    events: int
    messages: int


def measure() -> Archived:
    """Archive a session on the local stack and read it back."""
    with LocalStack(agents=[ROOT / "tests/agents/sleeper"]) as stack:
        services = stack.services
        # Nobody reacts: it is neither launched nor removed meanwhile.
        for table in ("sessions", "session-items"):
            del stack.pumps[services.settings.table(table)]
        session_id = _session(stack)
        _fill(services, session_id)
        services.sessions.close(NAMESPACE, session_id, now_ms=services.clock.now_ms(), reason="closed_by_user")
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before_kib = _status("VmRSS")
        with patch.object(archive, "SLICE_MS", SLICE_MS):
            slices_s = list(_slices(services, session_id))
        grown_kib = _status("VmHWM") - before_kib
        [row] = services.history.of_namespace(NAMESPACE)
        found = [event for _, event in archive.events_of(services, row) if event is not None]
        messages = sum(isinstance(event, ThreadMessageSent) for event in found)
        return Archived(row.last_position, slices_s, grown_kib / 1024, len(row.parts), len(found), messages)


def limits() -> tuple[int, int]:
    """Return how long a call of the function may take, in s, and its memory in MB."""
    config = description.config()
    function = config["lambda_functions"]["remove_session"]
    return function["lambda_timeout"], function.get("lambda_memory_size", config["lambda_memory_size"])


def _slices(services: Services, session_id: str) -> Iterator[float]:
    done = False
    while not done:
        began = time.monotonic()
        done = archive.archive(services, NAMESPACE, session_id)
        yield time.monotonic() - began


def _status(name: str) -> int:
    """Return a figure of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _session(stack: LocalStack) -> str:
    agent = {
        "id": {"name": "sleeper", "version": "1.0.0", "registrySourceId": {"type": "local"}},
        "provider": {"type": "local", "runtime": "executable"},
        "name": "a",
    }
    body = {
        "agentGraphRequest": {"agents": [agent], "groups": [["a"]]},
        "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": NAMESPACE}},
    }
    request = urllib.request.Request(f"{stack.url}/api/v1/local/session", json.dumps(body).encode(), method="POST")
    request.add_header("Authorization", f"Bearer {stack.key}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["sessionId"])


def _fill(services: Services, session_id: str) -> None:
    now_ms = services.clock.now_ms()

    def event(number: int) -> dict[str, Any]:
        message = SessionThreadMessage(
            id=str(number), thread_id="t", text="x" * CHARS, sender_name="a", timestamp=now_ms, mention_names=[]
        )
        return ThreadMessageSent(timestamp=now_ms, message=message).to_wire()

    for first in range(0, ENTRIES, AT_ONCE):
        events = map(event, range(first, first + AT_ONCE))
        fill(services, session_id, events, expires_at=now_ms // 1000 + 10**6)
