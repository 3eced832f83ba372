"""`atoll` as people and scripts use it: in a terminal, and without one."""

import json
import re
import socket
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from atoll.command import agents
from chalicelib.domain.registry import register_local
from infra.local.stack import LocalStack
from tests.cli_reference import LINE, PAGE, reference
from tests.client import eventually
from tests.integration.agents.prototypes import Question, thinks
from tests.integration.cli.conftest import MODELS, ROOT, Program
from tests.integration.webhooks.receivers import receiving
from tests.offline_models import OfflineModels

pytestmark = pytest.mark.xdist_group("cli")

#: Two agents that talk, and are done.
TALK = """
namespace: NAME
agents:
  ann: {agent: seed, options: {PARTICIPANTS: bob, MENTIONS: bob, SEED_MESSAGE_COUNT: 1}}
  bob: {agent: echo, options: {ITERATION_COUNT: 1}}
ttl: 1m
"""


def test_a_conversation_is_followed_in_a_terminal(program: Program, namespace: str) -> None:
    file = program.write("talk.yaml", TALK.replace("NAME", namespace) + "hold: 1s\n")
    done = program.in_terminal("run", file, "--follow")
    assert done.code == 0, done.out
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", done.out)
    assert f"{program.url}/ui/console/#/ns/{namespace}/session/" in shown
    assert re.search(r"ann │ opens “thread 0” with bob", shown)
    assert re.search(r"ann │ @bob message 0", shown)
    assert re.search(r"bob │ @ann nice message!", shown)
    assert re.search(r"ann │ stopped: exited", shown)
    assert re.search(r"[●◌] (ann|bob) ", shown), "the lane of an agent"
    assert re.search(rf"{namespace}/\S+ is over: its agents have exited \(.*2 messages, .* about \$0.00", shown)
    assert "\x1b[" in done.out
    assert done.out.rstrip().endswith(shown.rstrip().rpartition("\n")[2][-20:]), "the lanes are gone at the end"


def test_a_conversation_is_followed_by_a_script_and_read_again(program: Program, namespace: str) -> None:
    file = program.write("talk.yaml", TALK.replace("NAME", "elsewhere"))
    done = program.as_process("run", file, "--follow", "--json", "--namespace", namespace)
    assert (done.code, done.err) == (0, "")
    *events, end = done.lines
    assert end["exitCode"] == 0
    assert end["ended"]["reason"] == "agents_exited"
    texts = [e["event"]["message"]["text"] for e in events if e.get("event", {}).get("type") == "thread_message_sent"]
    assert texts == ["message 0", "nice message!"]
    session = f"{namespace}/{end['ended']['sessionId']}"

    cursor = next(line["cursor"] for line in events if "cursor" in line)
    rest = program("tail", session, "--json", "--after", cursor)
    assert rest.lines[-1]["exitCode"] == 0
    known = [line for line in events if "event" in line]
    came = [line for line in rest.lines if "event" in line]
    assert came == known[len(known) - len(came) :]
    assert events.index({"cursor": cursor}) + len(came) == len(known), "nothing twice, nothing missed"

    (listed,) = program("history", namespace, "--json").lines[0]
    assert listed["sessionId"] == end["ended"]["sessionId"]
    columns = program("history", namespace).out.rstrip("\n").split("\t")
    assert columns[:2] == [session, "agents_exited"]
    shown = program("show", session)
    assert "bob │ nice message!" in shown.out
    assert program("show", session, "--json").lines[0]["report"]
    assert "bob │ agent stopped (reason: exited" in program("logs", session, "--agent", "bob").out
    assert "ann │" not in program("logs", session, "--agent", "bob").out


