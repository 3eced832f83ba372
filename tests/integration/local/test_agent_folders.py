"""Folders of agents that the registry follows: real files, a real stack, the registry as its clients see it.

Most are the scenarios of Coral's ``FileAgentRegistrySourceTest``.
"""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.local import agent_folders, agent_patterns
from infra.local.agent_folders import AgentFolders
from infra.local.agent_patterns import patterns_of
from infra.local.stack import LocalStack
from tests.aws_calls import child
from tests.integration.local.conftest import eventually

ROOT = Path(__file__).parents[3]


class Registry:
    """The registry of a running stack, followed folders, and what was told of them."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.http = httpx2.Client(base_url=stack.url, headers={"Authorization": f"Bearer {stack.key}"}, timeout=30)
        self.told: list[tuple[str, bool]] = []
        self._followed: list[AgentFolders] = []

    def follow(self, *patterns: Path | str, watching: bool = True) -> AgentFolders:
        """Register the agents of folders, and watch these."""
        folders = AgentFolders(
            self.stack.services, map(str, patterns), lambda line, is_fault: self.told.append((line, is_fault))
        )
        folders.scan()
        if watching:
            folders.start()
        self._followed.append(folders)
        return folders

    def agents(self) -> list[str]:
        """Return name and version of every agent in the registry."""
        catalog = self.http.get("/api/v1/registry").json()[0]["agents"]
        return [f"{agent['name']} {version}" for agent in catalog for version in agent["versions"]]

    def description(self, name: str) -> str:
        """Return what an agent says of itself."""
        answer = self.http.get(f"/api/v1/registry/local/{name}/1.0.0").json()
        return str(answer["registryAgent"]["info"]["description"])

    def becomes(self, *agents: str) -> None:
        """Wait until these are the agents."""
        try:
            eventually(lambda: self.agents() == list(agents))
        except AssertionError:
            raise AssertionError(f"{self.agents()} {self.told}") from None

    def lines(self, text: str) -> list[str]:
        """Return what was told with a text in it."""
        return [line for line, _ in list(self.told) if text in line]

    def clear(self) -> None:
        """Follow nothing, and empty the registry."""
        for folders in self._followed:
            folders.stop()
        self._followed.clear()
        self.told.clear()
        for agent in self.agents():
            name, version = agent.split(" ")
            assert self.http.delete(f"/api/v1/registry/local/{name}/{version}").is_success


@pytest.fixture(scope="module")
def _registry() -> Iterator[Registry]:
    with LocalStack(settings={"debug_agents": False}) as stack:
        registry = Registry(stack)
        with registry.http:
            yield registry


@pytest.fixture
def registry(_registry: Registry) -> Iterator[Registry]:
    yield _registry
    _registry.clear()


def write(folder: Path, name: str | None = None, *, version: str = "1.0.0", description: str = '"test"') -> Path:
    """Write an agent into a folder, named like it; return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "coral-agent.toml"
    file.write_text(
        f'edition = 4\n[agent]\nname = "{name or folder.name}"\nversion = "{version}"\ndescription = {description}\n'
        f'summary = "test"\nreadme = "test"\nlicense = {{ type = "spdx", expression = "MIT" }}\n'
        f'[runtimes.executable]\npath = "test"\n'
    )
    return file


def stays(condition: Callable[[], Any], for_s: float) -> None:
    """Fail when a condition does not hold all the time."""
    end_s = time.monotonic() + for_s
    while time.monotonic() < end_s:
        assert condition()
        time.sleep(0.02)


#: Within this time, in s, everything that has changed is looked at again.
LOOK_S = agent_folders.LOOK_MS / 1000 + 2 * agent_folders.SETTLE_S + 0.1


# What is found


def test_a_folder_that_is_not_there_is_no_error(registry: Registry, tmp_path: Path) -> None:
    registry.follow(tmp_path / "none", tmp_path / "none/*/none")
    assert registry.agents() == []


def test_a_folder_is_registered(registry: Registry, tmp_path: Path) -> None:
    write(tmp_path / "agent1")
    registry.follow(tmp_path / "agent1", watching=False)
    assert registry.agents() == ["agent1 1.0.0"]


