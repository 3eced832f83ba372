"""Prototypes, turn by turn: what their model is asked, how they wait, and what they do when something fails."""

import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from chalicelib.agents import Here, Stopped, prototype
from chalicelib.agents.prototype import tools as own_tools
from chalicelib.aws.http import OutgoingHttp
from chalicelib.domain import agent_files, registry
from chalicelib.store.budgets import Budget, Level
from chalicelib.store.registry import RegistryAgentRecord
from chalicelib.wire.llm_proxy import NOTHING
from chalicelib.wire.threads import MAX_WAIT_MS, SessionThreadMessage
from chalicelib.wire.turns import TurnAgent, TurnInput
from tests.integration.agents.prototypes import Call, Question, ToolServer, serving_tools, thinks
from tests.integration.models.conftest import PROXIES, config_of
from tests.mcp_world import NAMESPACE, NEVER_S, SESSION, TestClock, World, world
from tests.offline_models import Answers, OfflineModels

pytestmark = pytest.mark.xdist_group("prototypes")

HOUR_MS = 3_600_000
FILE = """
edition = 4
[agent]
name = "ann"
version = "1.0.0"
[runtimes.prototype]
proxy = "MAIN"
{more}
[options]
N = {{ type = "i32" }}
TEXT = {{ type = "string" }}
"""


@pytest.fixture(scope="module")
def clock() -> TestClock:
    return TestClock()


@pytest.fixture(scope="module")
def provider() -> Iterator[OfflineModels]:
    with OfflineModels() as running:
        yield running


@pytest.fixture(scope="module")
def tool_server() -> Iterator[ToolServer]:
    with serving_tools() as serving:
        yield serving


@pytest.fixture(scope="module")
def _deployment(clock: TestClock, provider: OfflineModels) -> Iterator[World]:
    with world(clock) as made:
        made.services.client("secretsmanager").create_secret(Name="atoll-test/llm-proxy", SecretString=NOTHING)
        made.services.llm_proxy.write(config_of(provider))
        made.services.http = OutgoingHttp(allow_private=True)
        yield made


class Prototype:
    """The prototype ``ann`` in a session with ``bob``, whose turns a test takes."""

    def __init__(self, here: World, provider: OfflineModels, patch: pytest.MonkeyPatch) -> None:
        self.world, self.provider, self._patch = here, provider, patch
        self.lines: list[str] = []
        self.state: Any = None
        self.options: dict[str, Any] = {}
        self.is_there()

    def is_there(self, more: str = "") -> None:
        """Have the registry have it, with more in its table."""
        agent = agent_files.parse(FILE.format(more=more))
        record = registry.record_of(self.world.services, agent, base_path=None)

        def find(name: str, version: str) -> RegistryAgentRecord:
            return record

        self._patch.setattr(self.world.services.registry, "find_for_launch", find)

    def turn(self, reason: Any = "started", message: SessionThreadMessage | None = None) -> dict[str, Any]:
        """Take a turn and return what it answers, as JSON has it."""
        actor = self.world.actor("ann")
        about = TurnAgent(
            name="ann",
            namespace=NAMESPACE,
            session_id=SESSION,
            connection_url="",
            secret="",
            api_url="",
            options=self.options,
        )
        given = TurnInput(agent=about, turn=1, reason=reason, message=message, state=self.state)
        answer = prototype.take(self.world.services, Here(self.world.services, actor, given, self.lines.extend))
        self.state = json.loads(json.dumps(answer.get("state", self.state)))
        return json.loads(json.dumps(answer))  # type: ignore[no-any-return]

    def asked(self) -> list[Question]:
        """Return what its model was asked."""
        return [Question(each) for each in self.provider.asked]

    def thinks(self, *answers: Sequence[Call]) -> None:
        """Have the model want this, answer by answer, and then nothing."""
        left = list(answers)

        def next_one(_: Question) -> Sequence[Call]:
            return left.pop(0) if left else []

        self.provider.usual = thinks(next_one)


