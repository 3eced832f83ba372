"""Each function's policy allows exactly the calls that it makes on the local stack."""

import copy
import dataclasses
import http.server
import inspect
import json
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from chalicelib.api.credentials import COOKIE
from chalicelib.aws import bodies
from chalicelib.aws.agent_lines import CloudWatchLines
from chalicelib.aws.audit_log import AuditLog
from chalicelib.aws.task_overrides import overrides
from chalicelib.aws.tasks import log_stream
from chalicelib.domain import agent_secrets
from chalicelib.domain.api_keys import hash_of
from chalicelib.domain.api_keys import put as make_key
from chalicelib.domain.sign_ins import begin as begin_sign_in
from chalicelib.reactions import reconciler, task_definitions
from chalicelib.services import Services
from chalicelib.store import api_keys, sign_ins
from chalicelib.wire.turns import LaterNudge, Nudge
from chalicelib.workers import changes, entries, log_lines
from infra.deploy import description
from infra.local.environment import ACCOUNT, REGION, STAGE
from infra.local.stack import LocalStack
from tests import permissions
from tests.agents import CRASHER, MISSING, PRINTER, PROMPTED, SLEEPER, THINKER, TURNER
from tests.client import Client, agent, eventually, function, session, sleeper
from tests.faults import test_reconciler
from tests.faults.platform import Emulator, Functions, World
from tests.held import wait_until_held
from tests.infra.iam import documents, engine, on_behalf
from tests.infra.iam.engine import Engine, Question
from tests.integration.models.conftest import config_of, secret_of
from tests.integration.models.test_worker import call_of
from tests.log_batches import event_of
from tests.offline_models import OfflineModels

pytestmark = pytest.mark.xdist_group("least-privilege")

AGENTS = [SLEEPER, CRASHER, MISSING, PRINTER, PROMPTED, THINKER, TURNER]

HOLD = {"mode": "hold_after_exit", "duration": 60_000}

#: The overrides of a sleeper that lives for a while.
LIVES = overrides({"agent": {"SECONDS_TO_LIVE": "60"}}, {})


#: Paths of what was pushed to connections, as API Gateway's management of them has it.
PUSHED: list[str] = []


#: What an endpoint says before it takes a webhook.
REFUSALS = [410, 410]


@pytest.fixture(scope="module")
def receiver() -> Iterator[str]:
    """A place that takes webhooks and calls of tools."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            PUSHED.extend([self.path] if "/@connections/" in self.path else [])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(REFUSALS.pop() if REFUSALS and self.path == "/refusing" else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def uses(receiver: str) -> set[permissions.Use]:
    """The AWS actions that the functions used while a user did everything that the API offers."""
    with (
        OfflineModels() as provider,
        permissions.recorded() as found,
        LocalStack(agents=AGENTS, llm_proxy=config_of(provider)) as stack,
    ):
        everything(Somebody(stack, receiver))
    return found | repairs() | set(on_behalf.of_functions())


class Somebody:
    """A user of a local stack."""

    def __init__(self, stack: LocalStack, receiver: str) -> None:
        self.stack = stack
        self.client = Client(stack.url, stack.key)
        self.receiver = receiver

    def must(
        self, method: str, path: str, body: Any = None, status: int = 200, headers: dict[str, str] | None = None
    ) -> Any:
        """Make a request that must be answered so."""
        answer = self.client.call(method, path, body, headers)
        assert answer.status == status, (method, path, answer)
        return answer.body

    def tool(self, path: str, caller: str, name: str, **arguments: Any) -> Any:
        """Call a tool as an agent."""
        result = self.mcp(path, caller, "tools/call", name=name, arguments=arguments)
        assert not result.get("isError"), result
        return result.get("structuredContent")

    def mcp(self, path: str, caller: str, method: str, **params: Any) -> Any:
        """Send a message to the agents' endpoint as an agent."""
        *_, namespace, session_id = path.split("/")
        secret = agent_secrets.mint(self.stack.services.secrets.get("agent-key"), namespace, session_id, caller)
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self.must("POST", f"/mcp/v1/{secret}/mcp", message)["result"]

    def running(self, path: str) -> None:
        """Wait until a session's agents run."""

        def statuses() -> set[str]:
            return {each["status"]["type"] for each in self.must("GET", f"{path}/extended")["agents"]}

        eventually(lambda: statuses() == {"running"})

    def gone(self, path: str) -> None:
        """Wait until a session is not there any more."""
        self.client.wait_for_status(path, None)


def everything(somebody: Somebody) -> None:
    """Do everything that the API, the agents' endpoint and the state machines can do."""
    signing_in(somebody)
    namespaces(somebody)
    conversation(somebody)
    endings(somebody)
    registry(somebody)
    deliveries(somebody)
    budgets(somebody)
    logs(somebody)
    history(somebody)
    races(somebody)
    following(somebody)
    lines(somebody)
    audit(somebody)
    quotas_of_a_key(somebody)
    models(somebody)
    functions(somebody)


