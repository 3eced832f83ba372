"""ECS tasks as processes of this machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from infra.local.stack import LocalStack
from tests.integration.local.conftest import StandIns, eventually

FOREVER = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]
#: Prints its own number and that of a child of its own, then sleeps.
FAMILY = [
    sys.executable,
    "-c",
    "import os, subprocess, time; c = subprocess.Popen(['sleep', '600']); print(os.getpid(), c.pid, flush=True); "
    "time.sleep(600)",
]


#: Like `FAMILY`, but the child has left its parent's group and session.
FAMILY_WITH_LEAVER = [part.replace("'600']", "'600'], start_new_session=True") for part in FAMILY]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def up(stand_ins: StandIns, agent: str = "agent") -> str:
    """Wait for the first line of an agent and return it."""
    return str(eventually(lambda: stand_ins.lines(agent))[0])


def test_a_process_is_started_reported_and_its_output_is_read(stand_ins: StandIns) -> None:
    code = "import os; print('hello [bold]' + os.environ['GREETED']); print(os.getcwd())"
    definition = stand_ins.define(command=[sys.executable, "-c", code], workingDirectory="/")

    task = stand_ins.run(definition, {"GREETED": "Ada", "CORAL_AGENT_ID": "greeter"}, startedBy="session/0")

    stopped = stand_ins.stopped(task)
    assert stand_ins.lines("greeter") == ["hello [bold]Ada", "/"]
    assert stopped["startedBy"] == "session/0"
    assert stopped["containers"][0]["exitCode"] == 0
    assert stopped["stopCode"] == "EssentialContainerExited"
    assert stopped["clusterArn"].endswith(":cluster/atoll-local")
    assert stopped["createdAt"] <= stopped["startedAt"] <= stopped["stoppedAt"]
    assert len(stand_ins.task_events(task, "RUNNING")) == 1


def test_a_crash_shows_its_exit_code(stand_ins: StandIns) -> None:
    task = stand_ins.run(stand_ins.define(command=[sys.executable, "-c", "raise SystemExit(3)"]))

    assert stand_ins.stopped(task)["containers"][0]["exitCode"] == 3


def test_a_missing_program_stops_the_task_with_the_reason(stand_ins: StandIns) -> None:
    task = stand_ins.run(stand_ins.define(command=["/no/such/agent"]))

    stopped = stand_ins.stopped(task)
    assert stopped["stopCode"] == "TaskFailedToStart"
    assert stopped["stoppedReason"] == "CannotStartContainerError: no such program: /no/such/agent"
    assert "exitCode" not in stopped["containers"][0]
    assert "startedAt" not in stopped


def test_a_missing_environment_file_stops_the_task_with_the_reason(stand_ins: StandIns) -> None:
    file = {"type": "s3", "value": "arn:aws:s3:::atoll-local-bodies-123456789012-us-east-1/environments/s/0-agent.env"}
    override = {"name": "agent", "environmentFiles": [file]}
    definition = stand_ins.define(command=["true"])

    task = stand_ins.run(definition, overrides={"containerOverrides": [override]})

    assert stand_ins.stopped(task)["stoppedReason"] == (
        "ResourceInitializationError: failed to download env files: environments/s/0-agent.env: NoSuchKey"
    )


def test_a_missing_directory_is_named(stand_ins: StandIns) -> None:
    task = stand_ins.run(stand_ins.define(command=["true"], workingDirectory="/no/such/place"))

    assert stand_ins.stopped(task)["stoppedReason"].endswith("no such working directory: /no/such/place")


def test_a_docker_image_needs_an_engine(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    task = stand_ins.run(stand_ins.define(command=[], image="example/agent:1"))

    assert "no docker engine answers" in stand_ins.stopped(task)["stoppedReason"]


def test_the_same_token_gives_the_same_task(stand_ins: StandIns) -> None:
    definition = stand_ins.define(command=FOREVER)

    first = stand_ins.run(definition, clientToken="once")
    second = stand_ins.run(definition, clientToken="once")

    assert first == second
    with pytest.raises(ClientError, match="ConflictException"):
        stand_ins.run(definition, {"OTHER": "parameters"}, clientToken="once")
    assert stand_ins.client("ecs").list_tasks(cluster="atoll-local")["taskArns"] == [first]


def test_tasks_are_found_by_the_session_that_started_them(stand_ins: StandIns) -> None:
    definition = stand_ins.define(command=FOREVER)
    mine = stand_ins.run(definition, startedBy="s/0")
    stand_ins.run(definition, startedBy="s/1")

    ecs = stand_ins.client("ecs")
    assert ecs.list_tasks(cluster="atoll-local", startedBy="s/0")["taskArns"] == [mine]
    ecs.stop_task(cluster="atoll-local", task=mine, reason="enough")
    assert ecs.list_tasks(cluster="atoll-local", startedBy="s/0")["taskArns"] == []


@pytest.mark.parametrize("command", [FAMILY, FAMILY_WITH_LEAVER], ids=["group", "leaver"])
def test_stopping_ends_the_process_with_its_family(stand_ins: StandIns, command: list[str]) -> None:
    task = stand_ins.run(stand_ins.define(command=command))
    parent, child = map(int, up(stand_ins).split())

    stand_ins.client("ecs").stop_task(cluster="atoll-local", task=task, reason="The session was closed.")

    stopped = stand_ins.stopped(task)
    assert stopped["stopCode"] == "UserInitiated"
    assert stopped["stoppedReason"] == "The session was closed."
    assert stopped["containers"][0]["exitCode"] == 128 + signal.SIGTERM
    assert not alive(parent)
    eventually(lambda: not alive(child))


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(
    stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.local.ecs.containers.GRACE_S", 0.3)
    task = stand_ins.run(stand_ins.define(command=STUBBORN))
    up(stand_ins)

    stand_ins.client("ecs").stop_task(cluster="atoll-local", task=task, reason="now")

    assert stand_ins.stopped(task)["containers"][0]["exitCode"] == 128 + signal.SIGKILL


@pytest.mark.parametrize("leaves", [False, True])
def test_a_process_that_leaves_children_behind_takes_them_along(stand_ins: StandIns, leaves: bool) -> None:
    started = f"subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL, start_new_session={leaves})"
    code = f"import subprocess; print({started}.pid, flush=True)"
    task = stand_ins.run(stand_ins.define(command=[sys.executable, "-c", code]))

    stand_ins.stopped(task)
    eventually(lambda: not alive(int(up(stand_ins))))


def test_an_agent_sees_none_of_our_secrets(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOLL_API_KEY", "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    task = stand_ins.run(stand_ins.define(command=["env"]), {"CORAL_SESSION_ID": "s"})
    stand_ins.stopped(task)

    names = {line.split("=")[0] for line in stand_ins.lines("agent")}
    assert {"CORAL_SESSION_ID", "PATH"} <= names
    assert not [name for name in names if name.startswith(("AWS_", "ATOLL_")) or "KEY" in name]


def test_control_characters_of_an_agent_do_not_reach_the_terminal() -> None:
    from atoll.command.lines import agent_line

    shown = agent_line("a\x1b[2J", "red \x1b[31mtext\x1b[0m [bold]not bold[/] \x07\x1b]0;title\x07end").plain
    assert shown.endswith("│ red text [bold]not bold[/] end")
    assert "\x1b" not in shown


def test_describing_returns_what_is_known(stand_ins: StandIns) -> None:
    ecs = stand_ins.client("ecs")
    task = stand_ins.run(stand_ins.define(command=FOREVER))
    eventually(lambda: stand_ins.task_events(task, "RUNNING"))

    answer = ecs.describe_tasks(cluster="atoll-local", tasks=[task, "nowhere"])

    assert [(found["taskArn"], found["lastStatus"]) for found in answer["tasks"]] == [(task, "RUNNING")]
    assert [failure["reason"] for failure in answer["failures"]] == ["MISSING"]


def test_every_process_ends_with_the_stack(stand_ins: StandIns) -> None:
    stand_ins.run(stand_ins.define(command=FAMILY))
    parent, child = map(int, up(stand_ins).split())

    stand_ins.stack.stop()

    assert not alive(parent)
    eventually(lambda: not alive(child))


def test_every_process_ends_even_when_the_stack_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "stack.py"
    script.write_text(
        "import sys, time\n"
        "from chalice import Chalice\n"
        "from tests.integration.local.conftest import StandIns\n"
        "from infra.local.stack import LocalStack\n"
        "def show(agent, line): print(line, flush=True)\n"
        "with LocalStack(app=Chalice('atoll'), on_output=show) as stack:\n"
        "    stand_ins = StandIns(stack, {}, [])\n"
        f"    stand_ins.run(stand_ins.define(command={FAMILY_WITH_LEAVER!r}))\n"
        "    time.sleep(600)\n"
    )
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert all(map(alive, pids))
    assert len(pids) == 2

    process.kill()
    process.wait()

    eventually(lambda: not any(map(alive, pids)))
    process.stdout.close()


def test_starting_is_quick(stand_ins: StandIns) -> None:
    definition = stand_ins.define(command=["true"])
    stand_ins.stopped(stand_ins.run(definition))

    began_s = time.monotonic()
    task = stand_ins.run(definition)
    eventually(lambda: stand_ins.task_events(task, "RUNNING"))

    assert time.monotonic() - began_s < 0.5


def test_many_tasks_run_beside_each_other(stand_ins: StandIns) -> None:
    definition = stand_ins.define(command=[sys.executable, "-S", "-c", "print('here')"])

    tasks = [stand_ins.run(definition, {"CORAL_AGENT_ID": f"a{number}"}) for number in range(20)]

    for number, task in enumerate(tasks):
        assert stand_ins.stopped(task)["containers"][0]["exitCode"] == 0
        assert stand_ins.lines(f"a{number}") == ["here"]


def test_stopped_tasks_are_forgotten_in_time(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    task = stand_ins.run(stand_ins.define(command=["true"]), clientToken="t")
    stand_ins.stopped(task)
    monkeypatch.setattr("infra.local.ecs.tasks.REMEMBERED_MS", -1)

    stand_ins.stack.tidy()

    assert stand_ins.client("ecs").describe_tasks(cluster="atoll-local", tasks=[task])["tasks"] == []


def test_of_stopped_tasks_the_latest_are_remembered(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.ecs.tasks.MOST_REMEMBERED", 2)
    definition = stand_ins.define(command=["true"])
    tasks = []
    for _ in range(3):
        tasks.append(stand_ins.run(definition))
        stand_ins.stopped(tasks[-1])
    found = stand_ins.client("ecs").describe_tasks(cluster="atoll-local", tasks=tasks)["tasks"]
    assert [task["taskArn"] for task in found] == tasks[1:]


def test_a_stack_needs_no_agents() -> None:
    from chalice.app import Chalice

    with LocalStack(app=Chalice("atoll")) as stack:
        assert stack.agents == []