@pytest.mark.parametrize(
    ("pattern", "agents"),
    [
        ("agents/*", ["agent1", "agent2"]),
        ("agents/*/data-files", ["agent3"]),
        ("agents/*/*", ["agent3", "agent4"]),
        ("*/agent*", ["agent1", "agent2"]),
        ("agents/*2", ["agent2"]),
        ("agents/[ab]*", []),
    ],
)
def test_a_pattern_stands_for_the_folders_like_it(
    registry: Registry, tmp_path: Path, pattern: str, agents: list[str]
) -> None:
    write(tmp_path / "agents/agent1")
    write(tmp_path / "agents/agent2")
    write(tmp_path / "agents/agent3/data-files", "agent3")
    write(tmp_path / "agents/nested/agent4")
    registry.follow(tmp_path / pattern, watching=False)
    assert registry.agents() == [f"{agent} 1.0.0" for agent in agents]


@pytest.mark.parametrize("hidden", [".hidden", "node_modules", "venv", "build"])
def test_hidden_folders_are_passed_over_but_where_they_are_named(
    registry: Registry, tmp_path: Path, hidden: str
) -> None:
    write(tmp_path / hidden / "agent1")
    registry.follow(tmp_path / "*/*", watching=False)
    assert registry.agents() == []
    registry.follow(tmp_path / hidden / "*", watching=False)
    assert registry.agents() == ["agent1 1.0.0"]


def test_an_agent_that_is_found_by_two_ways_is_one(registry: Registry, tmp_path: Path) -> None:
    write(tmp_path / "agents/agent1")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/linked").symlink_to(tmp_path / "agents/agent1")
    (tmp_path / "links/loop").symlink_to(tmp_path / "links/loop")
    registry.follow(tmp_path / "agents/*", tmp_path / "links/*", tmp_path / "agents/agent1", watching=False)
    assert registry.agents() == ["agent1 1.0.0"]
    assert registry.told == []


def test_patterns_are_absolute_and_not_too_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert patterns_of("~/work/*:./mine::/a/../b/*/*") == ["/home/ann/work/*", os.path.abspath("mine"), "/b/*/*"]
    with pytest.raises(ValueError, match=r"/\*/\*/\*/\*/\* has \* in 5 of its parts: at most 4 are taken"):
        patterns_of("/*/*/*/*/*")


def test_of_too_many_folders_the_last_are_left_out(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_patterns, "MOST_FOLDERS", 3)
    for number in range(4):
        write(tmp_path / f"agent{number}")
    folders = registry.follow(tmp_path / "*", watching=False)
    folders.scan()
    assert registry.agents() == ["agent0 1.0.0", "agent1 1.0.0"]
    assert len(registry.lines("the others are left out")) == 1


@pytest.mark.parametrize("depth", range(3))
def test_a_scan_finds_what_was_removed_and_what_came_back(registry: Registry, tmp_path: Path, depth: int) -> None:
    nested = tmp_path.joinpath("root", *["nest"] * depth, "agents")
    write(nested / "agent1")
    folders = registry.follow(nested / "*", watching=False)
    shutil.rmtree(tmp_path / "root")
    folders.scan()
    assert registry.agents() == []
    write(nested / "agent1")
    folders.scan()
    assert registry.agents() == ["agent1 1.0.0"]


# What is followed


def test_a_file_that_is_deleted_takes_its_agent_along(registry: Registry, tmp_path: Path) -> None:
    file = write(tmp_path / "agent1")
    noise = tmp_path / "agent1/noise.txt"
    noise.write_text("noise")
    registry.follow(tmp_path / "agent1")
    noise.unlink()
    file.unlink()
    eventually(lambda: registry.told == [("agent agent1 1.0.0 removed", False)])
    assert registry.agents() == []
    write(tmp_path / "agent1")
    registry.becomes("agent1 1.0.0")


def test_a_new_name_in_the_same_file_replaces_the_former(registry: Registry, tmp_path: Path) -> None:
    write(tmp_path / "agent1")
    (tmp_path / "agent1/noise.txt").write_text("noise")
    registry.follow(tmp_path / "agent1")
    (tmp_path / "agent1/noise.txt").write_text("irrelevant")
    write(tmp_path / "agent1", "agent2")
    registry.becomes("agent2 1.0.0")