def signing_in(somebody: Somebody) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    token = f"token={somebody.stack.key}".encode()
    somebody.must("POST", "/api/v1/auth/token?to=/api_v1.json", token, headers=form)
    somebody.must("DELETE", "/api/v1/auth/token", headers={"Cookie": f"{COOKIE}=any", "Origin": somebody.stack.url})


def namespaces(somebody: Somebody) -> None:
    somebody.must("POST", "/api/v1/local/namespace", {"name": "made"})
    somebody.must("GET", "/api/v1/local/namespace")
    somebody.must("GET", "/api/v1/local/namespace/extended")
    somebody.must("GET", "/api/v1/local/namespace/made/extended")
    running = somebody.client.create(session(sleeper(), namespace="made", persistenceMode=HOLD))
    held = somebody.client.create(session(sleeper(seconds=0), namespace="made", persistenceMode=HOLD))
    somebody.client.create(session(sleeper(), namespace="made", defer=True))
    somebody.running(running)
    wait_until_held(somebody.stack, held)
    somebody.must("DELETE", "/api/v1/local/namespace/made")


def conversation(somebody: Somebody) -> None:
    tool = {"schema": {"properties": {}}, "transport": {"type": "http", "url": somebody.receiver}}
    agents = [{**sleeper(name), "customToolAccess": ["extra"], "plugins": [CLOSES]} for name in ("a", "b")]
    request = session(*agents, namespace="talk")
    request["agentGraphRequest"]["customTools"] = {"extra": tool}
    key = {"Idempotency-Key": "once"}
    created = somebody.must("POST", "/api/v1/local/session", request, headers=key)
    assert somebody.must("POST", "/api/v1/local/session", request, headers=key) == created
    path = f"/api/v1/local/session/talk/{created['sessionId']}"
    somebody.running(path)

    thread = somebody.tool(path, "a", "coral_create_thread", threadName="t", participantNames=["b"])["thread"]["id"]
    somebody.tool(path, "a", "coral_send_message", threadId=thread, content="hello", mentions=["b"])
    somebody.tool(path, "b", "coral_wait_for_mention", currentUnixTime=0, maxWaitMs=1000)
    somebody.tool(path, "b", "coral_remove_participant", threadId=thread, participantName="a")
    somebody.tool(path, "b", "coral_add_participant", threadId=thread, participantName="a")
    somebody.tool(path, "b", "coral_wait_for_message", currentUnixTime=0, maxWaitMs=1000)
    somebody.tool(path, "b", "coral_wait_for_agent", agentName="a", currentUnixTime=0, maxWaitMs=1000)
    for uri in ("coral://instruction", "coral://state"):
        somebody.mcp(path, "b", "resources/read", uri=uri)
    somebody.tool(path, "a", "extra")
    somebody.tool(path, "a", "coral_close_thread", threadId=thread, summary="done")

    puppet = path.replace("/local/session/", "/puppet/")
    asked = {"threadName": "p", "participantNames": ["b"]}
    opened = somebody.must("POST", f"{puppet}/a/thread", asked)["thread"]["id"]
    somebody.must("POST", f"{puppet}/a/thread/message", {"threadId": opened, "content": "hi", "mentions": []})
    somebody.must("DELETE", f"{puppet}/a/thread/participant", {"threadId": opened, "participantName": "b"})
    somebody.must("POST", f"{puppet}/a/thread/participant", {"threadId": opened, "participantName": "b"})
    somebody.must("DELETE", f"{puppet}/a/thread", {"threadId": opened, "summary": "over"})
    for what in ("agent", "thread", f"thread/{opened}", f"thread/{opened}/message"):
        somebody.client.call("GET", f"{path}/{what}")
    somebody.must("DELETE", f"{puppet}/b")
    somebody.tool(path, "a", "coral_close_session", reason="enough")
    somebody.gone(path)


CLOSES = {"type": "close_session_tool"}


def endings(somebody: Somebody) -> None:
    somebody.must("POST", "/api/v1/local/namespace", {"name": "ends"})
    existing = session(sleeper(), namespace="ends")
    existing["namespaceProvider"] = {"type": "use_existing", "name": "ends"}
    closed = somebody.client.create(existing)
    timed = somebody.client.create(session(sleeper(), namespace="ends", ttl=1000))
    deferred = somebody.client.create(session(sleeper(seconds=0), namespace="ends", defer=True))
    pending = somebody.client.create(session(sleeper(), namespace="ends", defer=True))
    broken = [somebody.client.create(session(agent(kind, kind), namespace="ends")) for kind in ("crasher", "missing")]
    somebody.must("POST", deferred, {})
    somebody.must("POST", deferred, {}, status=400)
    somebody.running(closed)
    somebody.must("DELETE", closed)
    somebody.must("DELETE", pending)
    for path in (closed, timed, deferred, pending, *broken):
        somebody.gone(path)