@pytest.fixture
def ann(_deployment: World, provider: OfflineModels, monkeypatch: pytest.MonkeyPatch) -> Prototype:
    _deployment.clear()
    provider.forget()
    _deployment.session("ann", "bob", proxies=PROXIES, connected_at_ms=1)
    return Prototype(_deployment, provider, monkeypatch)


def wait_of(kind: str = "mention", **arguments: Any) -> Call:
    return f"coral_wait_for_{kind}", arguments


# Iterations


def test_an_agent_stops_after_its_last_iteration(ann: Prototype) -> None:
    ann.is_there("iterations = 2\ndelay = 5_000")
    ann.thinks()
    first = ann.turn()
    assert first["wait"] == {"for": "agent", "agentName": "ann", "maxWaitMs": 5_000}
    assert ann.turn("timeout") == {"exit": True}
    one, two = ann.asked()
    assert [each["role"] for each in one.messages] == ["user"]
    assert "wait until another agent mentions you" in one.messages[0]["content"]
    assert two.messages[-1]["content"] == agent_files.CONSTANTS["PROTOTYPE_DEFAULT_LOOP_FOLLOWUP_PROMPT"]
    assert one.body["tool_choice"] == "required"
    assert one.body["model"] == "large"
    events = [entry.event for entry in ann.world.services.log.read(SESSION)]
    assert [each["type"] for each in events] == ["llm_proxy_call"] * 2, "a pause is no wait"


def test_nothing_that_the_model_wants_is_done_for_an_agent_that_was_ended_meanwhile(ann: Prototype) -> None:
    def ended(_: Question) -> Sequence[Call]:
        ann.world.services.agents.stop(SESSION, "ann", now_ms=1, reason="ended")
        return [("coral_create_thread", {"threadName": "t", "participantNames": []})]

    ann.provider.usual = thinks(ended)
    with pytest.raises(Stopped):
        ann.turn()
    assert [entry.event["type"] for entry in ann.world.services.log.read(SESSION)] == ["llm_proxy_call"]


def test_the_model_of_an_agent_that_was_ended_meanwhile_is_not_asked(
    ann: Prototype, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = ann.world.services
    find = services.registry.find_for_launch

    def ended(name: str, version: str) -> RegistryAgentRecord | None:
        services.agents.stop(SESSION, "ann", now_ms=1, reason="ended")
        return find(name, version)

    monkeypatch.setattr(services.registry, "find_for_launch", ended)
    with pytest.raises(Stopped):
        ann.turn()
    assert not ann.asked()


def test_the_system_message_has_the_resources_as_they_are_now(ann: Prototype) -> None:
    ann.thinks()
    ann.turn()
    thread = ann.world.thread("bob", "ann", name="plans")
    ann.world.send("bob", thread, "news")
    ann.turn("timeout")
    before, after = (question.system for question in ann.asked())
    assert '<resource uri="coral://state">\n# General' in before
    assert '<resource uri="coral://instruction">\n# Working' in before
    assert "news" in after
    assert "news" not in before
    assert "<resource>" not in after


def test_a_resource_that_is_not_there_costs_an_iteration_and_no_call(ann: Prototype) -> None:
    ann.is_there('prompts.system.base = "<resource>file:///etc/passwd</resource>"')
    assert ann.turn()["wait"]["maxWaitMs"] == 1_000
    assert ann.asked() == []
    assert "names the resource 'file:///etc/passwd'" in ann.lines[-1]


def test_options_are_in_prompts_and_not_in_what_is_kept(ann: Prototype) -> None:
    ann.is_there('prompts.loop.initial.extra = { type = "option", name = "TEXT" }')
    ann.options = {"TEXT": "hunter22"}
    ann.thinks()
    ann.turn()
    assert "hunter22" in ann.asked()[0].messages[0]["content"]
    assert "hunter22" not in json.dumps(ann.state)


@pytest.mark.parametrize("client", ["openai", "openrouter", "anthropic"])
def test_each_api_gets_the_whole_conversation(ann: Prototype, client: str) -> None:
    ann.is_there(f'client = "{client}"')
    if client == "anthropic":
        ann.world.clear()
        ann.world.session("ann", "bob", proxies={"MAIN": PROXIES["CLAUDE"]}, connected_at_ms=1)
    ann.thinks([("coral_create_thread", {"threadName": "t", "participantNames": ["bob"]}), ("nothing", {})])
    ann.turn()
    ann.turn("timeout")
    second = ann.asked()[1]
    assert (
        second.target
        == {
            "openai": "/v1/chat/completions",
            "openrouter": "/api/v1/chat/completions",
            "anthropic": "/v1/messages",
        }[client]
    )
    made, unknown = second.results
    assert json.loads(made)["thread"]["name"] == "t"
    assert unknown == "there is no tool 'nothing'"
    roles = [each["role"] for each in second.messages]
    assert roles == (
        ["user", "assistant", "user"] if client == "anthropic" else ["user", "assistant", "tool", "tool", "user"]
    )
    [create] = [tool for tool in second.body["tools"] if "coral_create_thread" in json.dumps(tool)]
    assert "participantNames" in json.dumps(create)


def test_arguments_that_are_none_are_told_to_the_model(ann: Prototype) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "coral_send_message", "arguments": "{oh"}}
    body = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [call]}}]}
    ann.provider.next(Answers(body=json.dumps(body).encode()))
    ann.turn()
    assert "the arguments are no JSON" in ann.state["messages"][-1]["text"]


