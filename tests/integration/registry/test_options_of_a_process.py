"""What an agent's process really finds: the local stack starts it, and it writes down its environment and files."""

import base64
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.aws.task_definitions import definition_of
from chalicelib.aws.task_overrides import OPTIONS_DIRECTORY
from chalicelib.domain import masks
from infra.local.stack import LocalStack
from infra.option_keys import Keys
from tests.agents import HERE
from tests.client import Client, agent, eventually, session

CORAL = {
    "CORAL_AGENT_ID",
    "CORAL_AGENT_SECRET",
    "CORAL_API_URL",
    "CORAL_CONNECTION_URL",
    "CORAL_PROMPT_SYSTEM",
    "CORAL_RUNTIME_ID",
    "CORAL_SESSION_ID",
}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(port=0, agents=[HERE / "reporter"]) as running:
        yield running


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report.json"


def reporter(report: Path, **options: Any) -> dict[str, Any]:
    return agent("worker", "reporter", REPORT_TO=("string", str(report)), **options)


def found(report: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(eventually(lambda: report.exists() and report.read_text()))
    return read


def test_options_are_in_the_environment_and_in_files(client: Client, report: Path) -> None:
    asked = reporter(
        report,
        NUMBERS=("list[u64]", ["18446744073709551615", 7]),
        PAGES=("list[string]", ["é,:\0", ""]),
        KEY=("blob", [0, -1, 1]),
        FLAG=("bool", True),
        WAIT=("bool", True),
        HUGE=("string", "a\nb=c 'd' $E \"f\""),
    )
    path = client.create(session(asked | {"systemPrompt": "Be brief."}, namespace="options"))
    seen = found(report)
    environment, files = seen["environment"], seen["files"]
    assert environment["NUMBERS"] == "18446744073709551615,7"
    assert (environment["FLAG"], environment["WAIT"]) == ("1", "1")
    assert environment["GREETING"] == "hello"
    assert environment["HUGE"] == "a\nb=c 'd' $E \"f\""
    assert [bytes.fromhex(content) for _, content in files["PAGES"]] == ["é,:\0".encode(), b""]
    assert [bytes.fromhex(content) for _, content in files["KEY"]] == [b"\x00\xff\x01"]
    assert [bytes.fromhex(content) for _, content in files["FRACTION"]] == [struct.pack(">f", 0.1)]
    assert {name for name in environment if name.startswith("CORAL_")} == CORAL
    assert not [name for name in environment if name.startswith(("ATOLL_", "AWS_"))]
    assert environment["CORAL_PROMPT_SYSTEM"] == "Be brief."
    assert environment["CORAL_RUNTIME_ID"] == "executable"

    paths = [Path(path) for entries in files.values() for path, _ in entries]
    assert all(path.exists() for path in paths)
    assert {path.parents[1].stat().st_mode & 0o777 for path in paths} == {0o700}
    client.call("DELETE", path)
    eventually(lambda: not any(path.exists() for path in paths), what="the files are gone")


def test_an_option_without_value_and_default_is_absent(client: Client, report: Path) -> None:
    client.create(session(reporter(report), namespace="options"))
    seen = found(report)
    assert "FLAG" not in seen["environment"]
    assert "KEY" not in seen["environment"]
    assert seen["environment"]["NUMBERS"] == seen["environment"]["PAGES"] == ""


def test_options_are_never_returned(client: Client, report: Path) -> None:
    asked = reporter(report, GREETING=("string", "hunter2"), WAIT=("bool", True), PAGES=("list[string]", ["hunter3"]))
    path = client.create(session(asked, namespace="options"))
    found(report)
    for shown in (
        path,
        f"{path}/extended",
        "/api/v1/local/namespace/extended",
        "/api/v1/registry/local/reporter/1.0.0",
    ):
        assert "hunter" not in str(client.call("GET", shown).body)
    client.call("DELETE", path)


def test_values_of_an_agent_with_a_secret_are_stored_encrypted(stack: LocalStack, client: Client, report: Path) -> None:
    asked = reporter(report, GREETING=("string", "hunter2"), WAIT=("bool", True))
    path = client.create(session(asked, namespace="options"))
    assert found(report)["environment"]["GREETING"] == "hunter2"
    items = stack.services.client("dynamodb").query(
        TableName=stack.services.settings.table("session-items"),
        KeyConditionExpression="sessionId = :session",
        ExpressionAttributeValues={":session": {"S": path.rpartition("/")[2]}},
    )["Items"]
    [stored] = [item for item in items if item["item"]["S"] == "OPTIONS#worker"]
    assert isinstance(stored["options"]["B"], bytes)
    assert "hunter2" not in str(items)
    client.call("DELETE", path)


def test_an_agent_whose_values_cannot_be_opened_is_stopped_and_shows_nothing(
    stack: LocalStack, client: Client, report: Path
) -> None:
    hold = {"mode": "hold_after_exit", "duration": 60_000}
    asked = session(reporter(report), namespace="options", defer=True)
    path = client.create(asked)
    keys = Keys(stack.services.client("secretsmanager"), "local")
    known, stack.services.option_keys.known = stack.services.option_keys.known, (0, [])
    keys.rotate(forget_earlier=True)
    client.call("POST", path, {"persistenceMode": hold})
    session_id = path.rpartition("/")[2]

    def why() -> str | None:
        agent = stack.services.agents.find(session_id, "worker")
        return agent.stopped_reason if agent else None

    assert "is not among those of this deployment" in str(eventually(why))
    assert masks.of_agent(stack.services, session_id, "worker") is None
    assert not report.exists()
    stack.services.option_keys.known = known


def test_files_need_the_secret_of_a_session_that_has_not_ended(stack: LocalStack, client: Client, report: Path) -> None:
    path = client.create(session(reporter(report, WAIT=("bool", True)), namespace="options"))
    secret = found(report)["environment"]["CORAL_AGENT_SECRET"]
    where = "/api/v1/agent/options"
    for stranger in (Client(stack.url, None), client, Client(stack.url, secret[:-1])):
        assert stranger.call("GET", where).status == 401
    client.call("DELETE", path)
    eventually(lambda: Client(stack.url, secret).call("GET", where).status == 401)


@pytest.mark.parametrize("letter", ["x", "é"])
def test_more_than_ecs_takes_is_refused_before_anything_is_made(client: Client, report: Path, letter: str) -> None:
    """What has line breaks is in the overrides of a task, of which ECS takes 8,192 bytes; other values are not."""

    def ask(value: str) -> Any:
        return client.call(
            "POST",
            "/api/v1/local/session",
            session(reporter(report, HUGE=("string", value)), namespace=f"large-{ord(letter)}"),
        )

    refused = ask(letter * 8_191 + "\n")
    assert refused.status == 400
    message = refused.body["message"]
    assert "'worker'" in message
    assert "ECS allows 8192" in message
    assert f"the biggest: HUGE ({8_191 * len(letter.encode()) + 1} bytes)" in message
    assert letter * 10 not in message
    assert client.call("GET", f"/api/v1/local/namespace/large-{ord(letter)}").status == 404
    whole = letter * (32_000 // len(letter.encode()))
    assert ask(whole).status == 200
    assert found(report)["environment"]["HUGE"] == whole
    assert ask(letter * 7_000 + "\n").status == (200 if letter == "x" else 400)


def test_a_secret_that_cannot_travel_to_a_container_is_refused(client: Client, report: Path) -> None:
    asked = reporter(report, GREETING=("string", "hunter22\n"))
    refused = client.call("POST", "/api/v1/local/session", session({**asked, "provider": DOCKER}, namespace="breaks"))
    assert refused.status == 400
    assert "the option 'GREETING' of the agent 'worker' is secret and has a line break" in refused.body["message"]
    assert "hunter" not in refused.body["message"]
    # To a process of this machine it travels: nobody sees the overrides of its task.
    client.create(session(asked, namespace="breaks"))
    assert found(report)["environment"]["GREETING"] == "hunter22\n"


DOCKER = {"type": "local", "runtime": "docker"}


def test_what_ecs_is_told_has_no_value_and_no_secret_and_nothing_is_left(
    stack: LocalStack, client: Client, report: Path
) -> None:
    asked: list[dict[str, Any]] = []
    events = stack.services.client("ecs").meta.events
    events.register("provide-client-params.ecs.RunTask", lambda params, **_: asked.append(params), "seen")
    options = {
        "GREETING": ("string", "hunter2"),
        "HUGE": ("string", "hunter3 #'\"$x"),
        "PAGES": ("list[string]", ["hunter4"]),
    }
    request = session(reporter(report, WAIT=("bool", True), **options) | {"systemPrompt": "hunter5"}, namespace="told")
    path = client.create(request)
    seen = found(report)["environment"]
    events.unregister("provide-client-params.ecs.RunTask", unique_id="seen")
    assert [seen[name] for name in ("GREETING", "HUGE", "CORAL_PROMPT_SYSTEM")] == [
        "hunter2",
        "hunter3 #'\"$x",
        "hunter5",
    ]
    [params] = asked
    assert "hunter" not in str(params)
    assert seen["CORAL_AGENT_SECRET"] not in str(params)

    def objects() -> list[str]:
        listed = stack.services.client("s3").list_objects_v2(Bucket=stack.services.settings.bodies_bucket)
        return [each["Key"] for each in listed.get("Contents", []) if path.rpartition("/")[2] in each["Key"]]

    assert {key.rpartition("/")[2] for key in objects()} == {"0-agent.env", "0-options.env"}
    client.call("DELETE", path)
    eventually(lambda: not [key for key in objects() if key.startswith("environments/")], what="the files are gone")


def test_large_files_travel_whole(client: Client, report: Path) -> None:
    blob = bytes(range(256)) * 1_000
    client.create(session(reporter(report, KEY=("blob", base64.b64encode(blob).decode())), namespace="options"))
    [[_, content]] = found(report)["files"]["KEY"]
    assert bytes.fromhex(content) == blob


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl")
def test_the_container_that_runs_first_on_aws_fetches_the_same(
    stack: LocalStack, client: Client, report: Path, tmp_path: Path
) -> None:
    pages = ["é\n", "", "x" * 100_000]
    asked = reporter(report, PAGES=("list[string]", pages), WAIT=("bool", True))
    path = client.create(session(asked, namespace="options"))
    secret = found(report)["environment"]["CORAL_AGENT_SECRET"]
    record = stack.services.registry.find("reporter", "1.0.0")
    assert record is not None
    containers = definition_of(record, "docker", stack.services.settings, "us-east-1")["containerDefinitions"]
    first = next(container for container in containers if container["name"] == "options")
    script = first["command"][0].replace(OPTIONS_DIRECTORY, str(tmp_path / "volume"))

    def run(**environment: str) -> int:
        shutil.rmtree(tmp_path / "volume", ignore_errors=True)
        (tmp_path / "volume").mkdir()
        environment["PATH"] = os.environ["PATH"]
        return subprocess.run(["bash", "-c", script.replace("--retry 5 ", "")], env=environment, check=False).returncode

    url = f"{stack.url}/api/v1/agent/options"
    assert run(ATOLL_OPTIONS_URL=url, ATOLL_OPTIONS_TOKEN=secret) == 0
    assert [(tmp_path / "volume/PAGES" / str(number)).read_text() for number in range(3)] == pages
    assert run(ATOLL_OPTIONS_URL=url, ATOLL_OPTIONS_TOKEN="wrong") != 0
    assert run() == 0
    client.call("DELETE", path)


def test_options_that_an_item_cannot_hold_are_a_413(client: Client, report: Path) -> None:
    asked = reporter(report, PAGES=("list[string]", ["x" * 400_000]))
    answer = client.call("POST", "/api/v1/local/session", session(asked, namespace="too-large"))
    assert answer.status == 413
    assert "380000" in answer.body["message"]