def test_a_new_version_in_the_same_file_replaces_the_former(registry: Registry, tmp_path: Path) -> None:
    write(tmp_path / "agent1")
    registry.follow(tmp_path / "agent1")
    write(tmp_path / "agent1", version="1.0.1")
    registry.becomes("agent1 1.0.1")


def test_a_changed_file_changes_its_agent(registry: Registry, tmp_path: Path) -> None:
    file = write(tmp_path / "agent1")
    registry.follow(tmp_path / "agent1")
    write(tmp_path / "agent1", description='"another"')
    eventually(lambda: registry.description("agent1") == "another")
    # As editors do: a new file in the place of the old one.
    (tmp_path / "new").write_text(file.read_text().replace("another", "a third"))
    (tmp_path / "new").rename(file)
    eventually(lambda: registry.description("agent1") == "a third")
    eventually(lambda: registry.told == [(f"agent agent1 1.0.0 changed: {file}", False)] * 2)


def test_a_broken_file_is_told_of_once_and_the_last_good_version_stays(registry: Registry, tmp_path: Path) -> None:
    file = write(tmp_path / "agent1", description='"good"')
    registry.follow(tmp_path / "agent1")
    file.write_text("edition = 4\nnot valid toml\n")
    eventually(lambda: registry.told)
    stays(lambda: registry.description("agent1") == "good", LOOK_S)
    faults = [line for line, is_fault in registry.told if is_fault]
    assert len(faults) == 1
    assert faults[0].startswith(f"{file}: coral-agent.toml is not TOML: ")
    assert "at line 2" in faults[0]
    assert faults[0].endswith("; agent agent1 1.0.0 stays as it was")

    write(tmp_path / "agent1", description='"repaired"')
    eventually(lambda: registry.description("agent1") == "repaired")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'edition = 4\n[agent]\nname = "A b"\nversion = "1"\n[runtimes.executable]\npath = "x"\n', "agent.name must"),
        (b"\xff\xfe", "coral-agent.toml is not UTF-8"),
        (b"# " + b"x" * 256 * 1024, "coral-agent.toml has more than 262144 bytes"),
        (b"", "edition"),
    ],
)
def test_a_file_that_was_broken_from_the_beginning_is_registered_once_it_is_right(
    registry: Registry, tmp_path: Path, content: bytes, fault: str
) -> None:
    write(tmp_path / "agent1").write_bytes(content)
    registry.follow(tmp_path / "*")
    assert len(registry.lines(f"{tmp_path}/agent1/coral-agent.toml: ")) == len(registry.lines(fault)) == 1
    assert registry.agents() == []
    write(tmp_path / "agent1")
    registry.becomes("agent1 1.0.0")