# Waits


def test_an_hour_of_waiting_is_one_turn_and_no_call_of_the_model(ann: Prototype, clock: TestClock) -> None:
    ann.thinks([wait_of(maxWaitMs=HOUR_MS), ("coral_create_thread", {"threadName": "late", "participantNames": []})])
    answer = ann.turn()
    assert answer["wait"] == {"for": "mention", "maxWaitMs": HOUR_MS}
    assert len(ann.asked()) == 1
    clock.pass_ms(HOUR_MS)
    ann.turn("timeout")
    assert len(ann.asked()) == 1, "what is left of the iteration needs no model"
    timed_out, made = (each["text"] for each in ann.state["messages"][-2:])
    assert "Timeout reached" in timed_out
    assert json.loads(made)["thread"]["name"] == "late"


def test_a_message_ends_a_wait_and_another_one_does_not(ann: Prototype, clock: TestClock) -> None:
    thread = ann.world.thread("bob", "ann")
    ann.thinks([wait_of(maxWaitMs=HOUR_MS)])
    ann.turn()
    ann.world.send("bob", thread, "for nobody")
    clock.pass_ms(120_000)
    again = ann.turn("message")
    assert again["wait"] == {"for": "mention", "maxWaitMs": HOUR_MS - 120_000}, "it goes on as long as it was to last"
    ann.world.send("bob", thread, "for you", "ann")
    ann.turn("message")
    assert json.loads(ann.state["messages"][-1]["text"].splitlines()[0])["message"]["text"] == "for you"
    kinds = [entry.event["type"] for entry in ann.world.services.log.read(SESSION)]
    assert (kinds.count("agent_wait_start"), kinds.count("agent_wait_stop")) == (1, 1)


def test_what_was_sent_meanwhile_is_told_at_once(ann: Prototype, clock: TestClock) -> None:
    thread = ann.world.thread("bob", "ann")
    since_ms = clock.now_ms()
    ann.world.send("bob", thread, "early", "ann")
    clock.pass_ms(1_000)
    ann.thinks([wait_of(currentUnixTime=since_ms, maxWaitMs=HOUR_MS)])
    assert ann.turn()["wait"]["agentName"] == "ann", "no wait, but the pause between iterations"
    assert "early" in ann.state["messages"][-1]["text"]


