"""Sessions for checks, and their agents: a Python of any image that runs a few lines, or does nothing."""

import json
from typing import Any

import httpx2

from infra.smoke.outcomes import CheckFailed, expect
from infra.smoke.place import REQUEST_S, Json, Target

#: Its agents do nothing: who checks speaks in their names.
IDLE = "smoke-idle"
#: Its agents talk: one says the digest of its file, the other repeats it.
TALKER = "smoke-talker"

_IDLE_S = 1_800

#: What a talker runs, with the standard library alone.
_TALK = """
import hashlib, json, os, sys, urllib.request

def call(tool, **arguments):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
               "MCP-Protocol-Version": "2025-06-18"}
    request = urllib.request.Request(os.environ["CORAL_CONNECTION_URL"], json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=90) as answer:
        text = answer.read().decode()
    result = json.loads(text if text[0] == "{" else text.split("data: ", 1)[1].splitlines()[0])["result"]
    if result.get("isError"):
        sys.exit(str(result))
    return result["structuredContent"]

if os.environ.get("LISTENS"):
    for _ in range(10):
        found = call("coral_wait_for_mention", currentUnixTime=0, maxWaitMs=50000).get("message")
        if found:
            break
    call("coral_send_message", threadId=found["threadId"], content="heard " + found["text"])
else:
    with open(os.environ["FILE"], "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    thread = call("coral_create_thread", threadName="smoke", participantNames=["listener"])["thread"]
    call("coral_send_message", threadId=thread["id"], content=digest, mentions=["listener"])
"""


def idle_file(image: str) -> str:
    """Return the file of an agent that does nothing."""
    return _file(IDLE, image, ["python", "-c", f"import time; time.sleep({_IDLE_S})"])


def talker_file(image: str) -> str:
    """Return the file of an agent that talks about a file that it gets."""
    options = '[options.FILE]\ntype = "string"\ntransport = "fs"\n\n[options.LISTENS]\ntype = "bool"\n'
    return _file(TALKER, image, ["python", "-c", _TALK]) + options


def _file(name: str, image: str, command: list[str]) -> str:
    # A TOML string is a JSON string.
    return (
        f'edition = 4\n\n[agent]\nname = "{name}"\nversion = "1.0.0"\ndescription = "Of a smoke test."\n\n'
        f"[runtimes.docker]\nimage = {json.dumps(image)}\ncommand = {json.dumps(command)}\n\n"
    )


def agent(name: str, kind: str = IDLE, **options: Json) -> Json:
    """Ask for an agent; an option is ``{"type": …, "value": …}``."""
    return {
        "id": {"name": kind, "version": "1.0.0", "registrySourceId": {"type": "local"}},
        "name": name,
        "provider": {"type": "local", "runtime": "docker"},
        "options": options,
    }


def session(namespace: str, *agents: Json, **settings: Any) -> Json:
    """Ask for a session with all its agents in one group, for an hour at most."""
    return {
        "agentGraphRequest": {"agents": list(agents), "groups": [[each["name"] for each in agents]]},
        "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": namespace}},
        "execution": {"mode": "immediate", "runtimeSettings": {"ttl": 3_600_000, **settings}},
    }


def idle_session(target: Target, namespace: str, *names: str, **settings: Any) -> str:
    """Create a session of agents that do nothing and wait until their tasks are accepted; return its path."""
    target.put_agent(IDLE, idle_file(target.image))
    path = target.create(session(namespace, *map(agent, names), **settings))
    target.until(lambda: len(tasks(target, path)) >= len(names), 60, f"ECS has {len(names)} tasks of the session")
    return path


def tasks(target: Target, path: str) -> list[Json]:
    """Return the tasks of a session that have not stopped, as ECS describes them."""
    ecs, cluster = target.client("ecs"), f"atoll-{target.stage}"
    session_id = path.rsplit("/", 1)[1]
    found: list[Json] = []
    for page in ecs.get_paginator("list_tasks").paginate(cluster=cluster):  # of 100, which a description takes
        if arns := page["taskArns"]:
            found += ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"]
    return [each for each in found if session_id in each.get("startedBy", "") and each["lastStatus"] != "STOPPED"]


#: Of a client that does not come back for paused waits: each is held to its end.
HELD = "atoll-smoke"
#: Of one that does (`chalicelib.mcp.clients`).
COMES_BACK = f"python-httpx2/{httpx2.__version__}"

HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-11-25",
    "User-Agent": HELD,
}


def post_tool(endpoint: str, tool: str, headers: Json | None = None, **arguments: Any) -> httpx2.Response:
    """Call a tool as an agent and return the answer as it is."""
    params = {"name": tool, "arguments": arguments}
    body = {"jsonrpc": "2.0", "id": "smoke", "method": "tools/call", "params": params}
    return httpx2.post(endpoint, json=body, headers={**HEADERS, **(headers or {})}, timeout=REQUEST_S)


def call_tool(endpoint: str, tool: str, **arguments: Any) -> Json:
    """Call a tool as an agent and return what it answers; raise `CheckFailed` for a refusal."""
    answer = post_tool(endpoint, tool, **arguments)
    expect(answer.status_code == 200, f"{tool} is answered with {answer.status_code}")
    return result_of(tool, answer.text)


def result_of(tool: str, text: str) -> Json:
    """Return the structured answer of a tool, in JSON or in a stream; raise `CheckFailed` for a refusal."""
    message = json.loads(text if text.startswith("{") else text.split("data: ", 1)[1].splitlines()[0])
    result = message.get("result", {})
    if "error" in message or result.get("isError"):
        raise CheckFailed(f"{tool} is refused: {message.get('error') or result.get('content')}")
    return dict(result["structuredContent"])