def registry(somebody: Somebody) -> None:
    text = (SLEEPER / "coral-agent.toml").read_text().replace('"sleeper"', '"other"')
    toml = {"Content-Type": "application/toml"}
    somebody.must("PUT", "/api/v1/registry/local/other/1.0.0", text.encode(), headers=toml)
    somebody.must("GET", "/api/v1/registry")
    somebody.must("GET", "/api/v1/registry/local/other/1.0.0")
    somebody.must("DELETE", "/api/v1/registry/local/other/1.0.0")
    used = somebody.client.create(session(sleeper(), namespace="uses"))
    somebody.must("DELETE", "/api/v1/registry/local/sleeper/1.0.0", status=409)
    somebody.must("DELETE", used)
    somebody.gone(used)


def deliveries(somebody: Somebody) -> None:
    hook = {"sessionEnd": {"url": f"{somebody.receiver}/end"}}
    somebody.client.create(session(sleeper(seconds=0), namespace="hooks", webhooks=hook, persistenceMode=HOLD))
    # A report that is too large for an item.
    long = session(sleeper(), namespace="hooks", webhooks=hook, extendedEndReport=True, persistenceMode=HOLD)
    path = somebody.client.create(long)
    somebody.running(path)
    puppet = path.replace("/local/session/", "/puppet/") + "/a/thread"
    opened = somebody.must("POST", puppet, {"threadName": "t", "participantNames": []})["thread"]["id"]
    for _ in range(2):
        somebody.must("POST", f"{puppet}/message", {"threadId": opened, "content": "x" * 200_000, "mentions": []})
    # Its upload is aborted at first.
    timeout = ReadTimeoutError(endpoint_url="https://s3")
    with (
        patch.object(bodies, "PART_BYTES", 100_000),
        patch.object(bodies.Bodies, "_upload", side_effect=timeout) as upload,
    ):
        somebody.must("DELETE", path)
        eventually(lambda: upload.called)
    listing = "/api/v1/local/namespace/hooks/deliveries"

    def delivered() -> list[str]:
        found = somebody.must("GET", listing)
        return [each["deliveryId"] for each in found if each["state"] == "delivered"]

    eventually(lambda: len(delivered()) == 2)
    somebody.must("GET", f"{listing}/{delivered()[0]}")
    somebody.stack.services.secrets._known.clear()  # each function reads its secrets by itself
    for delivery in delivered():
        somebody.must("POST", f"{listing}/{delivery}/sign")
    somebody.must("POST", f"{listing}/{delivered()[0]}/resend")
    eventually(lambda: len(delivered()) == 2)
    refused(somebody)


def refused(somebody: Somebody) -> None:
    """An endpoint refuses a webhook twice, and takes it then."""
    hook = {"sessionEnd": {"url": f"{somebody.receiver}/refusing"}}
    somebody.client.create(session(sleeper(seconds=0), namespace="refused", webhooks=hook, persistenceMode=HOLD))
    listing = "/api/v1/local/namespace/refused"

    def states() -> list[tuple[str, int]]:
        return [(each["state"], each["round"]) for each in somebody.must("GET", f"{listing}/deliveries")]

    for round_number, state in enumerate(("failed", "failed", "delivered"), 1):
        eventually(lambda wanted=[(state, round_number)]: states() == wanted)  # type: ignore[misc]
        [delivery] = somebody.must("GET", f"{listing}/deliveries")
        if state == "failed":
            eventually(lambda: len(somebody.must("GET", f"{listing}/webhook-endpoints")) == 1)
            somebody.must("POST", f"{listing}/deliveries/{delivery['deliveryId']}/resend")
    eventually(lambda: somebody.must("GET", f"{listing}/webhook-endpoints") == [])
    somebody.must("POST", f"{listing}/webhook-endpoints/unknown/enable", status=404)
    somebody.must("GET", "/api/v1/webhooks/keys")


def models(somebody: Somebody) -> None:
    """Agents call models, with and without a budget, by the function that does it on AWS."""
    stack = somebody.stack
    for namespace, budget in (("models", None), ("paid", {"usd": "0.01"})):
        request = session(agent("a", "thinker"), namespace=namespace)
        request["agentGraphRequest"] |= {"budget": budget} if budget else {}
        path = somebody.client.create(request)
        somebody.running(path)
        # A process has read neither the key of agents' secrets nor the providers before its first call.
        stack.services.agent_keys.known.clear()
        stack.services.llm_proxy._known = None
        statuses: set[int] = set()
        while not statuses or (budget is not None and 402 not in statuses):
            event = call_of(secret_of(stack, path, "a"), {"model": "claude", "max_tokens": 100, "messages": []})
            statuses.add(stack.functions.invoke("atoll-local-models", event)["statusCode"])
        assert statuses == ({200} if budget is None else {200, 402})
        somebody.must("GET", f"{path}/agent")
        somebody.must("DELETE", path)
        somebody.gone(path)