@pytest.mark.parametrize(
    ("call", "wait"),
    [
        (wait_of("message", maxWaitMs=500), {"for": "message", "maxWaitMs": 500}),
        (wait_of("agent", agentName="bob", maxWaitMs=500), {"for": "agent", "agentName": "bob", "maxWaitMs": 500}),
        (wait_of("mention"), {"for": "mention", "maxWaitMs": MAX_WAIT_MS}),
        (wait_of("mention", maxWaitMs=10**12), {"for": "mention", "maxWaitMs": own_tools.LONGEST_WAIT_MS}),
    ],
)
def test_each_wait_ends_the_turn(ann: Prototype, call: Call, wait: dict[str, Any]) -> None:
    ann.thinks([call])
    assert ann.turn()["wait"] == wait


def test_more_calls_than_are_made_are_answered_all_the_same(ann: Prototype) -> None:
    ann.thinks([("nothing", {})] * 33)
    ann.turn()
    *_, before, last = ann.state["messages"]
    assert (before["text"], last["text"]) == (
        "there is no tool 'nothing'",
        "not called: at most 32 calls of one answer are made",
    )


def test_what_there_is_no_time_for_is_left_to_the_next_turn(
    ann: Prototype, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(box: own_tools.Toolbox, call: Any) -> tuple[str, bool]:
        clock.pass_ms(100_000)
        return "done", False

    monkeypatch.setattr(own_tools.Toolbox, "call", slowly)
    ann.thinks([("a", {}), ("b", {}), ("c", {})])
    for left in (1, 2):
        assert ann.turn()["wait"] == {"for": "agent", "agentName": "ann", "maxWaitMs": 0}
        assert ann.state["pending"] == {"made": left}
    assert ann.turn()["state"]["done"] == 1
    assert len(ann.asked()) == 1


# Failures


def test_a_dead_provider_does_not_spin(ann: Prototype) -> None:
    ann.is_there("iterations = 9")
    ann.provider.usual = Answers(503)
    pauses = [ann.turn()["wait"]["maxWaitMs"] for _ in range(8)]
    assert pauses == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
    assert ann.turn() == {"exit": True}
    assert len(ann.asked()) == 9
    assert "has answered 503" in ann.lines[-1]
    assert [each["role"] for each in ann.asked()[-1].messages] == ["user", "user"], "no question is asked twice"


def test_an_iteration_that_succeeds_ends_the_pauses(ann: Prototype) -> None:
    ann.thinks()
    ann.provider.next(Answers(500), Answers(500))
    assert [ann.turn()["wait"]["maxWaitMs"] for _ in range(3)] == [1_000, 2_000, 0]
    ann.provider.next(Answers(500))
    assert ann.turn()["wait"]["maxWaitMs"] == 1_000


@pytest.mark.parametrize("body", [b"{}", b"[]", b"oh", b'{"choices": []}', b'{"choices": [{"message": 1}]}'])
def test_an_answer_that_is_none_costs_an_iteration(ann: Prototype, body: bytes) -> None:
    ann.provider.next(Answers(body=body))
    assert ann.turn()["wait"]["maxWaitMs"] == 1_000
    assert "the model's answer cannot be read" in ann.lines[-1]


def test_a_volatile_agent_ends_with_its_first_failure(ann: Prototype) -> None:
    ann.is_there("volatile = true")
    ann.provider.usual = Answers(500)
    with pytest.raises(prototype.Ended, match="has answered 500"):
        ann.turn()


def test_what_is_asked_is_paid_by_the_agents_budget_until_that_is_reached(ann: Prototype) -> None:
    services = ann.world.services
    services.llm_proxy.write(config_of(ann.provider, prices=[{"model": "large", "input": 2, "output": 8}]))
    services.llm_proxy._known = None
    made = Budget(SESSION, NAMESPACE, NEVER_S, session=None, agents={"ann": Level.of(1_200_000)})
    services.budgets.create(made)
    ann.thinks()
    assert ann.turn()["wait"]["maxWaitMs"] == 0
    found = services.budgets.find(SESSION)
    assert found is not None
    assert found.agents["ann"].spent == 10 * 2 + 5 * 8
    ann.world.clear()
    ann.world.session("ann", proxies=PROXIES, connected_at_ms=1)
    services.budgets.create(Budget(SESSION, NAMESPACE, NEVER_S, session=None, agents={"ann": Level.of(100)}))
    assert ann.turn()["wait"]["maxWaitMs"] == 1_000
    assert len(ann.asked()) == 1
    assert "budget" in ann.lines[-1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('prompts.system.base = { type = "option", name = "TEXT" }', "the option 'TEXT' has no value"),
        ('iterations = { type = "option", name = "N" }', "the option 'N' has no value"),
        ('tools = [{ type = "mcp_streamable_http", url = "http://127.0.0.1:9/mcp" }]', "tools.0: it did not answer"),
        ('tools = [{ type = "mcp_sse", url = "ftp://a.b" }]', "tools.0: it cannot be called"),
    ],
)
def test_what_cannot_run_ends_before_its_model_is_asked(ann: Prototype, more: str, said: str) -> None:
    ann.is_there(more)
    with pytest.raises(prototype.Ended, match=said):
        ann.turn()
    assert ann.asked() == []