def test_a_file_is_not_read_while_it_is_being_written(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(["edition = 4\n[ag", None])
    begins = threading.Event()

    def look(patterns: list[str]) -> agent_patterns.Found:
        # A look sees half of the file, the next one the whole.
        if begins.is_set() and (half := next(steps, "")) != "":
            file.write_text(half) if half else write(tmp_path / "agent1", description='"whole"')
        return agent_patterns.find(patterns)

    monkeypatch.setattr(agent_folders, "find", look)
    file = write(tmp_path / "agent1")
    registry.follow(tmp_path / "agent1")
    begins.set()
    eventually(lambda: registry.description("agent1") == "whole")
    assert [line for line, is_fault in registry.told if is_fault] == []


def test_a_file_that_the_agent_refers_to_counts_as_a_change(registry: Registry, tmp_path: Path) -> None:
    text = tmp_path / "agent1/texts/description.md"
    text.parent.mkdir(parents=True)
    text.write_text("before")
    write(tmp_path / "agent1", description='{ type = "file", path = "texts/description.md" }')
    registry.follow(tmp_path / "agent1")
    text.write_text("after")
    eventually(lambda: registry.description("agent1") == "after")
    text.unlink()
    eventually(lambda: registry.lines("the file of agent.description cannot be read"))
    assert registry.description("agent1") == "after"
    text.write_text("again")
    eventually(lambda: registry.description("agent1") == "again")


def test_folders_that_come_later_are_found(registry: Registry, tmp_path: Path) -> None:
    nested = tmp_path.joinpath(*["nest"] * 5)
    registry.follow(nested / "*")
    write(nested / "agent1")
    registry.becomes("agent1 1.0.0")


def test_new_agents_are_found_and_others_are_not(registry: Registry, tmp_path: Path) -> None:
    registry.follow(tmp_path / "agents/*")
    write(tmp_path / "agents/nested/agent4")
    write(tmp_path / "agents/.hidden/agent5")
    write(tmp_path / "agents/.hidden-agent", "hidden")
    for number in (1, 2, 3):
        write(tmp_path / f"agents/agent{number}")
    registry.becomes("agent1 1.0.0", "agent2 1.0.0", "agent3 1.0.0")


def test_a_folder_may_be_renamed_before_its_file_is_written(registry: Registry, tmp_path: Path) -> None:
    registry.follow(tmp_path / "agents/*")
    (tmp_path / "agents").mkdir()
    for number in range(3):
        new = tmp_path / "agents/New Folder"
        new.mkdir()
        new.rename(tmp_path / f"agents/agent{number}")
        write(tmp_path / f"agents/agent{number}")
    registry.becomes("agent0 1.0.0", "agent1 1.0.0", "agent2 1.0.0")


def test_an_agent_whose_folder_is_renamed_stays_and_has_the_new_one(registry: Registry, tmp_path: Path) -> None:
    write(tmp_path / "agents/old", "agent1")
    registry.follow(tmp_path / "agents/*")
    (tmp_path / "agents/old").rename(tmp_path / "agents/new")
    eventually(lambda: registry.told)
    assert registry.told == [(f"agent agent1 1.0.0 changed: {tmp_path}/agents/new/coral-agent.toml", False)]
    assert registry.agents() == ["agent1 1.0.0"]
    record = registry.stack.services.registry.find("agent1", "1.0.0")
    assert record
    assert record.base_path == str(tmp_path / "agents/new")


def test_of_two_agents_with_the_same_name_the_first_stays_until_it_goes(registry: Registry, tmp_path: Path) -> None:
    registry.follow(tmp_path / "*")
    write(tmp_path / "second", "agent1", description='"first"')
    registry.becomes("agent1 1.0.0")
    write(tmp_path / "first", "agent1", description='"second"')
    fault = f"{tmp_path}/first/coral-agent.toml: agent agent1 1.0.0 is that of {tmp_path}/second/coral-agent.toml"
    eventually(lambda: registry.lines(fault))
    stays(lambda: registry.description("agent1") == "first", LOOK_S)
    assert len(registry.lines(fault)) == 1

    shutil.rmtree(tmp_path / "second")
    eventually(lambda: registry.description("agent1") == "second")


# What is removed


def test_an_agent_that_a_session_has_is_removed_when_that_is_over(registry: Registry, tmp_path: Path) -> None:
    file = write(tmp_path / "agent1")
    registry.follow(tmp_path / "agent1")
    request = {
        "agentGraphRequest": {
            "agents": [
                {
                    "id": {"name": "agent1", "version": "1.0.0", "registrySourceId": {"type": "local"}},
                    "name": "a",
                    "provider": {"type": "local", "runtime": "executable"},
                }
            ]
        },
        "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": "folders"}},
        "execution": {"mode": "defer"},
    }
    created = registry.http.post("/api/v1/local/session", json=request)
    assert created.status_code == 200, created.text
    session = created.json()["sessionId"]
    file.unlink()
    told = f"agent agent1 1.0.0 is in use by session {session}: it stays until that is over"
    eventually(lambda: (told, True) in registry.told)
    registry.becomes("agent1 1.0.0")

    assert registry.http.delete(f"/api/v1/local/session/folders/{session}").is_success
    eventually(lambda: registry.agents() == [])
    assert len(registry.lines("in use")) == 1


