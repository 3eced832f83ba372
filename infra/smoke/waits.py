"""Checks of waiting agents: longer than gateways hold a request, paused and resumed, and more than are let in."""

import concurrent.futures
import time

import httpx2

from infra.smoke import agents
from infra.smoke.outcomes import CheckFailed, Skipped, expect
from infra.smoke.place import REQUEST_S, Target

#: Waits are cut here, before clients' own limit of 60 s (docs/limits.md).
LONGEST_WAIT_S = 58.0
#: And here where agents have no Function URL, but the REST API.
LONGEST_WAIT_OF_API_S = 25.0

#: How many waits are let in while the check of the limit runs, and how many come besides.
LET_IN, BESIDES = 3, 3

#: How many waits an agent may have at once (``ATOLL_AGENT_WAITS``).
_WAITS_OF_AN_AGENT = 4

_WAIT = "coral_wait_for_message"


def long_wait(target: Target) -> str:
    """A wait is held to its end, beyond the limits of API Gateway and of CloudFront."""
    wanted_s = target.pace.long_wait_s
    longest_s = LONGEST_WAIT_S if target.has_function_url else LONGEST_WAIT_OF_API_S
    path = agents.idle_session(target, "smoke-long-wait", "idle")
    began = time.monotonic()
    answer = agents.call_tool(target.endpoint(path, "idle"), _WAIT, maxWaitMs=int(wanted_s * 1000))
    took_s = time.monotonic() - began
    target.call("DELETE", path)
    expect(answer.get("status") == "Timeout reached", f"the wait ended with {answer}")
    shortest_s = min(wanted_s, longest_s) - 1
    expect(took_s >= shortest_s, f"a wait of {wanted_s:.0f} s ended after {took_s:.1f} s")
    return f"a wait of {wanted_s:.0f} s was held for {took_s:.1f} s"


def resumed_wait(target: Target) -> str:
    """A wait that is paused is resumed by Last-Event-ID, and gets what was said meanwhile."""
    found = target.client("lambda").get_function_configuration(FunctionName=f"atoll-{target.stage}-mcp")
    held_ms = found["Environment"]["Variables"].get("ATOLL_MCP_WAIT_HOLD_MS", "")
    if not held_ms:
        raise Skipped("the stage pauses no waits (ATOLL_MCP_WAIT_HOLD_MS)")
    path = agents.idle_session(target, "smoke-resumed-wait", "one", "two")
    one, two = target.endpoint(path, "one"), target.endpoint(path, "two")
    thread = agents.call_tool(one, "coral_create_thread", threadName="smoke", participantNames=["two"])["thread"]
    paused = _event_id(agents.post_tool(two, _WAIT, {"User-Agent": agents.COMES_BACK}, maxWaitMs=50_000))
    if paused is None:
        raise CheckFailed(f"a wait was not paused after {held_ms} ms")
    agents.call_tool(one, "coral_send_message", threadId=thread["id"], content="meanwhile", mentions=["two"])
    text, times = _resumed(target, two, paused)
    target.call("DELETE", path)
    answer = agents.result_of(_WAIT, text)
    expect(answer.get("message", {}).get("text") == "meanwhile", f"the resumed wait ended with {answer}")
    often = "once" if times == 1 else f"{times} times"
    return f"paused after {held_ms} ms and resumed {often}, with what was said meanwhile"


def _event_id(answer: httpx2.Response) -> str | None:
    """Return the id of a stream that ends without an answer; ``None`` for one that has it."""
    fields = dict(line.split(":", 1) for line in answer.text.strip().splitlines() if ":" in line)
    ended = answer.headers["content-type"].startswith("text/event-stream") and not fields.get("data", "").strip()
    return fields["id"].strip() if ended else None


def _resumed(target: Target, endpoint: str, event_id: str) -> tuple[str, int]:
    for times in range(1, 60):
        headers = agents.HEADERS | {"Accept": "text/event-stream", "User-Agent": agents.COMES_BACK}
        headers["Last-Event-ID"] = event_id
        answer = httpx2.get(endpoint, headers=headers, timeout=REQUEST_S)
        expect(answer.status_code == 200, f"resuming is answered with {answer.status_code}: {answer.text[:200]}")
        again = _event_id(answer)
        if again is None:
            return answer.text, times
        event_id = again
        time.sleep(target.pace.look_s)
    raise CheckFailed("the wait was resumed 60 times and has no answer")


def limit_of_waits(target: Target) -> str:
    """Waits beyond the reserved concurrency are answered 429, and those within are held."""
    if not target.has_function_url:
        raise Skipped("there are no Function URLs here: agents wait in the REST API's function, which has no limit")
    client, name = target.client("lambda"), f"atoll-{target.stage}-mcp"
    before = client.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions")
    if before is None:
        raise CheckFailed(f"{name} has no reserved concurrency: waiting agents can starve everything else")
    waits = LET_IN + BESIDES
    names = [f"agent-{number}" for number in range(-(-waits // _WAITS_OF_AN_AGENT))]
    path = agents.idle_session(target, "smoke-limit", *names)
    endpoints = [target.endpoint(path, names[number // _WAITS_OF_AN_AGENT]) for number in range(waits)]
    try:
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=LET_IN)
        time.sleep(15)  # it holds some seconds later
        with concurrent.futures.ThreadPoolExecutor(waits) as pool:
            answers = list(pool.map(lambda at: agents.post_tool(at, _WAIT, maxWaitMs=20_000).status_code, endpoints))
    finally:
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=before)
    target.call("DELETE", path)
    expect(429 in answers, f"{waits} waits at a limit of {LET_IN} were answered with {answers}")
    expect(answers.count(200) >= 1, f"no wait was held: {answers}")
    return f"of {waits} waits at a limit of {LET_IN}, {answers.count(429)} were answered 429"