def test_somebody_speaks_in_an_agents_name(program: Program, namespace: str) -> None:
    file = program.write("puppet.yaml", f"namespace: {namespace}\nagents: {{me: puppet, s: sleeper}}\n")
    session = program("run", file).out.strip()
    assert session.startswith(f"{namespace}/")
    identity = session.rpartition("/")[2]
    (sent,) = program("say", identity[:8], "me", "good morning", "--to", "s", "--json").lines
    assert (sent["text"], sent["mentionNames"]) == ("good morning", ["s"])
    (again,) = program("say", session, "me", "and so on", "--thread", "good morning", "--json").lines
    assert again["threadId"] == sent["threadId"]
    (state,) = program("show", session, "--json").lines
    assert [message["text"] for message in state["threads"][0]["messages"]] == ["good morning", "and so on"]
    assert program("ls", namespace).out.startswith(f"{session}\texecuted\t")
    assert [each["id"] for each in program("ls", namespace, "--json").lines[0]] == [identity]
    assert program("open", session, "--print").out.strip() == (
        f"{program.url}/ui/console/#/ns/{namespace}/session/{identity}"
    )
    assert program("stop", session).code == 0
    ended = program("tail", session)
    assert (ended.code, ended.out.splitlines()[-1].split(" (")[0]) == (11, f"{session} is over: a user has closed it")


def test_a_budget_is_shown_and_changed(program: Program, namespace: str) -> None:
    file = program.write(
        "rich.yaml", f"namespace: {namespace}\nagents: {{a: {{agent: sleeper, budget: 0.5}}}}\nbudget: 2\n"
    )
    session = program("run", file).out.strip()
    assert program("budget", session).out.splitlines() == [
        "(session)\t$2.0000\t$0.0000\t$0.0000\t$2.0000",
        "a\t$0.5000\t$0.0000\t$0.0000\t$0.5000",
    ]
    (changed,) = program("budget", session, "--limit", "3", "-a", "a=0.75", "--json").lines
    assert (changed["session"]["limit"], changed["agents"]["a"]["limit"]) == (3_000_000, 750_000)
    assert program("budget", session, "--on-reached", "refuse").code == 2
    assert program("stop", session).code == 0


def test_the_exit_code_says_how_a_session_ended(program: Program, namespace: str) -> None:
    late = program.write("late.yaml", f"namespace: {namespace}\nagents: {{a: sleeper}}\nttl: 1s\n")
    assert program("run", late, "--follow").code == 10
    never = program.write("never.yaml", f"namespace: {namespace}\nagents: {{a: missing}}\n")
    done = program("run", never, "--follow")
    assert done.code == 14
    assert "never connected: a" in done.out
    assert re.search(r" a │ stopped: .*no-such-program-anywhere", done.out), "why"
    session = re.findall(rf"{namespace}/\S+", done.out)[-1]
    assert re.search(r" a │ stopped: .*no-such-program-anywhere", program("tail", session).out), "also when it is gone"
    assert re.search(r"\tstopped: .*no-such-program-anywhere\t", program("show", session).out)


def test_a_file_that_is_wrong_is_refused_with_its_line(program: Program) -> None:
    file = program.write("wrong.yaml", "agents:\n  a: sleeper\nagnets: 1\nttl: 10\n")
    done = program.as_process("run", file)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        f"✗ {file}:3: agnets: there is no such key here",
        f"  {file}:4: ttl: a time has units: 30s, 10m, 1h30m, 2d",
    ]


def test_each_template_is_right(program: Program) -> None:
    for template in agents.Template:
        folder = program("agents", "new", "bob", "--template", template, "--into", str(program.folder / template)).out
        assert "bob@0.1.0 is right. It runs as " in program("agents", "check", folder.strip()).out


# That in TypeScript would need what npm installs.
@pytest.mark.parametrize("template", ["function", "python"])
def test_a_new_agent_is_checked_registered_and_answers(program: Program, stack: LocalStack, template: str) -> None:
    into = str(program.folder / template)
    folder = program("agents", "new", "ann", "--template", template, "--into", into).out.strip()
    assert program("agents", "new", "ann", "--into", into).code == 1, "nothing is overwritten"
    (checked,) = program("agents", "check", folder, "--json").lines
    if template == "python":
        assert checked["taskDefinition"]["containerDefinitions"][0]["image"] == "ann:0.1.0"
    register_local(stack.services, Path(folder))
    done = program("run", f"{folder}/session.yaml", "--follow")
    assert done.code == 0, done.out
    assert "ann │ @asker You said 'message 0', asker." in done.out