def logs(somebody: Somebody) -> None:
    """Read the log of a session from where it is on AWS, where one stream that is not there hides the others.

    When it ends, its last lines are archived, secrets hidden.
    """
    services = somebody.stack.services
    group = "/atoll/local/agents"
    services.client("logs").create_log_group(logGroupName=group)
    secret = agent("a", "printer", SCRIPT=("string", "sleep 60"), TOKEN=("string", "hunter22"))
    path = somebody.client.create(session(secret, namespace="logs", defer=True))
    services.option_keys.known = (0, [])  # each function reads the key that encrypts option values by itself
    somebody.must("POST", path, {})
    somebody.running(path)

    def missing(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "FilterLogEvents")

    logs = Services.session_logs.func(services)  # type: ignore[attr-defined]
    client = logs._client
    with patch.object(services, "session_logs", logs):
        somebody.must("GET", f"{path}/logs")
        event = "provide-client-params.cloudwatch-logs.FilterLogEvents"
        client.meta.events.register(event, missing)
        somebody.must("GET", f"{path}/logs?agent=a")
        client.meta.events.unregister(event, missing)
        printer = services.agents.find(path.rsplit("/", 1)[1], "a")
        assert printer is not None
        stream = log_stream("printer", "1.0.0", printer.task_arn or "")
        client.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [{"timestamp": int(time.time() * 1000), "message": "hunter22"}]
        client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
        services.option_keys.known = (0, [])
        somebody.must("DELETE", path)
        somebody.gone(path)
    past = f"/api/v1/local/namespace/logs/history/{path.rsplit('/', 1)[1]}/logs"
    assert [line["text"] for line in somebody.must("GET", past)] == ["***"]


def budgets(somebody: Somebody) -> None:
    """Budgets are reached: an agent is stopped, a session is closed, and a receiver is told."""
    ways = {"a": "stop_agent", "b": "close_session"}
    agents = [{**sleeper(name), "budget": {"usd": "0.5", "onReached": way}} for name, way in ways.items()]
    hook = {"budgetReached": {"url": f"{somebody.receiver}/budget"}}
    path = somebody.client.create(session(*agents, namespace="money", webhooks=hook))
    somebody.running(path)
    somebody.must("POST", f"{path}/budget", {"session": {"usd": "2"}})
    *_, namespace, session_id = path.split("/")
    for name in ways:
        secret = agent_secrets.mint(somebody.stack.services.secrets.get("agent-key"), namespace, session_id, name)
        headers = {"Authorization": f"Bearer {secret}"}
        for usd, status in ((0.1, 200), (0.6, 400)):
            claim = {"amount": {"type": "usd", "amount": usd}}
            somebody.must("POST", "/api/v1/agent-rpc/rental-claim", claim, status, headers)
        if name == "a":
            eventually(lambda: somebody.must("GET", f"{path}/agent")[0]["status"]["type"] == "stopped")
    somebody.gone(path)


def history(somebody: Somebody) -> None:
    somebody.must("POST", "/api/v1/local/namespace", {"name": "past", "deleteOnLastSessionExit": False})
    paths = [somebody.client.create(session(sleeper(seconds=0), namespace="past")) for _ in range(2)]
    somebody.client.call("GET", f"{paths[0]}/summary")
    for path in paths:
        somebody.gone(path)
    listing = "/api/v1/local/namespace/past/history"
    one, _ = [entry["sessionId"] for entry in somebody.must("GET", listing)]
    somebody.must("GET", f"{listing}/{one}")
    somebody.must("GET", f"{listing}/{one}/events")
    somebody.must("DELETE", f"{listing}/{one}")
    somebody.must("DELETE", "/api/v1/local/namespace/past")


