"""A packaged Atoll from end to end, on another AWS emulator, which enforces policies."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from infra.deploy import description
from tests.client import agent, eventually, session
from tests.e2e.conftest import STACK, Stage
from tests.e2e.containers import Containers

pytestmark = pytest.mark.xdist_group("package")

MESSAGES = 3


@pytest.fixture
def containers(stage: Stage) -> Iterator[Containers]:
    with stage.containers() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A webhook's URL, and what comes in there."""
    received: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((dict(self.headers), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/end", received
    server.shutdown()


def docker(name: str, **options: Any) -> dict[str, Any]:
    return {**agent(name, name, **options), "provider": {"type": "local", "runtime": "docker"}}


def conversation(**settings: Any) -> dict[str, Any]:
    return session(
        docker(
            "seed",
            PARTICIPANTS=("list[string]", ["echo"]),
            MENTIONS=("list[string]", ["echo"]),
            SEED_MESSAGE_COUNT=("u32", MESSAGES),
        ),
        docker("echo", ITERATION_COUNT=("u32", MESSAGES), MENTIONS=("bool", True)),
        **settings,
    )


def test_a_conversation_from_its_post_to_its_report(
    stage: Stage, containers: Containers, receiver: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    url, received = receiver
    path = stage.client.create(
        conversation(
            namespace="talk",
            persistenceMode={"mode": "hold_after_exit", "duration": 3000},
            extendedEndReport=True,
            webhooks={"sessionEnd": {"url": url}},
        )
    )
    stage.client.wait_for_status(path, "closing", within_s=60)
    held = stage.client.call("GET", f"{path}/extended").body
    said = [message["senderName"] for thread in held["threads"] for message in thread["messages"]]
    assert sorted(said) == ["echo"] * MESSAGES + ["seed"] * MESSAGES, containers.output()
    assert [agent["status"]["type"] for agent in held["agents"]] == ["stopped", "stopped"]

    headers, body = eventually(lambda: received and received[0], within_s=20)
    secret = json.loads(stage.secret("webhook-secrets"))["current"].encode()
    assert headers["X-Coral-Signature"] == hmac.new(secret, body, hashlib.sha256).hexdigest()
    report = json.loads(body)
    assert [row["name"] for row in report["agentStats"]] == ["seed", "echo"]

    stage.client.wait_for_status(path, None, within_s=20)
    eventually(lambda: stage.client.call("GET", "/api/v1/local/namespace/talk").status == 404)


def test_a_rule_of_the_users_own_sees_the_session(stage: Stage, containers: Containers) -> None:
    sqs, events = stage.aws.client("sqs"), stage.aws.client("events")
    queue = sqs.create_queue(QueueName="mine")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["atoll.sessions"], "detail-type": [{"prefix": "session_"}]}
    rule = events.put_rule(Name="mine", EventBusName=STACK, EventPattern=json.dumps(pattern))["RuleArn"]
    allowed = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
    statement = {**allowed, "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": rule}}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    events.put_targets(Rule="mine", EventBusName=STACK, Targets=[{"Id": "queue", "Arn": arn}])

    path = stage.client.create(session(docker("echo"), namespace="watched"))
    eventually(lambda: containers.tasks)
    stage.client.call("DELETE", path)
    stage.client.wait_for_status(path, None, within_s=20)

    kinds: list[str] = []

    def all_seen() -> bool:
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            kinds.append(json.loads(message["Body"])["detail"]["type"])
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return len(kinds) >= 4

    eventually(all_seen, within_s=20)
    assert set(kinds) == {"session_created", "session_running", "session_closing", "session_closed"}


def test_closing_a_session_ends_its_tasks(stage: Stage, containers: Containers) -> None:
    hold = {"mode": "hold_after_exit", "duration": 60_000}
    path = stage.client.create(session(docker("echo"), namespace="ended", persistenceMode=hold))
    session_id = path.rsplit("/", 1)[1]
    eventually(lambda: f"{session_id}/0" in containers.tasks, within_s=20)
    assert stage.client.call("DELETE", path).status == 200
    arn = containers.tasks[f"{session_id}/0"]["taskArn"]

    def task_status() -> str:
        return str(stage.aws.client("ecs").describe_tasks(cluster=STACK, tasks=[arn])["tasks"][0]["lastStatus"])

    eventually(lambda: task_status() == "STOPPED", within_s=20)
    assert stage.client.status(path) == "closing"


def test_deleting_a_namespace_ends_whatever_is_in_it(stage: Stage, containers: Containers) -> None:
    hold = {"mode": "hold_after_exit", "duration": 60_000}
    running = stage.client.create(session(docker("echo"), namespace="gone", persistenceMode=hold))
    pending = stage.client.create(session(docker("echo"), namespace="gone", defer=True))
    eventually(lambda: containers.tasks)
    assert stage.client.call("DELETE", "/api/v1/local/namespace/gone").status == 200
    assert [stage.client.status(path) for path in (running, pending)] == [None, None]


def test_a_launch_passes_a_task_all_it_needs_and_uses_the_stages_own_roles(
    stage: Stage, containers: Containers
) -> None:
    path = stage.client.create(session(docker("echo"), namespace="launch"))
    key = f"{path.rsplit('/', 1)[1]}/0"
    eventually(lambda: key in containers.tasks, within_s=20)
    definition = stage.aws.client("ecs").describe_task_definition(
        taskDefinition=containers.tasks[key]["taskDefinitionArn"]
    )["taskDefinition"]
    assert definition["executionRoleArn"] == stage.outputs["AgentExecutionRole"]
    assert definition["taskRoleArn"] == stage.outputs["AgentTaskRole"]
    group = definition["containerDefinitions"][0]["logConfiguration"]["options"]["awslogs-group"]
    groups = stage.aws.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert [each["logGroupName"] for each in groups] == [group]
    stage.client.call("DELETE", path)


def test_no_function_was_denied_anything(stage: Stage) -> None:
    """The last of this module: what the policies lack shows in the functions' logs, even where it was retried."""
    logs = stage.aws.client("logs")
    found = logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    groups = {group["logGroupName"] for group in found}
    assert groups == {f"/aws/lambda/{description.function_name('dev', name)}" for name in description.functions()}
    denied = [
        event["message"]
        for group in groups
        for event in logs.filter_log_events(logGroupName=group)["events"]
        if "AccessDenied" in event["message"]
    ]
    assert not denied