def test_a_new_prototype_holds_its_first_conversation(
    program: Program, stack: LocalStack, models: OfflineModels
) -> None:
    """With a model that does what its task says, as far as it knows."""

    def decide(question: Question) -> list[tuple[str, Any]]:
        if not question.results:
            return [("coral_wait_for_mention", {"currentUnixTime": 0, "maxWaitMs": 60_000})]
        if len(question.results) > 1:
            return [("coral_close_session", {"reason": "answered"})]
        assert "with currentUnixTime 0" in json.dumps(question.messages), "what its task says"
        asked, _ = json.JSONDecoder().raw_decode(question.results[0])
        asked = asked["message"]
        reply = {"content": "42", "mentions": [asked["senderName"]], "threadId": asked["threadId"]}
        return [("coral_send_message", reply)]

    folder = program("agents", "new", "pru", "--template", "prototype", "--into", str(program.folder)).out.strip()
    models.usual = thinks(decide)
    assert (Path(folder) / "models.toml").read_text() == MODELS.read_text()
    register_local(stack.services, Path(folder))
    done = program("run", f"{folder}/session.yaml", "--follow")
    assert done.code == 0, done.out
    assert "pru │ @asker 42" in done.out
    assert "pru │ calls gpt-4.1-mini: 200" in done.out
    assert "is over: an agent has closed it" in done.out


def offered(program: Program, *words: str, **variables: str) -> list[str]:
    """Return what a shell is given for the last of these words."""
    line = {"COMP_WORDS": " ".join(["atoll", *words]), "COMP_CWORD": str(len(words))}
    done = program(_ATOLL_COMPLETE="complete_bash", **line, **variables)
    assert done.err == ""
    return done.out.split()


def test_a_shell_is_offered_names(program: Program, namespace: str) -> None:
    file = program.write("offered.yaml", f"namespace: {namespace}\nagents: {{me: puppet, s: sleeper}}\n")
    session = program("run", file).out.strip()
    identity = session.rpartition("/")[2]
    assert offered(program, "show", namespace) == [session]
    assert offered(program, "tail", session[:-4]) == [session]
    assert identity in offered(program, "logs", identity[:8])
    assert offered(program, "say", session, "m") == ["me"]
    assert namespace in offered(program, "ls", namespace[:3])
    assert offered(program, "agents", "show", "sleep") == ["sleeper@1.0.0"]
    assert offered(program, "agents", "new", "--template", "proto") == ["prototype"]
    assert program("stop", session).code == 0


