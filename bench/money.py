"""Money: what sessions, waiting and standing still cost, from counted calls and the prices in docs/costs.md."""

import itertools
import json
import math
import re
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.meter import Counted, Meter
from bench.scene import scene
from bench.timers import SLEEPER
from bench.turning import Talk
from chalicelib.mcp import endpoint
from chalicelib.wire.threads import MAX_WAIT_MS
from infra.deploy import description
from infra.local.cloudformation.templates import load
from infra.local.stack import LocalStack
from tests import client as local

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "costs.md"

#: The shape of a session.
AGENTS, MESSAGES, MINUTES = 3, 50, 10
#: How long one wait lasts at most, behind the Function URL.
WAIT_S = MAX_WAIT_MS // 1000
#: How long a wait is held at first where it is paused then, as deployed (`Settings.mcp_wait_hold_ms`).
HOLD_MS = int(description.stack()["Parameters"]["WaitHoldMs"]["Default"])
#: The smallest Fargate task.
TASK_VCPU, TASK_GB = 0.25, 0.5
HOURS_OF_MONTH = 730

#: A Lambda has one vCPU at this memory, and less in proportion below it (Lambda Developer Guide, "Memory").
MB_OF_ONE_VCPU = 1769
#: Our own CPU for one AWS call and all around it (what `bench.handlers` measures, rounded up), and how long AWS takes.
CPU_MS_OF_CALL, NETWORK_MS_OF_CALL = 1.0, 6.0
CPU_MS_OF_REQUEST = 0.5
#: What a request writes to its log, in bytes: nearly all of it is Lambda's own lines.
LOG_BYTES = 600


def prices() -> dict[str, float]:
    """Read the table of prices."""
    rows = re.findall(r"^\| `(\w+)` \| ([0-9.]+) \|", PAGE.read_text(), re.MULTILINE)
    return {key: float(price) for key, price in rows}


@dataclass(frozen=True)
class Life:
    """What a session does besides its messages and waits: from its POST until it is gone."""

    counted: Counted
    #: Invocations by the function's name.
    invocations: dict[str, int]
    transitions: int


@dataclass(frozen=True)
class Told:
    """What follows from messages to an agent that is one of Atoll's own functions, and from its answers."""

    counted: Counted
    #: Invocations by the function's name.
    invocations: dict[str, int]


@dataclass(frozen=True)
class Counts:
    """All that was counted for the money."""

    life: Life
    first_request: Counted
    thread: Counted
    send: Counted
    short_wait: Counted
    long_wait: Counted
    #: A wait of no time that finds nothing.
    vain_wait: Counted
    #: A wait that is paused: its first request, and each with which the client comes back.
    paused_wait: list[Counted]
    #: Messages to agents that are functions, each with its answer, up to the last write that follows from them.
    told: Told


def count() -> Counts:
    """Count a session's life on the local stack, and what its agents do on moto."""
    return Counts(_life(), *_endpoint(), _paused_wait(), _told())


def _paused_wait() -> list[Counted]:
    """Make the longest wait without a message, on an endpoint that pauses waits."""
    with scene(mcp_wait_hold_ms=HOLD_MS) as here:
        [secret] = here.admit(here.create(agents=1)).values()
        here.mcp(secret, "tools/list")
        requests: list[Counted] = []
        arguments = {"currentUnixTime": here.clock.now_ms(), "maxWaitMs": WAIT_S * 1000}
        params = {"name": "coral_wait_for_mention", "arguments": arguments}
        accepted = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
        accepted["user-agent"] = "node"
        with here.meter.counting() as counted:
            answer = here.post(secret, "tools/call", params, **accepted)
        requests.append(counted)
        while paused := re.search(r"id: (\S+)\nretry: (\d+)\n", answer.body.decode()):
            here.clock.sleep(int(paused[2]) / 1000)
            request = endpoint.Request("GET", secret, {**accepted, "last-event-id": paused[1]})
            with here.meter.counting() as counted:
                answer = endpoint.handle(here.services, request)
            requests.append(counted)
        if b"Timeout reached" not in answer.body:
            raise RuntimeError(f"the wait does not end: {answer}")
        return requests


