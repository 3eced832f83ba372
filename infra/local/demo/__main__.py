"""Three sessions, shown from their client's side.

The first: POST a graph of agents, look at it until it is gone, check its end report. The second: an agent with a model
and a budget, and what happens at its end. The third: a prototype and a function that talk, and what that cost.

Everything after the start of the local stack is plain HTTP with a bearer key: what `Client` does, any client can do.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx2
from rich.console import Console

from infra.local.demo import spending, talking
from infra.local.demo.observed import HOLD_MS, MESSAGES, TTL_MS, Observed, checks
from infra.local.demo.receiver import Receiver, receiving
from infra.local.demo.screen import WIDTH, Lines, Screen, screen_for, table_of
from infra.local.demo.spending import Spending
from infra.local.demo.talking import Costs, Talk

AGENTS = Path(__file__).parents[3] / "agents"
THINKER = Path(__file__).parent / spending.AGENT
ASKER = Path(__file__).parent / talking.PROTOTYPE
NAMESPACE = "demo"
PACE_MS = 700
POLL_S = 0.1
DEADLINE_S = 45


def agent(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """One agent of a graph: which agent of the registry, under which name, run how, with which options."""
    return {
        "id": {"name": name, "version": "1.0.0", "registrySourceId": {"type": "local"}},
        "name": name,
        "provider": {"type": "local", "runtime": "executable"},
        "options": options,
    }


def session_request(webhook_url: str) -> dict[str, Any]:
    """Two agents that know each other, a time to live, a hold after their exit, and a webhook for the end report."""
    seed = {
        "PARTICIPANTS": {"type": "list[string]", "value": ["echo"]},
        "MENTIONS": {"type": "list[string]", "value": ["echo"]},
        "SEED_MESSAGE_COUNT": {"type": "u32", "value": MESSAGES},
        "OPERATION_DELAY": {"type": "u32", "value": PACE_MS},
    }
    echo = {
        "ITERATION_COUNT": {"type": "u32", "value": MESSAGES},
        "MENTIONS": {"type": "bool", "value": True},
    }
    return {
        "agentGraphRequest": {"agents": [agent("seed", seed), agent("echo", echo)], "groups": [["seed", "echo"]]},
        "namespaceProvider": {
            "type": "create_if_not_exists",
            "namespaceRequest": {"name": NAMESPACE, "deleteOnLastSessionExit": True, "annotations": {}},
        },
        "execution": {
            "mode": "immediate",
            "runtimeSettings": {
                "ttl": TTL_MS,
                "persistenceMode": {"mode": "hold_after_exit", "duration": HOLD_MS},
                "extendedEndReport": True,
                "webhooks": {"sessionEnd": {"url": webhook_url}},
            },
        },
    }


class Client:
    """The calls of the session API that the demo makes."""

    def __init__(self, url: str, key: str) -> None:
        self._http = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def create_session(self, request: dict[str, Any]) -> dict[str, Any]:
        """POST a session; returns `{"namespace", "sessionId"}`."""
        created: dict[str, Any] = self._body(self._http.post("/api/v1/local/session", json=request))
        return created

    def session(self, namespace: str, session_id: str) -> dict[str, Any] | None:
        """The session with its agents and threads, or None when there is no such session (any more)."""
        response = self._http.get(f"/api/v1/local/session/{namespace}/{session_id}/extended")
        return None if response.status_code == 404 else self._body(response)

    def namespace_exists(self, namespace: str) -> bool:
        """Whether there is such a namespace."""
        return self._http.get(f"/api/v1/local/namespace/{namespace}").status_code != 404

    def spending(self, namespace: str, session_id: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The budgets of a session and its only agent as the listing has it, or None when there is no such session."""
        path = f"/api/v1/local/session/{namespace}/{session_id}"
        budget, agents = self._http.get(f"{path}/budget"), self._http.get(f"{path}/agent")
        if 404 in (budget.status_code, agents.status_code):
            return None
        return self._body(budget), self._body(agents)[0]

    def costs(self, namespace: str, session_id: str) -> Costs | None:
        """The budgets of a session, its summary and its events, or None when there is no such session (any more)."""
        path = f"/api/v1/local/session/{namespace}/{session_id}"
        found = [self._http.get(f"{path}/{part}") for part in ("budget", "summary", "events")]
        return None if any(each.status_code == 404 for each in found) else Costs(*map(self._body, found))

    def _body(self, response: httpx2.Response) -> Any:
        if response.status_code != 200:
            sys.exit(f"failed: {response.request.url} answered {response.status_code}: {response.text}")
        return response.json()


