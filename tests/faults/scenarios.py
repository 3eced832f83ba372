"""The lives of sessions in which every call is made to fail, each from its first request to its last item."""

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from unittest.mock import patch

from chalicelib.aws import bodies
from chalicelib.domain import api_keys
from chalicelib.domain.registry import register_local
from chalicelib.reactions import archive, deliveries, lifecycle
from chalicelib.store.history import HistoryRecord
from chalicelib.store.log import INTERNAL
from chalicelib.wire.llm_proxy import LlmProvider, LlmProxyConfig
from tests.agents import BOXED, CRASHER, PROMPTED, REPORTER, SLEEPER, TURNER
from tests.client import agent, boxed, function, session, sleeper
from tests.faults.invariants import Witness
from tests.faults.platform import KEY, Call, Emulator, Fault, World
from tests.faults.services import variables
from tests.integration.agents.prototypes import Question, thinks

Scenario = Callable[[World, Witness], None]

SESSIONS = "/api/v1/local/session"
NAMESPACES = "/api/v1/local/namespace"
WEBHOOKS = {"sessionEnd": {"url": "http://receiver/end"}}
HOLD = {"mode": "hold_after_exit", "duration": 60_000}
DAY_MS = 24 * 3_600_000


class ConfiguredModels:
    """The configuration of the LLM proxy, known to the process: reading it is not what a scenario is about."""

    def __init__(self, config: LlmProxyConfig) -> None:
        self._config = config

    def config(self) -> LlmProxyConfig:
        return self._config

    def provider(self, name: str) -> LlmProvider | None:
        return self._config.provider(name)


def begin(emulator: Emulator, fault: Fault | None = None) -> tuple[World, Witness]:
    """Make a world with a key and an agent in the registry."""
    world = emulator.new_world()
    # Its use is noted, as it is in all requests but one an hour.
    world.services.api_keys.note_use(api_keys.put(world.services, KEY, "tests").key_hash)
    register_local(world.services, SLEEPER)
    world.run()
    world.fault = fault
    return world, Witness(world)


def create(world: World, witness: Witness, request: dict[str, Any], headers: dict[str, str] | None = None) -> str:
    """Create a session and return its path."""
    status, body = world.ask("POST", SESSIONS, request, headers)
    assert status == 200, (status, body)
    path = f"{SESSIONS}/{body['namespace']}/{body['sessionId']}"
    witness.created.append(path)
    return path


def two_agents(world: World, *, lives_ms: tuple[int, int] | None = None, **settings: Any) -> dict[str, Any]:
    """Ask for a session of two agents, which live as long as said or until they are stopped."""
    world.ecs.lives_ms = dict(zip(("a", "b"), lives_ms or (), strict=False))
    return session(sleeper("a"), sleeper("b"), webhooks=WEBHOOKS, **settings)


def agents_exit(world: World, witness: Witness) -> None:
    """A session is created at once, and its agents come to their ends."""
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    create(world, witness, two_agents(world, lives_ms=(300, 500)))


def created_with_key(world: World, witness: Witness) -> None:
    """A session is created with an ``Idempotency-Key``: however often that is tried, it is one session."""
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    create(world, witness, two_agents(world, lives_ms=(300, 500)), {"Idempotency-Key": "the key"})
    world.in_window = False
    world.run()
    ids = {detail["sessionState"]["id"] for kind, detail in world.published if kind == "session_running"}
    assert len(ids) == 1, f"{len(ids)} sessions for one key"


def executed_later(world: World, witness: Witness) -> None:
    """A deferred session is executed."""
    world.in_window = False
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    settings = {"webhooks": WEBHOOKS}
    request = two_agents(world, lives_ms=(5_000, 5_000), defer=True)
    path = create(world, witness, request)
    world.run_for(1_000)
    world.in_window = True
    status, _ = world.ask("POST", path, settings)
    assert status in (200, 400)
    world.run_for(2_000)
    world.in_window = False


def closed_by_user(world: World, witness: Witness) -> None:
    """A session is closed while its agents run, and is held."""
    world.in_window = False
    witness.reasons = {"closed_by_user"}
    path = create(world, witness, two_agents(world, persistenceMode=HOLD))
    world.run_for(5_000)
    world.in_window = True
    assert world.ask("DELETE", path)[0] == 200
    world.run_for(30_000)
    assert world.ask("GET", path)[1]["status"]["type"] == "closing"