def test_an_agent_that_was_put_by_request_is_not_removed_with_a_file(registry: Registry, tmp_path: Path) -> None:
    file = write(tmp_path / "agent1")
    registry.follow(tmp_path / "*")
    text = file.read_text().replace('"test"', '"put"', 1)
    headers = {"Content-Type": "application/toml"}
    assert registry.http.put("/api/v1/registry/local/agent1/1.0.0", content=text, headers=headers).is_success
    file.unlink()
    stays(lambda: registry.agents() == ["agent1 1.0.0"], LOOK_S)
    assert registry.description("agent1") == "put"


def test_a_change_is_seen_as_soon_as_the_system_reports_it(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_folders, "LOOK_MS", 600_000)
    write(tmp_path / "agent1")
    registry.follow(tmp_path / "*")
    versions = itertools.count(1)

    def changes() -> bool:
        # Again and again: the first ones may come before the watch.
        write(tmp_path / "agent1", version=f"1.0.{next(versions)}")
        return registry.agents() != ["agent1 1.0.0"]

    eventually(changes)


def test_changes_are_seen_where_the_system_reports_none(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Iterator[None]:
        raise OSError("OS file watch limit reached")
        yield

    monkeypatch.setattr(agent_folders, "watch", refuse)
    registry.follow(tmp_path / "agents/*")
    for number in range(2):
        write(tmp_path / f"agents/agent{number}")
        registry.becomes(*(f"agent{earlier} 1.0.0" for earlier in range(number + 1)))
    assert registry.lines("limit") == ["folders of agents are looked at twice a second: OS file watch limit reached"]


def test_what_is_stopped_follows_nothing_and_leaves_no_thread(registry: Registry, tmp_path: Path) -> None:
    write(tmp_path / "agent1")
    before = set(threading.enumerate())
    folders = registry.follow(tmp_path / "*")
    folders.stop()
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "agent-folders"]


# make run

#: How long a process may take to start or to end, in s: both are seconds of work.
PROCESS_S = 60.0


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_first_request_to_make_run_finds_every_agent(tmp_path: Path, free_port: int) -> None:
    write(tmp_path / "work/agent1")
    write(tmp_path / ".coral/agents/agent2")
    write(tmp_path / ".coral/agents/agent3/1.0.0", "agent3")
    write(tmp_path / "work/broken").write_text("not toml")
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "AGENTS": f"~/work/*:{tmp_path}/missing",
        "PORT": str(free_port),
        "DATA": "",
        "COLUMNS": "500",
    }
    output = tmp_path / "output"
    with output.open("w") as file:
        process = subprocess.Popen(child.command("infra.local"), cwd=ROOT, env=environment, stdout=file)
    try:
        headers = {"Authorization": "Bearer dev"}

        def ask() -> httpx2.Response | None:
            try:
                return httpx2.get(f"http://127.0.0.1:{free_port}/api/v1/registry", headers=headers, timeout=30)
            except httpx2.ConnectError:
                return None

        agents = [agent["name"] for agent in eventually(ask, PROCESS_S).json()[0]["agents"]]
        assert {"agent1", "agent2", "agent3", "echo"} <= set(agents)
        eventually(lambda: "runs on this machine" in output.read_text(), PROCESS_S)
        write(tmp_path / "missing", "agent4")
        eventually(lambda: "agent agent4 1.0.0 added" in output.read_text())
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PROCESS_S) == 0
    printed = output.read_text()
    assert f"AGENTS: {tmp_path}/missing is not there" in printed
    assert f"{tmp_path}/work/broken/coral-agent.toml: coral-agent.toml is not TOML: " in printed
    assert "agent1@1.0.0, agent2@1.0.0, agent3@1.0.0, echo@1.0.0, puppet@1.0.0" in printed
    assert f"export ATOLL_URL=http://127.0.0.1:{free_port} " in printed, "a first command that finds it"


def test_make_run_refuses_a_pattern_that_is_too_deep(tmp_path: Path) -> None:
    environment = {**os.environ, "AGENTS": f"{tmp_path}/*/*/*/*/*", "DATA": "", "COLUMNS": "500"}
    ran = subprocess.run(
        child.command("infra.local"),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PROCESS_S,
    )
    assert ran.returncode == 1
    assert "has * in 5 of its parts: at most 4 are taken" in ran.stdout