def _endpoint() -> tuple[Counted, Counted, Counted, Counted, Counted, Counted]:
    with scene(mcp_wait_limit_ms=WAIT_S * 1000) as here:
        secrets = here.admit(here.create(agents=AGENTS))
        one, two, three = secrets.values()
        names = list(secrets)
        counted: list[Counted] = []

        def note(call: Any) -> Any:
            with here.meter.counting() as found:
                result = call()
            counted.append(found)
            return result

        def wait(secret: str, from_ms: int, max_ms: int) -> Any:
            return here.tool(secret, "coral_wait_for_mention", currentUnixTime=from_ms, maxWaitMs=max_ms)

        note(lambda: here.mcp(one, "tools/list"))
        thread = note(lambda: here.tool(one, "coral_create_thread", threadName="t", participantNames=names[1:]))
        send = {"threadId": thread["thread"]["id"], "content": "x" * 500, "mentions": [names[1]]}
        note(lambda: here.tool(one, "coral_send_message", **send))
        note(lambda: wait(two, here.clock.now_ms() - 5_000, WAIT_S * 1000))
        note(lambda: wait(three, here.clock.now_ms(), WAIT_S * 1000))
        note(lambda: wait(three, here.clock.now_ms(), 0))
        first, opened, sent, short, long, vain = counted
        return first, opened, sent, short, long, vain


def _life() -> Life:
    meter = Meter()
    invoked: Counter[str] = Counter()
    with LocalStack(agents=[SLEEPER]) as stack:
        for service in ("dynamodb", "ecs", "events", "s3", "stepfunctions"):
            meter.follow(stack.services.client(service))
        _count_invocations(stack, invoked)
        with meter.counting() as counted:
            session = _run(stack)
        arn = stack.services.settings.state_machine_arn("session-lifecycle").replace(":stateMachine:", ":execution:")
        entered = stack.machines.executions[f"{arn}:{session}"].entered
    return Life(counted, dict(invoked), len(entered))