def closed_at_launch(world: World, witness: Witness) -> None:
    """A session is closed while its agents are being started."""
    world.in_window = False
    witness.reasons = {"closed_by_user"}
    path = create(world, witness, two_agents(world))
    world.in_window = True
    world.run_for(50)
    world.ask("DELETE", path)


def time_to_live(world: World, witness: Witness) -> None:
    """A session outlives its time."""
    world.in_window = False
    witness.reasons = {"ttl"}
    create(world, witness, two_agents(world, ttl=60_000))
    world.run_for(50_000)
    world.in_window = True


def never_executed(world: World, witness: Witness) -> None:
    """A deferred session is left alone for a day."""
    world.in_window = False
    path = create(world, witness, two_agents(world, defer=True))
    world.run()
    world.now_ms += DAY_MS + 1_000
    witness.right_refusals = {("GET", 404)}
    assert world.ask("GET", path)[0] == 404
    world.in_window = True
    world.expire()


def deleted_while_pending(world: World, witness: Witness) -> None:
    """A deferred session is deleted."""
    world.in_window = False
    path = create(world, witness, two_agents(world, defer=True))
    world.run_for(1_000)
    world.in_window = True
    assert world.ask("DELETE", path)[0] in (200, 404)


def namespace_deleted(world: World, witness: Witness) -> None:
    """A namespace is deleted with a session that runs, one that is held and one that is pending."""
    world.in_window = False
    witness.reasons = {"namespace_deleted", "agents_exited"}
    witness.longest_ms = 25 * 3_600_000  # the lifecycle of what was held wakes when the hold would have ended
    world.ecs.lives_ms = {"c": 100}
    create(world, witness, session(sleeper("c"), webhooks=WEBHOOKS, persistenceMode={**HOLD, "duration": DAY_MS}))
    world.run_for(5_000)
    create(world, witness, session(sleeper("a"), webhooks=WEBHOOKS, persistenceMode=HOLD))
    create(world, witness, session(sleeper("b"), defer=True))
    world.run_for(5_000)
    world.in_window = True
    assert world.ask("DELETE", f"{NAMESPACES}/tests")[0] in (200, 404)
    witness.right_refusals = {("GET", 404)}
    assert world.ask("GET", f"{NAMESPACES}/tests")[0] == 404


def namespace_that_stays(world: World, witness: Witness) -> None:
    """A namespace is created by itself, has a session, stays, and is deleted empty."""
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    status, _ = world.ask("POST", NAMESPACES, {"name": "tests", "deleteOnLastSessionExit": False})
    assert status in (200, 400)
    request = session(sleeper("a"), webhooks=WEBHOOKS)
    request["namespaceProvider"] = {"type": "use_existing", "name": "tests"}
    world.ecs.lives_ms = {"a": 100}
    create(world, witness, request)
    world.run()
    assert [record["state"] for record in world.items("namespaces")] == ["active"]
    assert world.ask("DELETE", f"{NAMESPACES}/tests")[0] in (200, 404)


def report_refused_at_first(world: World, witness: Witness) -> None:
    """The receiver of an end report answers with an error twice."""
    world.in_window = False
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    world.receiver.statuses.extend([500, 503])
    create(world, witness, two_agents(world, lives_ms=(300, 500)))
    while not any(call.operation == "PostWebhook" for call in world.calls):
        world.run_for(10)
    world.in_window = True


def _talking(world: World, witness: Witness, *names: str, **settings: Any) -> None:
    """Make a session of these agents, which run, and are all linked."""
    witness.reasons = {"closed_by_agent"}
    agents = [sleeper(name) for name in names]
    agents[0]["plugins"] = [{"type": "close_session_tool"}]
    create(world, witness, session(*agents, webhooks=WEBHOOKS, **settings))
    world.run_for(5_000)


def message_sent(world: World, witness: Witness) -> None:
    """An agent opens a thread, sends a message, and another one that waits for it gets it, once."""
    world.in_window = False
    _talking(world, witness, "a", "b")
    world.in_window = True
    asked_ms = world.now_ms
    thread = world.tool("a", "coral_create_thread", threadName="t", participantNames=["b"])["thread"]
    # The sender comes while the other one waits.
    sent: list[dict[str, Any]] = []
    world.after(
        700,
        lambda: sent.append(
            world.tool("a", "coral_send_message", threadId=thread["id"], content="Hello", mentions=["b"])["message"]
        ),
    )
    got = world.tool("b", "coral_wait_for_mention", currentUnixTime=asked_ms, maxWaitMs=20_000)
    world.in_window = False
    world.run_for(10_000)
    assert got["status"] == "Message received", got
    if world.fault is None or world.fault.kind == "asked twice":
        assert got["message"] == sent[0]
    # A message that was answered may be the second try of one that was not: both are there, and each once.
    following = got["message"]
    seen = [following["id"]]
    while following:
        since_ms = int(datetime.fromisoformat(following["timestamp"]).timestamp() * 1000) + 1
        more = world.tool("b", "coral_wait_for_message", currentUnixTime=since_ms, maxWaitMs=0)
        following = more.get("message")
        seen += [following["id"]] if following else []
    assert sent[0]["id"] in seen, f"the message {sent[0]['id']} was acknowledged and not received: {seen}"
    assert len(set(seen)) == len(seen), f"received twice: {seen}"
    world.tool("a", "coral_close_session", reason="done")