def test_a_shell_waits_a_second_for_names_and_hears_of_no_error(program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for variables in (
            {"ATOLL_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"},
            {"ATOLL_URL": "http://127.0.0.1:1"},
            {"ATOLL_URL": "no address"},
            {"ATOLL_API_KEY": "wrong"},
        ):
            began_s = time.monotonic()
            assert offered(program, "show", "x", **variables) == []
            assert time.monotonic() - began_s < 1.0 + 0.7
    assert offered(program, "say", "nothing", "m") == []
    broken = Path(program.write("servers.json", "{")).parent
    assert offered(program, "servers", "use", "x", ATOLL_CONFIG=str(broken)) == []


@pytest.mark.parametrize(
    "command",
    [("show",), ("tail",), ("logs",), ("logs", "--follow"), ("budget",), ("say", "me", "x"), ("stop",), ("open",)],
)
def test_a_session_that_never_was_is_said_to_be_none(
    program: Program, namespace: str, command: tuple[str, ...]
) -> None:
    file = program.write("there.yaml", f"namespace: {namespace}\nagents: {{s: sleeper}}\nttl: 1m\n")
    session = program("run", file).out.strip()
    verb, *rest = command
    done = program(verb, f"{namespace}/nope", *rest, *(["--print"] if verb == "open" else []))
    program("stop", session)
    if verb == "open":  # which asks nobody
        assert done.code == 0
        return
    assert (done.code, done.out) == (1, "")
    assert done.err.strip() == f"✗ there is no session 'nope' in the namespace '{namespace}'"


def test_what_rows_are_called_is_whole_in_a_narrow_terminal(program: Program, namespace: str) -> None:
    file = program.write(
        "wide.yaml", f"namespace: {namespace}\nagents: {{s: sleeper}}\nannotations: {{k: {'v' * 80}}}\n"
    )
    session = program("run", file).out.strip()
    keys = program("keys", "list", "--stage", "local", "--url", program.url).out.splitlines()
    assert {len(line.split("\t")) for line in keys} == {8}
    assert session in program.in_terminal("ls", namespace, COLUMNS="120").out
    shown = program.in_terminal("keys", "list", "--stage", "local", "--url", program.url, COLUMNS="76").out
    assert keys[0].partition("\t")[0] in shown
    assert program("stop", session).code == 0


def test_a_server_is_not_kept_without_a_key(program: Program) -> None:
    done = program("servers", "add", "here", program.url, given="\n", ATOLL_CONFIG=str(program.folder / "none"))
    assert (done.code, done.out) == (1, "")
    assert "no API key was given" in done.err
    assert not (program.folder / "none").exists()


def test_the_registry_is_changed(program: Program) -> None:
    folder = program("agents", "new", "bea", "--into", str(program.folder)).out.strip()
    assert program("agents", "put", f"{folder}/coral-agent.toml").code == 0
    assert "bea\t0.1.0" in program("agents", "ls").out.splitlines()
    assert "ANSWERS\tu32\t0" in program("agents", "show", "bea@0.1.0").out
    assert program("agents", "rm", "bea@0.1.0").code == 0
    assert program("agents", "show", "bea@0.1.0").code == 1
    wrong = program.write("coral-agent.toml", "edition = 4\n[agent]\nname = 'x'\nversion = '1'\n")
    done = program("agents", "check", wrong)
    assert (done.code, done.out) == (1, "")
    assert "agent.version must be a semantic version such as 1.0.0" in done.err


def test_a_delivery_is_listed_and_sent_again(program: Program, namespace: str) -> None:
    with receiving() as receiver:
        file = program.write(
            "hook.yaml", f"namespace: {namespace}\nagents: {{a: sleeper}}\nttl: 1s\nwebhook: {receiver.url}\n"
        )
        assert program("run", file, "-f").code == 10
        eventually(lambda: receiver.received)
        delivery, state, *_, to = eventually(lambda: _delivered(program, namespace))
        assert (state, to) == ("delivered", receiver.url)
        assert program("hooks", "resend", delivery, "--json").lines[0]["round"] == 2
        eventually(lambda: len(receiver.received) == 2)
    assert program("hooks", "endpoints", namespace, "--json").lines == [[]]


def _delivered(program: Program, namespace: str) -> list[str]:
    columns = program("hooks", "ls", namespace).out.rstrip("\n").split("\t")
    return columns if columns[1] == "delivered" else []


def test_what_is_not_right_is_found(program: Program) -> None:
    found = {each["what"]: each for each in program("doctor", "--json").lines[0]}
    assert found["server"]["ok"] is True
    assert found["API key"]["ok"] is True
    assert program("doctor", ATOLL_API_KEY="wrong").code == 1


def test_what_is_of_aws_is_there_when_it_is_asked_for(program: Program) -> None:
    assert "Usage: atoll deploy" in program("deploy", "--help").out
    made = program("keys", "make", "ann", "--stage", "local", "-n", "shop", "--url", program.url)
    assert (made.code, len(made.out.splitlines())) == (0, 1)
    (listed,) = program("keys", "list", "--stage", "local", "--json", "--url", program.url).lines
    assert [(key["name"], key["namespaces"]) for key in listed["keys"] if key["name"] == "ann"] == [("ann", ["shop"])]
    assert program("ls", "shop", ATOLL_API_KEY=made.out.strip()).code == 1, (
        "it is valid, and there is no such namespace"
    )


def test_what_has_no_effect_is_warned_of(program: Program, namespace: str) -> None:
    file = program.write("short.yaml", f"namespace: {namespace}\nagents: {{a: sleeper}}\nttl: 1s\n")
    (whole,) = program("run", file, "--check", "--json").lines
    wrong = program.write("whole.json", json.dumps(whole | {"executoin": {}, "execution": {"mode": "defer"}}))
    done = program("run", wrong)
    assert done.code == 0
    assert done.err == f"! {wrong}: not known, and without effect: executoin\n"
    text = (ROOT / "tests/agents/sleeper/coral-agent.toml").read_text().replace('name = "sleeper"', 'name = "mine"')
    agent = program.write(
        "mine.toml", text.replace("[agent]", "[agent]\nsecert = 1") + '\n[options.X]\ntype = "bool"\n'
    )
    done = program("agents", "put", agent)
    assert done.code == 0
    assert "! not known, and without effect: agent.secert" in done.err
    relative = program.write("mine.toml", re.sub('path = ".*"', 'path = "bin/x"', text))
    assert "'bin/x' is relative" in program("agents", "put", relative).err
    whole["agentGraphRequest"]["agents"][0]["id"]["name"] = "sleper"
    done = program("run", program.write("whole.json", json.dumps(whole)))
    assert re.search(r"there is no agent 'sleper' in version '1.0.0': there is .*\bsleeper\b", done.err)


def test_failures_have_their_codes_and_go_to_standard_error(program: Program, namespace: str) -> None:
    for arguments, variables, code, words in (
        (("show", f"{namespace}/x"), {}, 1, "✗ there is no namespace"),
        (("show", "abc"), {}, 1, "too short for an id"),
        (("no-such-command",), {}, 2, "No such command"),
        (("ls",), {"ATOLL_URL": "http://127.0.0.1:1"}, 3, "http://127.0.0.1:1 does not answer"),
        (("ls",), {"ATOLL_API_KEY": "wrong"}, 4, "✗ the API key is not valid"),
        (("keys", "list", "--stage", "local", "--url", program.url), {"ATOLL_API_KEY": "wrong"}, 4, "another API key"),
        (("keys", "list", "--stage", "local", "--url", "http://127.0.0.1:1"), {}, 3, "Could not connect"),
        (("ls", "-s", "nowhere"), {}, 1, "there is no server 'nowhere'"),
    ):
        done = program(*arguments, **variables)
        assert (done.code, done.out) == (code, ""), arguments
        assert words in done.err


def test_no_colour_takes_the_colours_and_leaves_the_rest(program: Program, namespace: str) -> None:
    coloured = program.in_terminal("ls", "-s", "nowhere")
    assert "\x1b[1;31m" in coloured.out
    plain = program.in_terminal("ls", "-s", "nowhere", NO_COLOR="1")
    assert "\x1b[1;31m" not in plain.out
    assert "there is no server 'nowhere'" in plain.out


def test_servers_are_kept_where_only_their_user_can_read_them(program: Program, namespace: str) -> None:
    alone = {"ATOLL_URL": "", "ATOLL_API_KEY": ""}
    assert program("servers", "add", "wrong", program.url, given="no\n", **alone).code == 4
    assert program("servers", "add", "here", program.url, given="dev\n", **alone).code == 0
    file = Path(program.environment["ATOLL_CONFIG"]) / "servers.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert program("servers", "ls", "--json").lines == [[{"name": "here", "url": program.url, "used": True}]]
    assert program("ls", "--json", **alone).code == 0
    assert program("servers", "use", "local", **alone).code == 0
    assert json.loads(file.read_text())["used"] is None
    assert program("ls", "--json", ATOLL_SERVER="here", ATOLL_API_KEY="").code == 0
    assert program("servers", "rm", "here").code == 0
    assert "dev" not in file.read_text()


def test_the_page_of_the_command_is_what_the_command_says() -> None:
    assert PAGE.read_text().partition(LINE)[2].strip() == reference().strip(), "write it: python -m tests.cli_reference"
