"""What holds for each command of the program, also for one that is added: failures, JSON, colours, Ctrl-C.

A new command is tried with `VALUES` for its arguments, and is to fail as all others do unless it is named here.
"""

import re
from collections.abc import Iterator

import pytest

from atoll.command import FAILED, INTERRUPTED, UNREACHABLE, USAGE
from tests.cli_reference import commands
from tests.client import eventually
from tests.integration.cli.conftest import ROOT, Program

pytestmark = pytest.mark.xdist_group("cli")

COMMANDS = commands()

#: Take the place of the process, and run until Ctrl-C.
SERVE = {"up", "demo"}

#: Arguments of commands by name; what is in braces is filled in by `World`.
VALUES = {
    "agent": "puppet@1.0.0",
    "delivery": "{delivery}",
    "file": "{file}",
    "key": "nobody",
    "name": "new",
    "namespace": "{namespace}",
    "session": "{live}",
    "text": "hello",
    "url": "{url}",
}

#: Of a single command: other arguments, and options that it cannot do without.
OWN_VALUES = {
    ("say", "agent"): "me",
    ("tail", "session"): "{ended}",
    ("agents check", "file"): "{agent_file}",
    ("agents put", "file"): "{agent_file}",
    ("models put", "file"): "{models_file}",
}
OPTIONS = {
    "agents new": ["--into", "{folder}"],
    "hooks listen": ["--since", "1h", "--count", "1"],
    "keys limit": ["sessions=1"],
    "open": ["--print"],
    "smoke": ["--yes"],
}

#: Nothing answers, at Atoll's address and at AWS's.
NOWHERE = {
    "ATOLL_URL": "http://127.0.0.1:1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nobody",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_MAX_ATTEMPTS": "1",
}

#: What ends otherwise where nothing answers: with which code.
WITHOUT_A_SERVER = {
    "agents check": 0,
    "agents new": 0,
    "doctor": FAILED,
    "open": 0,
    "servers add": FAILED,  # no key on standard input
    "servers ls": 0,
    "servers rm": FAILED,  # an unknown one
    "servers use": FAILED,
}

#: Codes of what does not succeed in the `World`.
IN_THE_WORLD = {"tail": 11, "doctor": None}


class World:
    """What commands are about: a session that lives, one that has ended, a delivery, files."""

    def __init__(self, program: Program, namespace: str) -> None:
        file = program.write("every.yaml", f"namespace: {namespace}\nagents: {{me: puppet}}\nttl: 5m\n")
        models = program.write("every.toml", "[llm-proxy]\n")
        self.values = {
            "namespace": namespace,
            "file": file,
            "models_file": models,
            "agent_file": str(ROOT / "agents/echo/coral-agent.toml"),
            "url": program.url,
            "folder": str(program.folder / "every"),
            "live": f"{namespace}/none",
            "ended": f"{namespace}/none",
            "delivery": f"{namespace}/none",
        }

    def fill(self, program: Program) -> None:
        """Make what a server has to have."""
        namespace = self.values["namespace"]
        self.values["live"] = program("run", self.values["file"]).out.strip()
        self.values["ended"] = program("trigger", "closed_by_user", "-n", namespace).out.strip()
        session_id = self.values["ended"].rpartition("/")[2]
        found = eventually(lambda: program("hooks", "ls", namespace, "--json").lines[0])
        assert [each["sessionId"] for each in found] == [session_id]
        self.values["delivery"] = f"{namespace}/{found[0]['deliveryId']}"

    def arguments(self, name: str) -> list[str]:
        """Return how a command is called."""
        required = [each for each in COMMANDS[name].params if each.param_type_name == "argument" and each.required]
        values = [OWN_VALUES.get((name, each.name), VALUES.get(each.name, "x")) for each in required]
        if name == "run":
            values = [VALUES["file"]]
        return [*name.split(), *(each.format(**self.values) for each in [*values, *OPTIONS.get(name, [])])]


def has(name: str, parameter: str) -> bool:
    return any(each.name == parameter for each in COMMANDS[name].params)


@pytest.fixture(scope="module")
def nothing(program: Program) -> World:
    return World(program, "nothing")


@pytest.fixture(scope="module")
def world(program: Program) -> Iterator[World]:
    found = World(program, "every")
    found.fill(program)
    yield found
    program("stop", found.values["live"])


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - SERVE))
def test_without_a_server_it_fails_on_standard_error(program: Program, nothing: World, name: str) -> None:
    code = WITHOUT_A_SERVER.get(name, UNREACHABLE)
    for more in [[], *([["--json"]] if has(name, "as_json") else [])]:
        if name == "agents new" and more:
            continue
        done = program(*nothing.arguments(name), *more, **NOWHERE)
        assert done.code == code, done
        if code in (UNREACHABLE, FAILED) and name != "doctor":
            assert done.out == ""
            assert re.fullmatch(r"✗ .*\n", done.err), "one line"
        if code == UNREACHABLE:
            assert "127.0.0.1:1" in done.err, "which address"
        assert "Traceback" not in done.err


@pytest.mark.parametrize("name", [name for name in sorted(COMMANDS) if has(name, "as_json")])
def test_what_prints_json_prints_nothing_else(program: Program, world: World, name: str) -> None:
    where = ["--stage", "local"] if name.startswith("keys ") else []
    done = program(*world.arguments(name), *where, "--json")
    if (code := IN_THE_WORLD.get(name, 0)) is not None:
        assert (done.code, done.err) == (code, ""), done
    assert done.lines, "a line of JSON at least"


#: Colours, of all that can be said of how letters look: bold, dim and the like are none.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_without_colours_there_are_none(program: Program, nothing: World, name: str) -> None:
    called = [[*name.split(), "--help"], [*name.split(), "--no-such-option"]]
    if name not in SERVE | {"agents new"}:
        called.append(nothing.arguments(name))
    for arguments in called:
        found = program.on_screen(*arguments, NO_COLOR="1", **NOWHERE)
        assert found
        assert not COLOUR.search(found), arguments
    assert COLOUR.search(program.on_screen(*name.split(), "--help")), "but else there are"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_unknown_option_is_said(program: Program, name: str) -> None:
    done = program(*name.split(), "--no-such-option")
    assert (done.code, done.out) == (USAGE, "")
    assert "--no-such-option" in done.err


#: What follows, and what it shows once it does.
FOLLOWING = [
    (("run", "{file}", "--follow"), "started"),
    (("tail", "{live}"), "started"),
    (("logs", "{live}", "--follow"), "agent started"),
]


@pytest.mark.parametrize(("command", "shown"), FOLLOWING, ids=lambda each: each[0] if len(each) < 4 else None)
def test_ctrl_c_ends_what_follows(program: Program, world: World, command: tuple[str, ...], shown: str) -> None:
    done = program.in_terminal(*(each.format(**world.values) for each in command), interrupt_after=shown)
    assert done.code == INTERRUPTED, done.out
    assert "Traceback" not in done.out
    assert done.out.count("\x1b[?25l") == done.out.count("\x1b[?25h"), "the cursor is shown again"