def _told() -> Told:
    """Have an echo answer half of a session's messages, one after the other."""
    meter = Meter()
    invoked: Counter[str] = Counter()
    with LocalStack() as stack:
        meter.follow(stack.services.client("dynamodb"))
        _count_invocations(stack, invoked)
        echo = local.function("money", "echo", MENTIONS=("bool", True), ITERATION_COUNT=("u32", 1_000))
        talk = Talk(local.Client(stack.url, stack.key), echo)
        talk.say()
        local.eventually(lambda: len(talk.messages()) == 2)
        invoked.clear()
        with meter.counting() as counted:
            for number in range(2, 2 + MESSAGES // 2):
                talk.say()
                local.eventually(lambda number=number: talk.waits(2 * number))  # type: ignore[misc]
        invocations = dict(invoked)
        talk.close()
    return Told(counted, invocations)


def _count_invocations(stack: LocalStack, invoked: Counter[str]) -> None:
    stack.functions.serve(
        {name: _counting(name, handler, invoked) for name, handler in stack.functions._handlers.items()}
    )


def _counting(name: str, handler: Any, invoked: Counter[str]) -> Any:
    def counting(event: Any, context: Any) -> Any:
        invoked[name] += 1
        return handler(event, context)

    return counting


def _run(stack: LocalStack) -> str:
    agent = {
        "id": {"name": "sleeper", "version": "1.0.0", "registrySourceId": {"type": "local"}},
        "provider": {"type": "local", "runtime": "executable"},
        "options": {"SECONDS_TO_LIVE": {"type": "f64", "value": 1.5}},
    }
    names = [f"agent-{number}" for number in range(AGENTS)]
    body = {
        "agentGraphRequest": {"agents": [{**agent, "name": name} for name in names], "groups": [names]},
        "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": "money"}},
    }
    request = urllib.request.Request(f"{stack.url}/api/v1/local/session", json.dumps(body).encode(), method="POST")
    request.add_header("Authorization", f"Bearer {stack.key}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        session = str(json.load(answer)["sessionId"])
    deadline = time.monotonic() + 30
    while (
        stack.services.client("dynamodb")
        .get_item(
            TableName=stack.services.settings.table("sessions"),
            Key={"namespace": {"S": "money"}, "sessionId": {"S": session}},
        )
        .get("Item")
    ):
        if time.monotonic() > deadline:
            raise RuntimeError("the session does not end")
        time.sleep(0.5)
    time.sleep(0.5)
    return session


@dataclass(frozen=True)
class Lambda:
    """A function's memory and architecture, and what one of its requests writes to its log."""

    memory_mb: int
    architecture: str
    log_bytes: int = LOG_BYTES

    def duration(self, seconds: float, price: dict[str, float]) -> float:
        """Return what so many seconds cost."""
        return seconds * self.memory_mb / 1024 * price[f"lambda_gb_s_{self.architecture}"]

    def request(self, counted: Counted, price: dict[str, float]) -> float:
        """Return what one request costs that makes these calls: its time, itself, its units and its log."""
        calls = len(counted.calls)
        cpu_ms = (CPU_MS_OF_REQUEST + CPU_MS_OF_CALL * calls) * max(1.0, MB_OF_ONE_VCPU / self.memory_mb)
        return (
            self.duration((cpu_ms + NETWORK_MS_OF_CALL * calls) / 1000, price)
            + price["lambda_request"]
            + units(counted, price)
            + self.log_bytes / 1e9 * price["log_gb"]
        )


def units(counted: Counted, price: dict[str, float]) -> float:
    """Return what DynamoDB charges."""
    return counted.read_units * price["dynamodb_read"] + counted.write_units * price["dynamodb_write"]


def of_wait(counted: Counted, function: Lambda, seconds: float, price: dict[str, float]) -> float:
    """Return what one wait costs that lasts so long: its function is there all the time."""
    return function.duration(seconds, price) + price["lambda_request"] + units(counted, price)


def deployed(function: str) -> Lambda:
    """Return a function as it is deployed."""
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    memory_mb = config["lambda_functions"][function].get("lambda_memory_size", config["lambda_memory_size"])
    # Where Lambda logs no success, nothing is written of one.
    quiet = description.LOGGING.get(function, {}).get("SystemLogLevel") == "WARN"
    return Lambda(memory_mb, "x86", log_bytes=0 if quiet else LOG_BYTES)


#: The REST API's function, and the MCP endpoint's.
REST, DOOR = deployed("api_handler"), deployed("mcp")

#: The function that pushes what is in logs to those who follow.
FEED = deployed("on_entry")


def of_session(counts: Counts, price: dict[str, float]) -> dict[str, float]:
    """Return what one session of the stated shape costs, by what it pays for; Fargate apart."""
    life = counts.life.counted
    waited_s = AGENTS * MINUTES * 60
    long_waits = waited_s / WAIT_S
    lambdas = sum(counts.life.invocations.values())
    calls_each = Counted(calls=["?"] * math.ceil(len(life.calls) / max(1, lambdas)))
    workers = sum(many * deployed(name).request(calls_each, price) for name, many in counts.life.invocations.items())
    requests = AGENTS * DOOR.request(counts.first_request, price) + DOOR.request(counts.thread, price)
    return {
        "API Gateway and its function": 2 * (price["api_gateway_request"] + REST.request(Counted(["?"] * 4), price)),
        "its life: functions and DynamoDB": workers + units(life, price),
        "its life: state transitions": counts.life.transitions * price["transition"],
        "its life: events": sum(call == "events:PutEvents" for call in life.calls) * price["event"],
        "its life: objects": sum(call == "s3:PutObject" for call in life.calls) * price["s3_put"],
        "messages": requests + MESSAGES * DOOR.request(counts.send, price),
        # Each of these is in the log at a moment of its own: the thread, a message, the two entries of a wait that it
        # ends, the start of a wait that nothing ends. Nobody follows.
        "the feed": (1 + 2 * MESSAGES + long_waits) * FEED.request(Counted(["Query"], read_units=0.5), price),
        "waits that a message ends": MESSAGES * DOOR.request(counts.short_wait, price),
        "waiting": long_waits * paused(counts, DOOR, price),
    }


def of_functions(counts: Counts, price: dict[str, float]) -> dict[str, float]:
    """Return what the session costs whose agents are functions of Atoll's own, by what it pays for.

    Its life is that of agents with tasks, whose calls of ECS cost nothing. What was counted has the requests of who
    asks and looks on too; they are not taken out.
    """
    parts = of_session(counts, price)
    told = counts.told
    each = Counted(calls=["?"] * math.ceil(len(told.counted.calls) / sum(told.invocations.values())))
    turns = told.invocations["run_turn"]
    return {
        **{
            name: cost
            for name, cost in parts.items()
            if not name.startswith(("messages", "waiting", "waits", "the feed"))
        },
        "turns: functions": sum(many * deployed(name).request(each, price) for name, many in told.invocations.items()),
        "turns: DynamoDB": units(told.counted, price),
        # A nudge is sent, received and deleted; what receives looks in vain besides, which is paid at rest.
        "turns: queues": 3 * turns * price["sqs_fifo_request"],
    }


def of_tasks(price: dict[str, float], architecture: str = "x86") -> float:
    """Return what the session's Fargate tasks cost, with the public address that each has by default."""
    return AGENTS * MINUTES / 60 * (task_hour(price, architecture) + price["public_ipv4_hour"])


def task_hour(price: dict[str, float], architecture: str) -> float:
    """Return an hour of the smallest Fargate task, without its address."""
    vcpu, memory = price[f"fargate_vcpu_hour_{architecture}"], price[f"fargate_gb_hour_{architecture}"]
    return TASK_VCPU * vcpu + TASK_GB * memory


#: As deployed, for clients that come back.
DEPLOYED = f"a function that holds it for {HOLD_MS / 1000:g} s, then the client comes back, 256 MB, x86"


@dataclass(frozen=True)
class Way:
    """One way to let an agent wait: cost of an hour, how late it gets a message, what it takes to build."""

    name: str
    hour: float
    latency: str
    complexity: str


def paused(counts: Counts, function: Lambda, price: dict[str, float]) -> float:
    """Return what one wait costs that is held at first and paused then."""
    requests = sum(function.request(each, price) for each in counts.paused_wait)
    return function.duration(HOLD_MS / 1000, price) + requests


def ways_to_wait(counts: Counts, price: dict[str, float]) -> list[Way]:
    """Return the ways to let an agent wait for an hour."""
    long = counts.long_wait
    rounds = 3600 / WAIT_S
    ways = [
        Way(
            f"a function that polls, {memory} MB, {name}",
            rounds * of_wait(long, Lambda(memory, architecture), WAIT_S, price),
            "0.2 s",
            "there, for clients that do not"
            if (memory, architecture) == (DOOR.memory_mb, DOOR.architecture)
            else "a setting",
        )
        for memory in (1024, 512, 256, 128)
        for architecture, name in (("x86", "x86"), ("arm", "Arm"))
    ]
    smallest = Lambda(128, "arm")
    for function, name in ((DOOR, DEPLOYED), (smallest, DEPLOYED.replace("256 MB, x86", "128 MB, Arm"))):
        cost = rounds * paused(counts, function, price)
        late = "0.2 s, after 2 s within a quarter of the time it has waited (5 s at most)"
        ways.append(Way(name, cost, late, "there, for clients that come back"))
    rare = Counted(read_units=2 + WAIT_S / 2, write_units=3)
    ways.append(
        Way(
            "a function that polls every 2 s, 128 MB, Arm",
            rounds * of_wait(rare, smallest, WAIT_S, price),
            "1 s",
            "a constant",
        )
    )
    ways += [
        Way(
            f"the agent's task asks every {pause_s} s, and no function waits",
            3600 / pause_s * smallest.request(counts.vain_wait, price),
            f"{pause_s / 2} s",
            "a loop around the call in the agent's library; clients of MCP that poll have it",
        )
        for pause_s in (1, 2, 5)
    ]
    lean = Counted(calls=["?"] * 2, read_units=3)
    ways += [
        Way(
            "the agent's task asks every 1 s, with a call that only says whether there is anything",
            3600 * smallest.request(lean, price),
            "0.5 s",
            "a route of its own, and a client that knows it",
        ),
        Way(
            "the agent's task holds a WebSocket, and each message is pushed",
            60 * price["websocket_minute"]
            + MESSAGES * 6 / AGENTS * (2 * price["websocket_message"] + smallest.request(lean, price)),
            "0.1 s",
            "a WebSocket API, a stream on the items, a table of connections, a client in every task",
        ),
        Way(
            "one Fargate task that waits for 100 agents (Arm)",
            task_hour(price, "arm") / 100 + rounds * units(long, price),
            "0.2 s",
            "a service to deploy, to scale and to pay for at rest",
        ),
    ]
    return ways


def at_rest(price: dict[str, float]) -> float:
    """Return what a month costs in which nothing runs."""
    templates = [load(ROOT / "infra/templates" / name)["Resources"].values() for name in ("stack.yaml", "events.yaml")]
    alarmed = secrets = 0
    for resource in itertools.chain(*templates):
        if resource["Type"] == "AWS::CloudWatch::Alarm":  # each metric of one that computes is charged
            alarmed += sum("MetricStat" in each for each in resource["Properties"].get("Metrics", [])) or 1
        secrets += resource["Type"] == "AWS::SecretsManager::Secret"
    return alarmed * price["alarm_month"] + secrets * price["secret_month"]


def server_month(price: dict[str, float]) -> float:
    """Return what a server costs that is always on: the smallest that runs a JVM and Docker, its disk, its address."""
    return HOURS_OF_MONTH * (price["server_hour"] + price["public_ipv4_hour"]) + 20 * price["disk_gb_month"]


@dataclass(frozen=True)
class Money:
    """All of it, in dollars."""

    by_part: dict[str, float]
    session: float
    session_with_tasks: float
    #: The session with clients whose waits are held.
    session_held: float
    #: The session whose agents are functions: nothing else is paid for them.
    session_functions: float
    at_rest_month: float
    server_month: float
    ways: list[Way]
    task_hours: dict[str, float]
    life: dict[str, Any]

    def break_even(self, session: float) -> float:
        """Return from how many such sessions a month on, their tasks apart, the server is cheaper."""
        return max(0.0, self.server_month - self.at_rest_month) / session

    def share(self, way: Way) -> float:
        """Return an hour of waiting as a share of an hour of the smallest task."""
        return way.hour / self.task_hours["x86"]


def measure() -> Money:
    """Count, and compute."""
    price, counts = prices(), count()
    parts = of_session(counts, price)
    session = sum(parts.values())
    waits = AGENTS * MINUTES * 60 / WAIT_S
    return Money(
        by_part=parts,
        session=session,
        session_with_tasks=session + of_tasks(price),
        session_held=session - parts["waiting"] + waits * of_wait(counts.long_wait, DOOR, WAIT_S, price),
        session_functions=sum(of_functions(counts, price).values()),
        at_rest_month=at_rest(price),
        server_month=server_month(price),
        ways=ways_to_wait(counts, price),
        task_hours={architecture: task_hour(price, architecture) for architecture in ("x86", "arm")},
        life={
            **counts.life.counted.row(),
            "invocations": counts.life.invocations,
            "transitions": counts.life.transitions,
            "long_wait": counts.long_wait.row(),
        },
    )