def races(somebody: Somebody) -> None:
    """What happens only when two things meet: brought about here, one after the other."""
    stack = somebody.stack
    tasks = stack.services.tasks
    # A lifecycle starts when its session is gone already.
    gone = {"namespace": "nowhere", "sessionId": "no-such-session", "taskToken": "of-nobody"}
    stack.functions.invoke("atoll-local-run_agents", gone)

    # A session is closed while ECS is asked to run its agent.
    run_task = tasks.run

    def closing(definition: str, overrides: Any, *, started_by: str, **how: Any) -> str:
        arn = run_task(definition, overrides, started_by=started_by, **how)
        stack.services.agents.stop(started_by.split("/", maxsplit=1)[0], "a", now_ms=0, reason="closed")
        return arn

    with patch.object(tasks, "run", closing):
        somebody.gone(somebody.client.create(session(sleeper(), namespace="met")))

    # The last session of a namespace ends before its creation has seen that the namespace was gone meanwhile.
    made = stack.services.sessions.create

    def alone(record: Any) -> bool:
        done = made(record)
        deletion = threading.Thread(target=stack.services.namespaces._table.delete, args=[{"name": record.namespace}])
        deletion.start()
        deletion.join()
        return done

    with (
        patch.object(stack.services.sessions, "create", alone),
        patch.object(stack.services.sessions, "any_in", lambda _: False),
    ):
        somebody.client.create(session(sleeper(), namespace="ended", defer=True))

    # An agent was registered while its tasks were made of other settings.
    larger = stack.services.settings.model_copy(update={"agent_cpu": 512, "agent_memory_mib": 1_024})
    with patch.object(stack.services.task_definitions, "_settings", larger):
        path = somebody.client.create(session(sleeper(), namespace="anew"))
        somebody.running(path)
    somebody.must("DELETE", path)

    # An agent runs in a container, of which ECS tells.
    path = somebody.client.create(session(sleeper(), namespace="boxed"))
    somebody.running(path)
    told = {"startedBy": f"{path.rpartition('/')[2]}/0", "taskArn": "task/a", "lastStatus": "RUNNING"}
    stack.functions.invoke("atoll-local-on_task_change", {"detail": {**told, "startedAt": "2027-01-15T08:00:00Z"}})
    somebody.must("DELETE", path)
    somebody.gone(path)

    # Only ECS itself says why a task has stopped.
    path = somebody.client.create(session(sleeper(), namespace="ended-so"))
    somebody.running(path)
    ended = {"startedBy": f"{path.rpartition('/')[2]}/0", "taskArn": "task/a", "lastStatus": "STOPPED"}
    stack.functions.invoke("atoll-local-on_task_change", {"detail": ended})
    somebody.must("DELETE", path)
    somebody.gone(path)

    # The task of an agent never starts.
    somebody.gone(somebody.client.create(session(agent("a", "missing"), namespace="starts")))

    # A stage on AWS learns its URLs at run time.
    urls = json.dumps({"api": stack.url, "mcp": stack.url})
    stack.services.client("ssm").put_parameter(Name="/atoll/local/urls", Value=urls, Type="String")
    unset = stack.services.settings.model_copy(update={"api_url": "", "mcp_url": ""})
    with patch.object(stack.services.stage_urls, "_settings", unset):
        path = somebody.client.create(session(sleeper(), namespace="learns"))
        somebody.running(path)
    somebody.must("DELETE", path)

    # A launch was cut off after ECS had its task: only ECS knows of it.
    path = somebody.client.create(session(sleeper(), namespace="cut", defer=True))
    session_id = path.rsplit("/", 1)[1]
    asked = {"name": "sleeper", "version": "1.0.0"}
    run_task(task_definitions.arn_of(stack.services, asked, "executable"), LIVES, started_by=f"{session_id}/0")
    cut = {"namespace": "cut", "sessionId": session_id, "error": ""}
    stack.functions.invoke("atoll-local-close_session", cut)
    somebody.must("DELETE", path)


def _more(than: int) -> bool:
    return len(PUSHED) > than


def following(somebody: Somebody) -> None:
    """Sockets are connected, pushed to as on AWS, and go."""
    stack = somebody.stack
    urls = json.dumps({"api": stack.url, "mcp": stack.url, "sockets": somebody.receiver})
    stack.services.client("ssm").put_parameter(Name="/atoll/local/urls", Value=urls, Type="String", Overwrite=True)
    path = somebody.client.create(session(sleeper(), namespace="followed", defer=True))
    thread, session_id = path.replace("/local/session/", "/puppet/") + "/a/thread", path.rsplit("/", 1)[1]

    def session_event() -> None:
        somebody.must("POST", thread, {"threadName": "t", "participantNames": []})

    def manager_event() -> None:
        somebody.must("POST", "/api/v1/local/namespace", {"name": "followed too", "deleteOnLastSessionExit": False})
        somebody.must("DELETE", "/api/v1/local/namespace/followed%20too")

    sockets = f"{stack.url.replace('http', 'ws', 1)}/ws/v1/events/{stack.key}"
    session_event()
    stack.services.known_keys.clear()
    with (
        connect(f"{sockets}/{path.removeprefix('/api/v1/local/')}?after=0") as of_session,
        connect(f"{sockets}/lsm") as of_manager,
    ):
        of_session.recv(10)
        manager_event()
        of_manager.recv(10)
        stack.services.log.draw(session_id, expires_at=1 << 40)  # its writer never comes
        for happens, reacts in ((session_event, entries), (manager_event, changes)):
            pushed = len(PUSHED)
            with patch.object(reacts, "current", partial(process_of_its_own, stack.services)):
                happens()
                eventually(partial(_more, pushed))
    with patch.object(stack.services, "settings", stack.services.settings.model_copy(update={"session_events": True})):
        session_event()  # both are gone
        eventually(lambda: not stack.services.session_followers.of_session(session_id).followers)
    manager_event()
    eventually(lambda: not stack.services.followers.of_topic("manager"))
    with connect(f"{sockets}/{path.removeprefix('/api/v1/local/')}"):
        somebody.must("DELETE", path)
        eventually(lambda: not stack.services.session_followers.of_session(session_id).followers)
    # One comes while its session is being removed.
    path = somebody.client.create(session(sleeper(), namespace="followed", defer=True))
    stack.services.session_items.close_log(path.rsplit("/", 1)[1], "tests")
    assert not _connects(f"{sockets}/{path.removeprefix('/api/v1/local/')}")
    somebody.must("DELETE", path)


