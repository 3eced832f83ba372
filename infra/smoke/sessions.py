"""Checks of sessions: agents on Fargate, capacity, the task token, closing while a session starts, webhooks, names."""

import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import quote

from standardwebhooks import Webhook, WebhookVerificationError

from infra.deploy.preflight.quotas import FARGATE_VCPUS
from infra.smoke import agents
from infra.smoke.outcomes import CheckFailed, Skipped, expect
from infra.smoke.place import Json, Target

#: Names that have to pass a path as they are: a space, what is not ASCII, a plus; and a slash.
NAMES = ("smoke a b", "smoke ü", "smoke a+b")
SLASH = "smoke a/b"

#: A quota of so many vCPUs is filled for a check; more would cost too much.
FILLABLE_VCPUS = 16

#: Units of a vCPU that an agent takes, as .chalice has it.
_AGENTS_OF_A_VCPU = 4


def function_agents(target: Target) -> str:
    """A first session, of Atoll's own agents, which are functions: no image, no registration."""
    status, found = target.call("GET", "/api/v1/registry/local/seed/1.0.0")
    if status != 200 or "function" not in json.dumps(found):
        raise Skipped("the stage has no agents of its own that are functions (ATOLL_DEBUG_AGENTS)")
    to_echo, three = {"type": "list[string]", "value": ["echo"]}, {"type": "u32", "value": 3}
    seed = agents.agent("seed", "seed", PARTICIPANTS=to_echo, MENTIONS=to_echo, SEED_MESSAGE_COUNT=three)
    echo = agents.agent("echo", "echo", ITERATION_COUNT=three)
    for each in (seed, echo):
        each["provider"] = {"type": "local", "runtime": "function"}
    hold = {"mode": "hold_after_exit", "duration": 600_000}
    path = target.create(agents.session("smoke-functions", echo, seed, persistenceMode=hold))
    began = time.monotonic()
    target.until(lambda: target.status(path) == "closing", 120, "both agents have exited")
    took_s = time.monotonic() - began
    _, state = target.call("GET", f"{path}/extended")
    said = sorted(message["senderName"] for thread in state["threads"] for message in thread["messages"])
    expect(said == ["echo"] * 3 + ["seed"] * 3, f"the messages are of {said}, three of each were to come")
    return f"two agents said three messages each, {took_s:.0f} s after the request"


def fargate_agents(target: Target) -> str:
    """Two agents start on Fargate, get options as files, talk, and end."""
    target.put_agent(agents.TALKER, agents.talker_file(target.image))
    said = f"file option {time.time_ns()}"
    speaker = agents.agent("speaker", agents.TALKER, FILE={"type": "string", "value": said})
    listener = agents.agent("listener", agents.TALKER, LISTENS={"type": "bool", "value": True})
    hold = {"mode": "hold_after_exit", "duration": 600_000}
    path = target.create(agents.session("smoke-fargate", listener, speaker, persistenceMode=hold))
    began = time.monotonic()
    target.until(lambda: target.status(path) == "closing", target.pace.task_s, "both agents have exited")
    took_s = time.monotonic() - began
    _, state = target.call("GET", f"{path}/extended")
    texts = [message["text"] for thread in state["threads"] for message in thread["messages"]]
    digest = hashlib.sha256(said.encode()).hexdigest()
    expect(texts == [digest, f"heard {digest}"], f"the agents said {texts} in place of the digest of the file")
    return f"two agents talked and exited, {took_s:.0f} s after the request"


def capacity(target: Target) -> str:
    """An agent that Fargate has no room for starts when there is some."""
    quota = target.client("service-quotas").get_service_quota(**FARGATE_VCPUS)["Quota"]["Value"]
    if quota > FILLABLE_VCPUS:
        raise Skipped(f"the quota of Fargate is {quota:.0f} vCPUs: filling more than {FILLABLE_VCPUS} is too expensive")
    wanted = int(quota) * _AGENTS_OF_A_VCPU + 1
    target.put_agent(agents.IDLE, agents.idle_file(target.image))
    names = [f"agent-{number}" for number in range(wanted)]
    path = target.create(agents.session("smoke-capacity", *map(agents.agent, names)))

    def started() -> int:
        return len(agents.tasks(target, path))

    target.until(lambda: started() >= wanted - 1, target.pace.task_s, f"{wanted - 1} tasks are accepted")
    time.sleep(30)  # what is refused is tried again meanwhile, with other tokens
    expect(started() == wanted - 1, f"{started()} tasks of {wanted}: nothing was refused, the quota holds no longer")
    [first, *_] = agents.tasks(target, path)
    target.client("ecs").stop_task(cluster=f"atoll-{target.stage}", task=first["taskArn"], reason="smoke")
    known = {each["taskArn"] for each in agents.tasks(target, path)}
    target.until(
        lambda: {each["taskArn"] for each in agents.tasks(target, path)} - known,
        2 * target.pace.task_s,
        "the agent that was refused is started",
    )
    return f"of {wanted} agents one was refused, and started when another had stopped"