def follow(client: Client, receiver: Receiver, secret: str, screen: Screen) -> Observed:
    """Create the session and look at it until it is gone and its report has come, or the deadline is past."""
    began = time.monotonic()
    created = client.create_session(session_request(receiver.url))
    observed = Observed(created["namespace"], created["sessionId"], time.monotonic() - began, secret)
    screen.say(f"POST /api/v1/local/session → {json.dumps(created)}")
    while not observed.over and time.monotonic() - began < DEADLINE_S:
        state = client.session(observed.namespace, observed.session_id)
        now_s = time.monotonic() - began
        for event in (*observed.take(state, now_s), *observed.take_deliveries(receiver.deliveries, now_s)):
            screen.show(event)
        observed.namespace_gone = state is None and not client.namespace_exists(observed.namespace)
        screen.draw(observed)
        time.sleep(POLL_S)
    return observed


def follow_spending(client: Client, receiver: Receiver, secret: str, screen: Screen) -> Spending:
    """Create a session whose agent has a budget, and look at it until that is at its end, or the deadline is past."""
    began = time.monotonic()
    created = client.create_session(spending.session_request(NAMESPACE, receiver.url))
    screen.say(f"POST /api/v1/local/session → {json.dumps(created)}")
    seen = Spending(secret)
    while not seen.over and time.monotonic() - began < DEADLINE_S:
        found = client.spending(created["namespace"], created["sessionId"])
        for event in seen.take(found, receiver.deliveries, time.monotonic() - began):
            screen.show(event)
        time.sleep(POLL_S)
    return seen


def follow_talk(client: Client, screen: Screen) -> Talk:
    """Create a session of a prototype and a function, look at it until it closes, and read what it cost."""
    began = time.monotonic()
    created = client.create_session(talking.session_request(NAMESPACE))
    screen.say(f"POST /api/v1/local/session → {json.dumps(created)}")
    observed = Observed(created["namespace"], created["sessionId"], time.monotonic() - began, secret="")
    talk = Talk(observed)
    while not talk.over and time.monotonic() - began < DEADLINE_S:
        state = client.session(observed.namespace, observed.session_id)
        for event in observed.take(state, time.monotonic() - began):
            screen.show(event)
        time.sleep(POLL_S)
    talk.costs = client.costs(observed.namespace, observed.session_id)
    for line in talk.costs.lines() if talk.costs else ():
        screen.say(line)
    return talk


def play(console: Console, screen: Screen) -> tuple[Observed, Spending, Talk]:
    """Play all scenes on one local stack, those that need one with a webhook of their own."""
    # They take a second to import: not before there is something to read.
    from chalicelib.wire.llm_proxy import LlmProxyConfig
    from infra.local.stack import LocalStack
    from tests.offline_models import OfflineModels, Says

    began = time.monotonic()
    screens = [screen]

    def overhear(agent: str, line: str) -> None:
        screens[-1].overhear(agent, line)

    with contextlib.ExitStack() as running:
        report, news = running.enter_context(receiving()), running.enter_context(receiving())
        models = running.enter_context(OfflineModels())
        models.usual = Says(("On", "it."), input_tokens=spending.INPUT_TOKENS, output_tokens=spending.OUTPUT_TOKENS)
        stack = running.enter_context(
            LocalStack(
                port=0,
                agents=[AGENTS / "seed", AGENTS / "echo", THINKER, ASKER],
                on_output=overhear,
                llm_proxy=LlmProxyConfig.model_validate(spending.llm_proxy(models.url)),
            )
        )
        client = running.enter_context(Client(stack.url, stack.key))
        with screen:
            screen.say(f"Atoll is up at {stack.url} after {time.monotonic() - began:.1f} s")
            observed = follow(client, report, stack.webhook_secret, screen)
        screens.append(Lines(console))
        screens[-1].say(f"\nNow an agent with a model, and {spending.BUDGET_USD} US dollars to spend on it:")
        seen = follow_spending(client, news, stack.webhook_secret, screens[-1])
        models.usual = talking.think
        screens[-1].say("\nNow a prototype, which is prompts and a model, and a function talk:")
        return observed, seen, follow_talk(client, screens[-1])


def main() -> int:
    """Run the demo; 0 when everything that it shows has happened."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    # What the Lambdas log is for CloudWatch; here it would stand between the lines.
    os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "WARNING")
    console.print("Starting Atoll on this machine …")
    began = time.monotonic()
    screen = screen_for(console)
    observed, seen, talk = play(console, screen)

    results = [*checks(observed), *seen.checks(), *talk.checks()]
    console.print(table_of(results))
    failed = [check.name for check in results if not check.passed]
    if failed:
        console.print(f"failed: {'; '.join(failed)}")
        screen.explain()
        return 1
    console.print(f"All of it happened, in {time.monotonic() - began:.1f} s.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except httpx2.HTTPError as error:
        sys.exit(f"failed: the API does not answer: {error}")