def process_of_its_own(services: Services) -> Services:
    """Return services that push as on AWS, and know nothing that another function has read meanwhile.

    Here all functions are one process: what one of them keeps (URLs, keys), another one would not ask for.
    """

    class OnAws(type(services)):  # type: ignore[misc]
        connections = vars(Services)["connections"]

    found = copy.copy(services)
    found.__class__ = OnAws
    for name in ("option_keys", "printing", "stage_urls"):
        found.__dict__.pop(name, None)
    found.settings = services.settings.model_copy(update={"api_url": "", "mcp_url": ""})
    return found


def lines(somebody: Somebody) -> None:
    """What an agent prints is pushed as on AWS, and to one who is gone."""
    stack = somebody.stack
    secret = agent("a", "printer", SCRIPT=("string", "sleep 60"), TOKEN=("string", "hunter22"))
    path = somebody.client.create(session(secret, namespace="printed"))
    somebody.running(path)
    [record] = stack.services.agents.of_session(path.rsplit("/", 1)[1])
    event = event_of((1_700_000_000_000, "x"), stream=log_stream("printer", "1.0.0", record.task_arn or ""))
    wanted = {"reach": ["*"], "limit": 0, "allowSensitive": False}
    stack.services.followers.add("logs", "of-lines", wanted, expires_at=1 << 40)
    with patch.object(log_lines, "current", partial(process_of_its_own, stack.services)):
        stack.functions.invoke("atoll-local-on_log_lines", event)
    assert any(path.endswith("/of-lines") for path in PUSHED)
    stack.functions.invoke("atoll-local-on_log_lines", event)  # no connection of this stack's
    assert stack.services.followers.of_topic("logs") == []
    somebody.must("DELETE", path)


def audit(somebody: Somebody) -> None:
    """Lines of the audit log come by a subscription."""
    services = somebody.stack.services
    client = services.client("logs")
    client.create_log_group(logGroupName="/atoll/local/audit")
    with patch.object(services, "audit_log", AuditLog(client, services.settings)):
        somebody.stack.functions.invoke("atoll-local-on_audit", event_of((int(time.time() * 1000), "{}")))


def quotas_of_a_key(somebody: Somebody) -> None:
    """A key with quotas creates a session that ends, and looks at what there is."""
    stack = somebody.stack
    limits = {"sessions": 5, "requests_per_second": 1}
    make_key(stack.services, "limited", "limited", ["metered"], limits=limits)
    limited = Somebody(stack, somebody.receiver)
    limited.client = Client(stack.url, "limited")
    path = limited.client.create(session(sleeper(), namespace="metered"))
    eventually(lambda: limited.client.call("GET", path).status == 200)
    for _ in range(2):  # the second in the same second: the bucket takes its other form
        limited.client.call("GET", path)
    sockets = f"{stack.url.replace('http', 'ws', 1)}/ws/v1/events"
    cookie = {"Cookie": f"{COOKIE}={begin_sign_in(stack.services, stack.key)}"}
    eventually(lambda: _connects(f"{sockets}/lsm", cookie))
    stack.services.known_keys.clear()
    stack.services.api_keys._table.delete({"keyHash": f"{api_keys.USE}last#{hash_of('limited')}"})
    eventually(lambda: _connects(f"{sockets}/limited/lsm"))
    somebody.must("DELETE", path)
    eventually(lambda: somebody.client.status(path) is None)


def functions(somebody: Somebody) -> None:
    """Agents run as functions: Atoll's own, and one that this account does not have; they are ended, and time out."""
    services = somebody.stack.services
    lines = CloudWatchLines(services.client("logs"), services.settings, services.clock)
    functions = Functions(services.client("lambda"), 1_000)
    unset = services.settings.model_copy(update={"api_url": ""})
    with (
        patch.object(services, "agent_lines", lines),
        patch.object(services, "agent_functions", functions),
        patch.object(services.stage_urls, "_settings", unset),
        patch.object(services.stage_urls, "_read", None),
    ):
        _functions(somebody)


