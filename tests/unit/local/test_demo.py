"""The demo's verdict: all of it happened, or the check that failed by its name."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console
from standardwebhooks import Webhook

from infra.local.demo.observed import MESSAGES, Observed, checks
from infra.local.demo.receiver import Delivery
from infra.local.demo.screen import screen_for

SECRET = "a secret of the test"
NOW = "2026-11-22T16:39:47.715Z"


def running(connection: dict[str, Any]) -> dict[str, Any]:
    return {"type": "running", "connectionStatus": connection}


def state(status: str, agent_status: dict[str, Any], exchanges: int) -> dict[str, Any]:
    """An extended state after so many messages and answers."""
    times = {"executed": ["executionTime"], "closing": ["executionTime", "closingTime"]}[status]
    messages = []
    for number in range(exchanges):
        for sender, mention, text in (("seed", "echo", f"message {number}"), ("echo", "seed", "nice message!")):
            message = {"id": f"{sender}{number}", "senderName": sender, "text": text, "mentionNames": [mention]}
            messages.append({**message, "timestamp": NOW})
    agents = [
        {"name": name, "registryAgentIdentifier": {"name": name, "version": "1.0.0"}, "status": agent_status}
        for name in ("seed", "echo")
    ]
    return {
        "base": {"id": "s1", "status": {"type": status, **dict.fromkeys(times, NOW)}},
        "agents": agents,
        "threads": [{"name": "thread 0", "messages": messages}],
    }


def delivery(report: dict[str, Any], secret: str = SECRET) -> Delivery:
    """A delivery signed as Atoll signs."""
    body = json.dumps(report).encode()
    now = datetime.now(UTC)
    headers = {
        "x-coral-signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        "webhook-id": "d1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret.encode()).sign("d1", now, body.decode()),
    }
    return Delivery(0, headers, body)


def report(kind: str = "extended") -> dict[str, Any]:
    closing = state("closing", {"type": "stopped"}, MESSAGES)
    stats = [{"name": name, "startTime": NOW, "endTime": NOW} for name in ("seed", "echo")]
    return {"sessionState": {"type": kind, "state": closing}, "agentStats": stats}


def good() -> Observed:
    """A session that went as it should."""
    observed = Observed("demo", "s1", 0.05, SECRET)
    thinking = {"type": "connected", "communicationStatus": {"type": "thinking"}}
    steps: list[tuple[float, dict[str, Any] | None]] = [
        (0.1, state("executed", {"type": "waiting"}, 0)),
        (1.0, state("executed", running({"type": "not_connected"}), 0)),
        (1.5, state("executed", running(thinking), 1)),
        (3.5, state("executed", running(thinking), MESSAGES)),
        (4.0, state("closing", {"type": "stopped"}, MESSAGES)),
    ]
    for at_s, seen in [*steps, (7.1, None)]:
        list(observed.take(seen, at_s))
    list(observed.take_deliveries([delivery(report())], 4.2))
    observed.namespace_gone = True
    return observed


def test_a_session_that_went_as_it_should_passes_every_check() -> None:
    observed = good()
    assert observed.over
    assert [check.name for check in checks(observed) if not check.passed] == []


def spoil_texts(observed: Observed) -> None:
    observed.messages["seed1"]["text"] = "message 9"


@pytest.mark.parametrize(
    ("spoil", "failed"),
    [
        (lambda seen: seen.statuses.update(executed=1.2), "executed within 1 s of the POST"),
        (
            lambda seen: seen.agents.update(echo=["running · not connected", "stopped"]),
            "both agents connected over MCP",
        ),
        (spoil_texts, "seed sent its messages in order"),
        (lambda seen: seen.messages.pop("echo1"), "echo answered each of them"),
        (lambda seen: seen.agents["seed"].pop(), "both agents exited"),
        (lambda seen: seen.statuses.update(closing=31.0, gone=34.0), "closed by the last agent's exit, before its TTL"),
        (lambda seen: seen.statuses.update(gone=5.0), "held for 3 s, then gone"),
        (lambda seen: seen.statuses.update(gone=9.0), "held for 3 s, then gone"),
        (lambda seen: seen.statuses.pop("gone"), "held for 3 s, then gone"),
        (lambda seen: setattr(seen, "namespace_gone", False), "its namespace gone with it"),
        (lambda seen: seen.deliveries.clear(), "one end report reached the webhook"),
        (lambda seen: seen.deliveries.append(seen.deliveries[0]), "one end report reached the webhook"),
        (
            lambda seen: seen.deliveries.__setitem__(slice(None), [delivery(report("base"))]),
            "the report is extended, with every message",
        ),
    ],
)
def test_what_did_not_happen_fails_the_check_of_its_name(spoil: Callable[[Observed], object], failed: str) -> None:
    observed = good()
    spoil(observed)
    assert [check.name for check in checks(observed) if not check.passed] == [failed]


def test_a_report_signed_with_another_secret_fails_both_signatures() -> None:
    observed = good()
    observed.deliveries = [delivery(report(), "another secret")]
    failed = [check.name for check in checks(observed) if not check.passed]
    assert failed == ["X-Coral-Signature holds", "Standard Webhooks signature holds"]


def test_a_body_changed_on_its_way_fails_both_signatures() -> None:
    observed = good()
    sent = observed.deliveries[0]
    observed.deliveries = [replace(sent, body=sent.body + b" ")]
    failed = [check.name for check in checks(observed) if not check.passed]
    assert failed == ["X-Coral-Signature holds", "Standard Webhooks signature holds"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_either_screen_shows_the_session(is_terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=100, _environ={})
    observed = Observed("demo", "s1", 0.05, SECRET)
    with screen_for(console) as screen:
        for at_s, seen in ((0.1, state("executed", {"type": "waiting"}, 1)), (4.0, None)):
            for event in observed.take(seen, at_s):
                screen.show(event)
            screen.draw(observed)
        for event in observed.take_deliveries([delivery(report())], 4.1):
            screen.show(event)
        screen.draw(observed)
    shown = out.getvalue()
    for text in (
        "executed",
        "seed",
        "echo",
        "waiting",
        "@echo message 0",
        "nice message!",
        "thread 0",
        "gone",
        "end report",
    ):
        assert text in shown