def message_sent_while_a_wait_is_paused(world: World, witness: Witness) -> None:
    """An agent's wait is paused, a message comes, and its client comes back for it, once."""
    world.in_window = False
    world.services.settings = world.services.settings.model_copy(update={"mcp_wait_hold_ms": 0})
    _talking(world, witness, "a", "b")
    asked_ms = world.now_ms
    thread = world.tool("a", "coral_create_thread", threadName="t", participantNames=["b"])["thread"]
    sent = {"threadId": thread["id"], "content": "Hello", "mentions": ["b"]}

    def send() -> None:
        world.in_window = False
        answer = world.tool("a", "coral_send_message", **sent)
        assert "message" in answer, answer
        world.in_window = True

    world.after(300, send)
    world.in_window = True
    got = world.wait("b", "coral_wait_for_mention", currentUnixTime=asked_ms, maxWaitMs=20_000)
    world.in_window = False
    assert got["status"] == "Message received", got
    since_ms = int(datetime.fromisoformat(got["message"]["timestamp"]).timestamp() * 1000) + 1
    # A send that was asked for twice is two messages.
    more = world.wait("b", "coral_wait_for_mention", currentUnixTime=since_ms, maxWaitMs=0)
    assert more.get("message", {}).get("id") != got["message"]["id"], more
    world.tool("a", "coral_close_session", reason="done")


def agent_joined(world: World, witness: Witness) -> None:
    """An agent that waits is added to a thread, and gets the first message of its past; then it is removed again."""
    world.in_window = False
    _talking(world, witness, "a", "b", "c")
    thread = world.tool("a", "coral_create_thread", threadName="t", participantNames=["b"])["thread"]
    world.tool("a", "coral_send_message", threadId=thread["id"], content="Hello", mentions=[])
    world.run_for(5_000)
    world.in_window = True
    added: list[dict[str, Any]] = []
    world.after(
        700,
        lambda: added.append(world.tool("b", "coral_add_participant", threadId=thread["id"], participantName="c")),
    )
    got = world.tool("c", "coral_wait_for_message", currentUnixTime=world.now_ms, maxWaitMs=20_000)
    world.run_for(10_000)
    waited_once = [status for _, what, status, _ in world.answers if what == "coral_wait_for_message"] == [200]
    if "error" not in added[0] and waited_once:
        assert got["status"] == "Message received", got
    # Cut off between its two writes, and so never acknowledged: c takes part, and reads the past by asking for it.
    again = world.tool("c", "coral_wait_for_message", currentUnixTime=0, maxWaitMs=0)
    assert again["message"]["text"] == "Hello"
    world.tool("b", "coral_remove_participant", threadId=thread["id"], participantName="c")
    world.tool("b", "coral_close_thread", threadId=thread["id"], summary="over")
    world.in_window = False
    world.tool("a", "coral_close_session", reason="done")


def closed_by_agent(world: World, witness: Witness) -> None:
    """An agent closes its session while another one waits."""
    world.in_window = False
    _talking(world, witness, "a", "b")
    world.tool("b", "coral_wait_for_message", currentUnixTime=0, maxWaitMs=0)
    world.in_window = True
    world.after(500, lambda: world.tool("a", "coral_close_session", reason="done"))
    asked_ms = world.now_ms
    got = world.tool("b", "coral_wait_for_message", currentUnixTime=0, maxWaitMs=60_000)
    world.in_window = False
    assert "error" in got, got
    assert world.now_ms - asked_ms < 10_000, "the end of the session did not end the wait"