def task_token(target: Target) -> str:
    """A session that is closed answers the task token that its execution waits for."""
    path = agents.idle_session(target, "smoke-token", "idle")
    session_id = path.rsplit("/", 1)[1]
    status, answer = target.call("DELETE", path)
    expect(status == 200, f"closing the session is answered with {status}: {answer}")
    target.until(lambda: target.status(path) is None, 120, "the closed session is removed")
    states = target.client("stepfunctions")
    pages = states.get_paginator("list_state_machines").paginate()
    arns = {each["name"]: each["stateMachineArn"] for page in pages for each in page["stateMachines"]}
    arn = arns[f"atoll-{target.stage}-session-lifecycle"]
    execution = f"{arn.replace(':stateMachine:', ':execution:')}:{session_id}"

    def over() -> Any:
        found = states.describe_execution(executionArn=execution)
        return found["status"] != "RUNNING" and found

    found = target.until(over, 60, "the session's execution is over")
    expect(found["status"] == "SUCCEEDED", f"the execution is {found['status']}: {found.get('cause', '')[:300]}")
    return "its execution went on by the token, and succeeded"


def close_during_launch(target: Target) -> str:
    """A session that is closed while its agents are launched leaves no task behind."""
    target.put_agent(agents.IDLE, agents.idle_file(target.image))
    names = [f"agent-{number}" for number in range(5)]
    path = target.create(agents.session("smoke-race", *map(agents.agent, names)))
    status, answer = target.call("DELETE", path)
    expect(status == 200, f"closing the session is answered with {status}: {answer}")
    target.until(lambda: target.status(path) is None, 120, "the closed session is removed")

    def stopped() -> bool:
        return all(each["desiredStatus"] == "STOPPED" for each in agents.tasks(target, path))

    target.until(stopped, target.pace.task_s, "no task of the closed session is to run")
    return "none of its five tasks is to run"


def webhook(target: Target) -> str:
    """An end report reaches a receiver outside, signed."""
    with target.receiver() as receiver:
        path = agents.idle_session(target, "smoke-webhook", "idle", webhooks={"sessionEnd": {"url": receiver.url}})
        target.call("DELETE", path)
        delivery = receiver.next(180)
    if delivery is None:
        raise CheckFailed(f"no report within 180 s; the deliveries are {_deliveries(target)}")
    secret = json.loads(target.secret("webhook-secrets"))["current"]
    signature = hmac.new(secret.encode(), delivery.body, hashlib.sha256).hexdigest()
    expect(delivery.headers.get("x-coral-signature") == signature, "X-Coral-Signature is not that of the secret")
    try:
        Webhook(secret.encode()).verify(delivery.body, delivery.headers)
    except WebhookVerificationError as error:
        raise CheckFailed(f"webhook-signature: {error}") from error
    session_id = json.loads(delivery.body)["sessionState"]["state"]["id"]
    expect(session_id == path.rsplit("/", 1)[1], f"the report is of the session {session_id}")
    return "a report came, with both signatures"


def _deliveries(target: Target) -> Json:
    return dict(target.call("GET", "/api/v1/local/namespace/smoke-webhook/deliveries")[1] or {})


def paths(target: Target) -> str:
    """Names in paths are what was encoded, whatever API Gateway decodes."""
    return _paths(target, target.api_url, *NAMES)


def slash(target: Target) -> str:
    """An encoded slash in a name is no end of a part of the path."""
    return _paths(target, target.api_url, SLASH)


def paths_through_address(target: Target) -> str:
    """The same through CloudFront."""
    if not target.address:
        raise Skipped("the stage has no address: run with --address")
    return _paths(target, target.address, *NAMES, SLASH)


def _paths(target: Target, base: str, *names: str) -> str:
    target.put_agent(agents.IDLE, agents.idle_file(target.image))
    for name in names:
        request = agents.session(name, agents.agent("idle")) | {"execution": {"mode": "defer"}}
        status, answer = target.call("POST", "/api/v1/local/session", request, base=base)
        expect(status == 200, f"creating a session in {name!r} is answered with {status}: {answer}")
        # A plus is a plus in a path, whether it is encoded or not.
        for encoded in {quote(name, safe=""), quote(name, safe="+")}:
            path = f"/api/v1/local/session/{encoded}/{answer['sessionId']}"
            status, found = target.call("GET", path, base=base)
            expect(status == 200, f"{path} is answered with {status}: {found}")
            expect(found["namespace"] == name, f"{path} is of the namespace {found['namespace']!r}")
        path = f"/api/v1/local/namespace/{quote(name, safe='')}"
        status, answer = target.call("DELETE", path, base=base)
        expect(status == 200, f"deleting {path} is answered with {status}: {answer}")
    return ", ".join(repr(name.removeprefix("smoke ")) for name in names)