def _functions(somebody: Somebody) -> None:
    services = somebody.stack.services
    tool = {"schema": {"properties": {}}, "transport": {"type": "http", "url": somebody.receiver}}
    calls = function("caller", "tool", TOOL_NAME=("string", "extra"), START_DELAY=("u32", 2_001))
    thinks = function("thinks", "turner", TOKEN=("string", "hunter22"))
    agents = [calls | {"customToolAccess": ["extra"]}, thinks, function("echo", "echo"), function("puppet", "puppet")]
    agents.append(
        function(
            "closes", "tool", TOOL_NAME=("string", "coral_close_session"), TOOL_INPUT=("string", '{"reason": "x"}')
        )
        | {"plugins": [CLOSES]}
    )
    agents[-1]["options"]["START_DELAY"] = {"type": "u32", "value": 3_000}
    prompted = agent("prompted", "prompted", ITERATIONS=("u32", 1))
    agents.append(prompted | {"provider": {"type": "local", "runtime": "prototype"}})
    request = session(*agents, namespace="functions", defer=True)
    request["agentGraphRequest"]["customTools"] = {"extra": tool}
    path = somebody.client.create(request)
    services.option_keys.known = (0, [])  # each function reads its keys by itself
    services.agent_keys.known.clear()
    services.secrets._known.clear()
    services.llm_proxy._known = None
    somebody.must("POST", path, {})
    puppet = path.replace("/local/session/", "/puppet/") + "/puppet"
    # Between its turns: one that is in a turn looks at the log itself.
    session_id = path.rpartition("/")[2]
    eventually(lambda: (echo := services.turns.find(session_id, "echo")) and echo.turn and not echo.in_turn)
    thread = somebody.must("POST", f"{puppet}/thread", {"threadName": "t", "participantNames": ["echo"]})["thread"]
    about = {"threadId": thread["id"], "content": "x", "mentions": ["echo"]}
    somebody.must("POST", f"{puppet}/thread/message", about)
    somebody.must("DELETE", puppet)
    somebody.gone(path)
    _functions_that_end(somebody)


def _functions_that_end(somebody: Somebody) -> None:
    services = somebody.stack.services
    ended = somebody.client.create(session(function("p", "puppet"), namespace="functions"))
    somebody.running(ended)
    somebody.must("DELETE", ended.replace("/local/session/", "/puppet/") + "/p")
    somebody.gone(ended)
    # One whose definition is gone by the time of its launch.
    refused = somebody.client.create(session(function("f"), namespace="functions", defer=True))
    services.dynamodb.delete_item(
        TableName="atoll-local-registry", Key={"name": {"S": "turner"}, "version": {"S": "1.0.0"}}
    )
    somebody.must("POST", refused, {})
    somebody.gone(refused)
    # AWS refuses a read for a moment.
    error = ClientError({"Error": {"Code": "ThrottlingException"}}, "BatchGetItem")
    with (
        patch.object(services.reads, "turn", side_effect=[error]) as throttled,
        patch.object(services.turns, "find", side_effect=[error]) as also_throttled,
    ):
        path = somebody.client.create(session(function("p", "puppet"), namespace="functions"))
        nudge = Nudge(namespace="functions", session_id=path.rpartition("/")[2], agent="p")
        services.turn_queue.later(LaterNudge(nudge=nudge, due_ms=0, turn=0))
        eventually(lambda: throttled.called and also_throttled.called)
    somebody.must("DELETE", path)
    somebody.gone(path)


def _connects(url: str, headers: dict[str, str] | None = None) -> bool:
    try:
        with connect(url, additional_headers=headers):
            return True
    except InvalidStatus:
        return False


def repairs() -> set[permissions.Use]:
    """Let the reconciler repair everything that its own tests break."""
    tests = [
        test
        for name, test in inspect.getmembers(test_reconciler, inspect.isfunction)
        if name.startswith("test_") and list(inspect.signature(test).parameters) == ["made"]
    ]
    assert len(tests) > 10
    with Emulator() as emulator, patch.object(reconciler, "ITEM_PARTS", 1), permissions.recorded(World) as found:
        for test in tests:
            test(test_reconciler.world_to_repair(emulator))
    return {use for use in found if use.function == "reconcile"}


def test_no_policy_lacks_what_its_function_does(uses: set[permissions.Use]) -> None:
    grants = permissions.granted()
    assert sorted(use for use in uses if not any(permissions.covers(grant, use) for grant in grants)) == []


def test_no_policy_grants_what_its_function_does_not_do(uses: set[permissions.Use]) -> None:
    unused = {grant for grant in permissions.granted() if not any(permissions.covers(grant, use) for use in uses)}
    assert not [f"{grant.function} {grant.action} {grant.resource}" for grant in sorted(unused)]


@pytest.fixture(scope="module")
def questions(uses: set[permissions.Use]) -> list[Question]:
    """What IAM is asked for all of that, as it is asked."""
    return [_question(use) for use in sorted(uses)]


def _question(use: permissions.Use) -> Question:
    role = documents.roles()[use.function]
    everywhere = {"aws:SecureTransport": ("true",), "aws:PrincipalAccount": (ACCOUNT,)}
    return Question(
        who=role.arn,
        action=use.action,
        resource=use.resource,
        context=(*use.context, *everywhere.items()),
        policies=role.policies,
        of_resource=documents.of_resources().get(use.resource.partition("/")[0]) if ":s3:" in use.resource else None,
    )


@pytest.fixture(scope="module")
def iam() -> Engine:
    return engine.installed()