def archived(world: World, witness: Witness) -> None:
    """A session that was held is archived, its log in several parts and slices, with its agents' lines, and removed."""
    world.in_window = False
    _talking(world, witness, "a", "b", persistenceMode=HOLD)
    thread = world.tool("a", "coral_create_thread", threadName="t", participantNames=["b"])["thread"]
    for text in ("one", "two"):
        world.tool("b", "coral_send_message", threadId=thread["id"], content=text, mentions=["a"])
    world.tool("a", "coral_close_session", reason="done")
    world.run_for(30_000)
    world.services.print(witness.created[0].rpartition("/")[2], a="printed by a", b="printed by b")
    world.in_window = True
    # A part is an entry, and takes a call; a slice lasts for three or four.
    with patch.object(archive, "PART_BYTES", 1), patch.object(archive, "SLICE_MS", 8):
        world.run()
    [row] = [item for item in world.items("history") if "parts" in item]
    assert len(row["parts"]) == row["lastPosition"] > 8
    put = [call for call in world.calls if (call.function, call.operation) == ("remove_session", "PutObject")]
    assert len(put) > row["lastPosition"]
    found = [line for _, line in archive.lines_of(world.services, HistoryRecord.from_item(row)) if line is not None]
    missing = [line.tags[-1].name for line in found if line.type == "warning" and line.tags[-1].type == "agent"]
    assert len(missing) == 0 if world.fault is None else len(missing) < 2
    assert {line.text for line in found if line.type == "info"} == {
        f"printed by {name}" for name in ("a", "b") if name not in missing
    }