def test_a_proxy_that_the_agent_does_not_have_ends_it(ann: Prototype) -> None:
    ann.world.clear()
    ann.world.session("ann", connected_at_ms=1)
    with pytest.raises(prototype.Ended, match="'MAIN', which is none of the agent's proxies"):
        ann.turn()


# Servers of tools


@pytest.mark.parametrize(("kind", "path"), [("mcp_streamable_http", "/mcp"), ("mcp_sse", "/sse")])
def test_tools_of_a_server_are_called(ann: Prototype, tool_server: ToolServer, kind: str, path: str) -> None:
    tool_server.given.clear()
    header = "" if kind == "mcp_sse" else ', auth = { type = "authorization_header", header = "Bearer t" }'
    tool_server.token = None if kind == "mcp_sse" else "t"
    ann.is_there(f'tools = [{{ type = "{kind}", url = "{tool_server.url}{path}"{header} }}]')
    ann.thinks([("test_tool", {"input": "one"}), ("test_tool", {"input": "two"}), ("test_tool", {})])
    ann.turn()
    assert tool_server.given == ["one", "two"]
    one, two, wrong = ann.state["messages"][-3:]
    assert (one["text"], two["text"], one["failed"]) == ("Success!", "Success!", False)
    assert wrong["failed"]
    assert "test_tool" in ann.asked()[0].tools
    tool_server.token = None


def test_a_server_that_hangs_holds_up_one_call(
    ann: Prototype, tool_server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_tools, "_CALL_MS", 1_000)
    tool_server.hold = threading.Event()
    ann.is_there(f'tools = [{{ type = "mcp_streamable_http", url = "{tool_server.url}/mcp" }}]')
    ann.thinks([("test_tool", {"input": "x"}), ("coral_create_thread", {"threadName": "t", "participantNames": []})])
    try:
        ann.turn()
    finally:
        tool_server.hold.set()
        tool_server.hold = None
    hung, made = ann.state["messages"][-2:]
    assert (hung["failed"], "no complete answer within 1 s" in hung["text"]) == (True, True)
    assert json.loads(made["text"])["thread"]["name"] == "t"


def test_a_server_at_a_private_address_is_not_called(
    ann: Prototype, tool_server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ann.world.services, "http", OutgoingHttp(allow_private=False))
    ann.is_there(f'tools = [{{ type = "mcp_streamable_http", url = "{tool_server.url}/mcp?key=hunter22" }}]')
    with pytest.raises(prototype.Ended, match="must not be called") as ended:
        ann.turn()
    assert "hunter22" not in str(ended.value)