def test_iam_allows_each_call_under_its_conditions(iam: Engine, questions: list[Question]) -> None:
    answers = zip(questions, iam.allowed(questions), strict=True)
    assert [str(question) for question, allowed in answers if not allowed] == []


def test_iam_allows_no_such_call_of_another_stage_or_account(iam: Engine, questions: list[Question]) -> None:
    # One of each kind is enough: which item of a table it was makes no difference there.
    kinds = {(question.who, question.action, question.resource): question for question in questions}
    asked = [elsewhere for question in kinds.values() for elsewhere in _elsewhere(question)]
    assert len(asked) > 1_000
    assert [str(each) for each, allowed in zip(asked, iam.allowed(asked), strict=True) if allowed] == []


def _elsewhere(question: Question) -> Iterator[Question]:
    """Yield the same call of another stage, account and region."""
    changes = [
        {f"atoll-{STAGE}": "atoll-other", f"/{STAGE}/": "/other/"},
        {ACCOUNT: "999999999999"},
        {REGION: "eu-west-1"},
    ]
    for change in changes:
        context = tuple((key, tuple(_changed(value, change) for value in values)) for key, values in question.context)
        resource = _changed(question.resource, change)
        if resource != question.resource:
            yield dataclasses.replace(question, resource=resource, context=context)


def _changed(text: str, change: dict[str, str]) -> str:
    for old, new in change.items():
        text = text.replace(old, new)
    return text


#: What a condition holds calls to, and what else it might be. Actions and keys are of the policies' statements.
HELD_TO = {
    "ecs:RunTask": ("ecs:cluster", f"arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/atoll-other"),
    "ecs:ListTasks": ("ecs:cluster", f"arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/atoll-other"),
    "ecs:TagResource": ("ecs:CreateAction", "StartTask"),
    "iam:PassRole": ("iam:PassedToService", "ec2.amazonaws.com"),
}


@pytest.mark.parametrize("action", HELD_TO)
def test_iam_allows_no_call_whose_condition_does_not_hold(iam: Engine, questions: list[Question], action: str) -> None:
    key, other = HELD_TO[action]
    of_action = [each for each in questions if each.action == action]
    assert of_action
    without = [_with(question, key) for question in of_action]
    wrong = [_with(question, key, other) for question in of_action]
    assert not any(iam.allowed([*without, *wrong]))


def _with(question: Question, key: str, *values: str) -> Question:
    """Return a question with other values of a condition key, or without it."""
    context = [(name, value) for name, value in question.context if name != key]
    assert len(context) < len(question.context), question
    return dataclasses.replace(question, context=(*context, *([(key, values)] if values else [])))


def test_iam_lets_functions_write_sign_ins_and_usage_alone(iam: Engine, questions: list[Question]) -> None:
    key = "dynamodb:LeadingKeys"
    reads = {"dynamodb:BatchGetItem"}
    of_keys = [each for each in questions if each.resource.endswith("table/atoll-local-api-keys")]
    writes = [each for each in of_keys if re.search("Put|Update|Delete", each.action)]
    assert {each.action for each in of_keys if each not in writes} <= {*reads, "dynamodb:GetItem"}
    assert len(writes) > 3
    secret = hash_of("a-key-of-somebody")
    wrong = [_with(question, key, secret) for question in writes]
    # One of two is not enough.
    wrong += [_with(question, key, secret, f"{api_keys.USE}last#{secret}") for question in writes]
    assert not any(iam.allowed(wrong))


def test_the_bucket_is_reached_over_tls_alone(iam: Engine, questions: list[Question]) -> None:
    plain = [_with(each, "aws:SecureTransport", "false") for each in questions if each.action.startswith("s3:")]
    assert len(plain) > 3
    assert not any(iam.allowed(plain))


def test_policies_name_resources_wherever_an_action_knows_any() -> None:
    everywhere = {grant.action for grant in permissions.granted() if grant.resource == "*"}
    # None of these knows a resource; ListTasks is held to the cluster by a condition.
    assert everywhere <= {"dynamodb:ListStreams", "ecs:ListTasks", "ecs:RegisterTaskDefinition"}


def test_functions_write_sign_ins_and_usage_and_no_keys() -> None:
    writes = [
        statement
        for name in description.functions()
        for statement in description.policy(name, permissions.NAMES)["Statement"]
        if any(resource.endswith("-api-keys") for resource in statement["Resource"])
        and not set(statement["Action"]) <= {"dynamodb:BatchGetItem", "dynamodb:GetItem"}
    ]
    keys = [each["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"] for each in writes]
    assert sorted(keys) == [[f"{sign_ins.PREFIX}*"], *[[f"{api_keys.USE}*"]] * 3]


def test_a_policy_of_one_stage_reaches_no_other() -> None:
    text = json.dumps([description.policy(name, permissions.NAMES) for name in description.functions()])
    assert "${" not in text
    assert "atoll-*" not in text