def report_uploaded(world: World, witness: Witness) -> None:
    """A session ends with an extended report that is uploaded in several parts, and delivered."""
    world.in_window = False
    _talking(world, witness, "a", "b", extendedEndReport=True)
    thread = world.tool("a", "coral_create_thread", threadName="t", participantNames=["b"])["thread"]
    world.tool("b", "coral_send_message", threadId=thread["id"], content="Hello", mentions=["a"])
    world.tool("a", "coral_close_session", reason="done")

    def only_here(call: Call) -> None:
        upload = call.function == "close_session" and ("Upload" in call.operation or call.operation == "PutItem")
        world.in_window = upload or call.operation == "GetObject"

    world.before_call.insert(0, only_here)
    small_parts = patch.object(bodies, "PART_BYTES", 1_200), patch("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    with patch.object(deliveries, "MAX_ITEM_BODY_BYTES", 100), small_parts[0], small_parts[1]:
        world.run()
    world.before_call.remove(only_here)
    world.in_window = False
    [delivery] = world.items("deliveries")
    report = json.loads(world.services.bodies.get(delivery["bodyKey"]))
    [thread] = report["sessionState"]["state"]["threads"]
    assert [message["text"] for message in thread["messages"]] == ["Hello"]
    assert world.count_of("UploadPart") >= 2


def agent_registered(world: World, witness: Witness) -> None:
    """An agent is registered; its task definition is there before a session uses the agent."""
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    world.outside(lambda: register_local(world.services, CRASHER))
    world.run()
    record = world.services.registry.find("crasher", "1.0.0")
    assert record is not None
    assert len(record.task_definitions) == 1
    registered = world.count_of("RegisterTaskDefinition")
    world.in_window = False
    world.ecs.lives_ms = {"a": 100}
    create(world, witness, session(agent("a", "crasher")))
    world.run()
    assert world.count_of("RegisterTaskDefinition") == registered, "its launch has found it"


def containers_come_and_go(world: World, witness: Witness) -> None:
    """Of two containers one exits, and the other is stopped when a user closes the session."""
    world.in_window = False
    witness.reasons = {"closed_by_user"}
    world.outside(lambda: register_local(world.services, BOXED))
    world.run()
    world.ecs.lives_ms = {"a": 2_000}

    def told(call: Call) -> None:
        world.in_window = call.function == "on_task_change"

    world.before_call.insert(0, told)
    # A call of the function that fails comes again within three minutes.
    hold = {**HOLD, "duration": 600_000}
    path = create(world, witness, session(boxed("a"), boxed("b"), webhooks=WEBHOOKS, persistenceMode=hold))
    world.run_for(5_000)
    assert world.ask("DELETE", path)[0] == 200
    world.run_for(300_000)
    world.before_call.remove(told)
    world.in_window = False


def session_followed(world: World, witness: Witness) -> None:
    """Two connections follow a session, one from its first event on, while its agents talk; then it ends."""
    world.in_window = False
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    path = create(world, witness, two_agents(world, lives_ms=(60_000, 60_000)))
    world.follow(path, "from now on")
    world.follow(path, "from the beginning", after="0")
    world.run_for(5_000)
    world.in_window = True
    thread = world.tool("a", "coral_create_thread", threadName="t", participantNames=["b"])["thread"]
    world.tool("b", "coral_send_message", threadId=thread["id"], content="Hello", mentions=[])
    world.run_for(2_000)
    world.in_window = False
    world.run()
    _check_followers(world)


def gone_before_it_was_pushed(world: World, witness: Witness) -> None:
    """A session that two connections follow is removed before its last entries are pushed: they get them all."""
    world.in_window = False
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    path = create(world, witness, two_agents(world, lives_ms=(60_000, 60_000)))
    world.follow(path, "from now on")
    world.run_for(5_000)
    stream = world.streams["atoll-local-session-items"]
    stream.held = True
    world.follow(path, "from the beginning", after="0")
    thread = world.tool("a", "coral_create_thread", threadName="t", participantNames=["b"])["thread"]
    world.tool("b", "coral_send_message", threadId=thread["id"], content="Hello", mentions=[])

    def purged(call: Call) -> None:
        about_items = "session-items" in str(call.parameters) and "Transact" not in call.operation
        world.in_window = call.function == "remove_session" and about_items

    world.before_call.insert(0, purged)
    with patch.object(lifecycle, "PURGE_SLICE", 5):
        world.run_for(3_600_000)
        world.before_call.remove(purged)
        assert not world.items("sessions")
        world.in_window = True
        stream.held = False
        stream.wake()
        world.run()
    world.in_window = False
    _check_followers(world)


def _check_followers(world: World) -> None:
    """Check that the connections, which followed from the first event on, got them all, and are closed."""
    written = {
        record["Keys"]["item"]["S"]: json.loads(record["NewImage"]["event"]["S"])["type"]
        for record in (each["dynamodb"] for each in world.streams["atoll-local-session-items"].carried)
        if record["Keys"]["item"]["S"].startswith("EVENT#")
    }
    told = [kind for _, kind in sorted(written.items()) if kind not in INTERNAL]
    sent = {**world.sockets.sent, **world.sockets.sent_until_lost}
    for connection_id, frames in sent.items():
        kinds = [json.loads(frame)["type"] for frame in frames]
        if world.fault is None:  # what a fault makes come again is known by its cursor
            assert len(set(frames)) == len(frames), f"{connection_id} got an event twice: {kinds}"
        once = [json.loads(frame)["type"] for frame in dict.fromkeys(frames)]
        lost = connection_id in world.sockets.sent_until_lost
        assert once == told or lost, f"{connection_id} got {kinds} of {told}"
    assert set(world.sockets.closed) >= set(world.sockets.sent), "a connection is open though its session is gone"


def secret_given(world: World, witness: Witness) -> None:
    """An agent in a container is given a secret option, and another one as a file."""
    world.in_window = False
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    world.outside(lambda: register_local(world.services, REPORTER))
    world.run()
    world.ecs.lives_ms = {"a": 2_000}
    about = {"GetSecretValue", "PutObject", "RunTask", "DeleteObjects"}

    def told(call: Call) -> None:
        world.in_window = call.operation in about

    world.before_call.insert(0, told)
    options = {"REPORT_TO": ("string", "/report"), "GREETING": ("string", "hunter22")}
    asked = {**agent("a", "reporter", **options), "provider": {"type": "local", "runtime": "docker"}}
    create(world, witness, session(asked, webhooks=WEBHOOKS))
    world.run_for(300_000)
    world.before_call.remove(told)
    world.in_window = False
    assert {variables(task)["GREETING"] for task in world.ecs.tasks.values()} == {"hunter22"}
    shown = [call for call in world.calls if call.operation != "PutObject" and "hunter22" in str(call.parameters)]
    assert not shown, f"a secret is in {shown}"


def started_again(world: World, witness: Witness) -> None:
    """ECS has no room for an agent at first, then its task fails to start; the next one runs."""
    world.in_window = False
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    full = iter(["Capacity is unavailable at this time. Please try again later."])
    world.ecs.full = lambda _: next(full, None)
    world.ecs.failures = {"a": ["CannotPullContainerError: dial tcp: i/o timeout"]}
    world.ecs.lives_ms = {"a": 1_000}

    def told(call: Call) -> None:
        answered = call.operation == "UpdateItem" and "launch" in str(call.parameters.get("ExpressionAttributeNames"))
        first_end = call.function == "on_task_change" and len(world.ecs.tasks) == 1
        world.in_window = call.operation == "RunTask" or answered or first_end

    world.before_call.insert(0, told)
    create(world, witness, session(sleeper("a"), webhooks=WEBHOOKS))
    world.run_for(600_000)
    world.before_call.remove(told)
    world.in_window = False


def work_claimed(world: World, witness: Witness) -> None:
    """An agent claims what its work costs, under a key: that is booked once, however often it is tried."""
    world.in_window = False
    witness.reasons = {"closed_by_agent"}
    worker = {**sleeper("a"), "budget": {"usd": "1"}, "plugins": [{"type": "close_session_tool"}]}
    graph = session(worker, webhooks=WEBHOOKS)
    graph["agentGraphRequest"]["budget"] = {"usd": "2"}
    path = create(world, witness, graph)
    world.run_for(5_000)
    world.in_window = True
    headers = {"authorization": f"Bearer {world.secret_of('a')}", "idempotency-key": "page 7"}
    claim = {"amount": {"type": "usd", "amount": 0.25}}
    answered = world.ask("POST", "/api/v1/agent-rpc/rental-claim", claim, headers)
    assert answered == (200, {"remainingBudget": 750_000, "coralUsdPrice": 1.0}), answered
    world.in_window = False
    budget = world.services.budgets.find(path.rpartition("/")[2])
    assert budget is not None
    levels = [budget.session, budget.agents["a"]]
    assert [(level.available, level.held, level.spent) for level in levels if level is not None] == [
        (1_750_000, 0, 250_000),
        (750_000, 0, 250_000),
    ]
    world.tool("a", "coral_close_session", reason="done")


def budget_spent(world: World, witness: Witness) -> None:
    """An agent that spends its budget is stopped, and the session is closed that has spent its own."""
    world.in_window = False
    witness.reasons = {"budget_reached"}
    request = two_agents(world)
    webhooks = {**WEBHOOKS, "budgetReached": {"url": "http://receiver/budget"}}
    request["execution"]["runtimeSettings"]["webhooks"] = webhooks
    request["agentGraphRequest"]["budget"] = {"usd": "0.000100", "onReached": "close_session"}
    request["agentGraphRequest"]["agents"][0]["budget"] = {"usd": "0.000010", "onReached": "stop_agent"}
    create(world, witness, request)
    world.run_for(5_000)

    def about_money(call: Call) -> None:
        written = str(call.parameters.get("Key", call.parameters.get("Item", "")))
        world.in_window = call.function in ("models", "on_entry") or "'BUDGET" in written

    world.before_call.insert(0, about_money)
    assert world.model_call("b", 40, 35)
    assert not world.model_call("a", 11, 1)
    world.run_for(10_000)
    agents = {item["name"]: item for item in world.items("session-items") if item["item"].startswith("AGENT#")}
    stopped = {name: agent.get("stoppedReason") for name, agent in agents.items()}
    assert stopped == {"a": "its budget is reached", "b": None}
    assert [variables(task)["CORAL_AGENT_ID"] for task in world.ecs.running()] == ["b"]
    assert world.model_call("b", 20, None)
    assert not world.model_call("b", 80, 1)
    world.run()
    world.before_call.remove(about_money)
    world.in_window = False
    [row] = [item for item in world.items("history") if "parts" in item]
    spent, calls = row["budget"]["session"]["spent"], row["budget"]["models"]["a/model"]["calls"]
    # A call whose agent was told nothing is made again, as another one: what was held for it is booked as well.
    assert spent == 35 + 20 if world.fault is None else spent in (55, 75, 90, 95)
    assert calls == 2 if world.fault is None else calls in (2, 3)
    told = {(detail["level"], detail["agentName"]) for kind, detail in world.published if kind == "budget_reached"}
    assert told == {("agent", "a"), ("session", "b")}


#: What agents that run as functions do; what is before and after it in their scenarios is for the others to try.
TURNS = {"run_turn", "on_entry"}


def function_told(world: World, witness: Witness) -> None:
    """An agent that runs as a function is started, told two messages, one while it thinks of the other, and times out.

    Each of them is told in order, and leads to one turn, whose state the next one gets.
    """
    world.in_window = False
    witness.reasons, witness.functions = {"agents_exited"}, {"f"}
    world.outside(lambda: register_local(world.services, TURNER))
    world.run()
    world.ecs.lives_ms = {"a": 3_000_000}  # longer than a message is with a function that has died

    def told(call: Call) -> None:
        world.in_window = call.function in TURNS

    sent: list[str] = []

    def send() -> None:
        if len(sent) < 2:
            text = "first" if not sent else "second"
            world.tool("a", "coral_send_message", threadId=thread["id"], content=text, mentions=["f"])
            sent.append(text)

    def answer(turn: dict[str, Any]) -> dict[str, Any]:
        if turn["reason"] == "message" and turn["message"]["text"] == "first":
            send()
        if turn["reason"] == "timeout":
            return {"exit": True}
        last = turn["reason"] == "message" and turn["message"]["text"] == "second"
        wait = {"for": "mention", "maxWaitMs": 20_000} if last else {"for": "mention"}
        return {"state": turn["turn"], "wait": wait}

    world.function.answer = answer
    world.before_call.insert(0, told)
    create(world, witness, session(sleeper("a"), function("f"), webhooks=WEBHOOKS))
    world.run_for(60_000)
    thread = world.outside(lambda: world.tool("a", "coral_create_thread", threadName="t", participantNames=["f"]))[
        "thread"
    ]
    send()
    world.run()
    world.before_call.remove(told)
    world.in_window = False
    items = [each["dynamodb"].get("NewImage", {}) for each in world.streams["atoll-local-session-items"].carried]
    log = sorted(
        ((int(item["stampMs"]["N"]), json.loads(item["event"]["S"])) for item in items if "event" in item),
        key=lambda entry: entry[0],
    )
    stops = [event["type"] == "runtime_stopped" and event["name"] == "f" for _, event in log]
    end = stops.index(True)
    # A message whose sender was called twice is there twice, if need be after the end.
    messages = [event["message"]["id"] for _, event in log[:end] if event["type"] == "thread_message_sent"]
    told_of = [("started", None), *(("message", message_id) for message_id in messages), ("timeout", None)]
    wanted = dict(enumerate(((*each, number or None) for number, each in enumerate(told_of)), 1))
    seen = [(turn["turn"], _told(turn)) for turn in world.function.turns]
    assert dict(seen) == wanted, (seen, wanted)
    assert seen == sorted(seen), seen
    assert all(wanted[number] == each for number, each in seen), seen  # one that comes again is the same
    assert len(seen) == len(wanted) or world.fault is not None, seen


def _told(turn: dict[str, Any]) -> tuple[str, str | None, Any]:
    return turn["reason"], turn.get("message", {}).get("id"), turn.get("state")


def function_stopped(world: World, witness: Witness) -> None:
    """An agent that runs as a function is ended while it thinks: what it answers is not stored, nor told."""
    world.in_window = False
    witness.reasons, witness.functions = {"agents_exited"}, {"f"}
    world.outside(lambda: register_local(world.services, TURNER))
    world.run()
    path = create(world, witness, session(function("f"), webhooks=WEBHOOKS, persistenceMode=HOLD))
    ended: list[int] = []

    def told(call: Call) -> None:
        world.in_window = call.function == "run_turn"

    def answer(turn: dict[str, Any]) -> dict[str, Any]:
        if not ended:
            ended.append(world.ask("DELETE", path.replace("/local/session/", "/puppet/") + "/f")[0])
        return {"state": "x" * 5_000}

    world.function.answer = answer
    world.before_call.insert(0, told)
    world.run_for(400_000)
    world.before_call.remove(told)
    world.in_window = False
    assert ended == [200]
    kept = {item["item"] for item in world.items("session-items") if item["item"].startswith(("FOLLOWED-BY", "STATE"))}
    assert kept <= {"STATE#f#1"}, kept  # written by who did not know yet; it goes with the session
    events = [json.loads(item["event"])["type"] for item in world.items("session-items") if "event" in item]
    assert "agent_wait_start" not in events, events


#: Providers that need no network: `Receiver.open` answers.
MODELS = LlmProxyConfig.model_validate(
    {
        "providers": [
            {
                "name": name,
                "format": {"type": kind},
                "apiKey": "sk-hunter22",
                "models": [model],
                "baseUrl": "http://models",
            }
            for name, kind, model in (("one", "OpenAI", "large"), ("two", "Anthropic", "claude"))
        ],
        "prices": [{"model": "large", "input": 1, "output": 10, "outputTokens": 1_000}],
    }
)


def prototype_talks(world: World, witness: Witness) -> None:
    """A prototype opens a thread, sends a message, waits for the answer and exits, an iteration a turn.

    Its model gets in each what came of the one before. A turn that was cut off is taken again, so what it had done
    may be there twice.
    """
    world.in_window = False
    witness.reasons, witness.functions = {"agents_exited"}, {"p"}
    world.outside(lambda: register_local(world.services, PROMPTED))
    world.services.llm_proxy = ConfiguredModels(MODELS)  # type: ignore[assignment]
    world.outside(lambda: world.services.model_offers.replace(MODELS.offers))
    world.run()
    world.ecs.lives_ms = {"a": 3_000_000}
    asked: list[list[str]] = []

    def answer(thread_id: str) -> None:
        world.tool("a", "coral_send_message", threadId=thread_id, content="Hi", mentions=["p"])

    def decide(question: Question) -> list[tuple[str, dict[str, Any]]]:
        asked.append(question.results)
        if not question.results:
            return [("coral_create_thread", {"threadName": "t", "participantNames": ["a"]})]
        thread_id = json.loads(question.results[0])["thread"]["id"]
        if len(question.results) == 1:
            return [("coral_send_message", {"threadId": thread_id, "content": "Hello", "mentions": ["a"]})]
        if len(question.results) == 2:
            world.after(700, lambda: answer(thread_id))
            return [("coral_wait_for_mention", {"maxWaitMs": 1_200_000})]
        return []

    def told(call: Call) -> None:
        # From the model's wish to wait up to the end of the wait: a turn that pauses, and one that goes on.
        world.in_window = call.function == "run_turn" and len(asked) == 3

    world.model = thinks(decide)
    world.before_call.insert(0, told)
    prompted = agent("p", "prompted", ITERATIONS=("u32", 4))
    request = session(sleeper("a"), prompted | {"provider": {"type": "local", "runtime": "prototype"}})
    request["agentGraphRequest"]["budget"] = {"usd": "1"}
    path = create(world, witness, request)
    world.run_for(2_000_000)
    world.before_call.remove(told)
    world.in_window = False
    assert [len(results) for results in asked] == sorted(len(results) for results in asked), asked
    assert {len(results) for results in asked} == {0, 1, 2, 3}, asked
    assert '"text": "Hi"' in asked[-1][2], asked
    log = list(world.services.log.read(path.rpartition("/")[2], live=False))
    sent = [entry.event["message"]["text"] for entry in log if entry.event["type"] == "thread_message_sent"]
    assert set(sent) == {"Hello", "Hi"}, sent
    assert sent.count("Hello") == 1 or world.fault is not None, sent
    budget = world.services.budgets.find(path.rpartition("/")[2])
    assert budget is not None
    assert budget.session is not None
    calls = sum(entry.event["type"] == "llm_proxy_call" for entry in log)
    assert calls >= (4 if world.fault is None else 3)  # the event of a call that was made may be refused
    # A call whose process died is booked at what was held for it.
    assert budget.session.spent + budget.session.held >= 4 * 60, budget
    world.run()


SCENARIOS: list[Scenario] = [
    agents_exit,
    created_with_key,
    executed_later,
    closed_by_user,
    closed_at_launch,
    time_to_live,
    never_executed,
    deleted_while_pending,
    namespace_deleted,
    namespace_that_stays,
    report_refused_at_first,
    message_sent,
    message_sent_while_a_wait_is_paused,
    agent_joined,
    closed_by_agent,
    archived,
    report_uploaded,
    agent_registered,
    containers_come_and_go,
    session_followed,
    gone_before_it_was_pushed,
    secret_given,
    started_again,
    work_claimed,
    budget_spent,
    function_told,
    function_stopped,
    prototype_talks,
]


@dataclasses.dataclass(frozen=True)
class Broken:
    """What one fault did to one scenario."""

    scenario: str
    fault: Fault | None
    call: str
    what: list[str]

    def __str__(self) -> str:
        where = f"{self.fault.kind} at call {self.fault.number}, {self.call}" if self.fault else "without any fault"
        return "\n    ".join([f"{self.scenario}: {where}:", *self.what])


def play(emulator: Emulator, scenario: Scenario, fault: Fault | None = None) -> tuple[World, Broken | None]:
    """Play a scenario once; return its world, and the broken invariants."""
    world, witness = begin(emulator, fault)
    return world, judge(scenario, world, witness)


def judge(scenario: Scenario, world: World, witness: Witness) -> Broken | None:
    """Play a scenario in its world and return the broken invariants."""
    try:
        scenario(world, witness)
        what = witness.broken()
    except AssertionError as error:
        what = [f"the scenario itself: {error or 'an assertion'} (answers {world.answers[-3:]})"]
    fault = world.fault
    if fault and len(world.calls) < fault.number:
        what.append("the call that was to fail was never made")
    if not what:
        return None
    call = world.calls[fault.number - 1] if fault and len(world.calls) >= fault.number else None
    return Broken(scenario.__name__, fault, f"{call.function} {call.operation}" if call else "", what)
