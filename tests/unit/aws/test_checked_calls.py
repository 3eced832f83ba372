"""Every AWS call that a test makes is checked against the service's model and AWS's documents, by any thread."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ParamValidationError
from botocore.session import get_session

from tests.aws_calls import child
from tests.aws_calls.models import Models, compiled
from tests.mcp_world import world

ROOT = Path(__file__).parents[3]

TAG = {"key": "stage", "value": "dev"}
RUN: dict[str, Any] = {"taskDefinition": "a:1"}
DEFINITION: dict[str, Any] = {"family": "a", "containerDefinitions": [{"name": "agent", "image": "i"}]}
EVENT = {"Source": "atoll.sessions", "DetailType": "d", "Detail": "{}"}
MESSAGE = {"QueueUrl": "https://sqs/1/q", "MessageBody": "m"}
FIFO = {"QueueUrl": "https://sqs/1/q.fifo", "MessageBody": "m", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
TABLE: dict[str, Any] = {"TableName": "checked-calls"}
KEY = {"hash": {"S": "h"}, "range": {"S": "r"}}
SET = {**TABLE, "Key": KEY, "UpdateExpression": "SET #a = :a"}
NAMES = {"ExpressionAttributeNames": {"#a": "a"}, "ExpressionAttributeValues": {":a": {"S": "a"}}}
WHO = {"logGroupName": "g", "logStreamName": "s"}
MACHINE = {"stateMachineArn": "arn:aws:states:us-east-1:123456789012:stateMachine:m"}

#: A call, and what is wrong with it.
Case = tuple[str, str, dict[str, Any], str]

REFUSED: list[Case] = [
    # The model: a pattern, an enum, a length, a range, each of a part of a part.
    ("ecs", "run_task", {**RUN, "tags": [{"key": "a", "value": "<b>"}]}, r"tags\[0\].value: '<b>' does not match"),
    ("ecs", "run_task", {**RUN, "tags": [{"key": "k" * 129, "value": ""}]}, r"tags\[0\].key: 129 is more than 128"),
    ("ecs", "run_task", {**RUN, "tags": [{"key": str(n), "value": ""} for n in range(51)]}, "tags: 51 is more than 50"),
    ("ecs", "run_task", {**RUN, "launchType": "FARGATE_SPOT"}, "launchType: 'FARGATE_SPOT' is none of"),
    ("events", "put_events", {"Entries": [EVENT] * 11}, "Entries: 11 is more than 10"),
    ("events", "put_events", {"Entries": [{**EVENT, "EventBusName": "a b"}]}, "EventBusName: 'a b' does not match"),
    ("dynamodb", "query", {**TABLE, "KeyConditionExpression": "a = b", "Select": "ALL"}, "Select: 'ALL' is none of"),
    ("dynamodb", "put_item", {**TABLE, "Item": {"n" * 65_536: {"S": "a"}}}, "65536 is more than 65535"),
    ("logs", "put_log_events", {**WHO, "logStreamName": "a:b", "logEvents": [{"timestamp": 0, "message": "a"}]}, "a:b"),
    ("lambda", "invoke", {"FunctionName": "no function"}, "FunctionName: 'no function' does not match"),
    # The documents.
    ("ecs", "run_task", {**RUN, "startedBy": "s" * 129}, "startedBy"),
    ("ecs", "run_task", {**RUN, "startedBy": "a b"}, "startedBy"),
    ("ecs", "run_task", {**RUN, "clientToken": "c" * 65}, "clientToken"),
    ("ecs", "run_task", {**RUN, "count": 11}, "count: 11"),
    ("ecs", "run_task", {**RUN, "tags": [TAG, TAG]}, "tags: .* not unique"),
    (
        "ecs",
        "run_task",
        {**RUN, "overrides": {"containerOverrides": [{"name": "a", "command": ["x" * 8_192]}]}},
        "overrides: 8.* bytes are more than 8192",
    ),
    ("ecs", "register_task_definition", {**DEFINITION, "family": "two words"}, "family: 'two words'"),
    (
        "ecs",
        "register_task_definition",
        {**DEFINITION, "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "1536"},
        "256 and 1536 are none of Fargate's",
    ),
    ("ecs", "describe_tasks", {"tasks": ["t"] * 101}, "tasks: 101"),
    ("events", "put_events", {"Entries": [{**EVENT, "Detail": "[]"}]}, "Detail: is no JSON object"),
    ("events", "put_events", {"Entries": [{**EVENT, "Detail": '{"a": NaN}'}]}, "Detail: is no JSON object"),
    ("events", "put_events", {"Entries": [{**EVENT, "Detail": f'{{"a": "{"x" * 262_144}"}}'}]}, "Entries: 2.* bytes"),
    ("sqs", "send_message", {**FIFO, "DelaySeconds": 1}, "DelaySeconds: a message of a FIFO queue"),
    ("sqs", "send_message", {**FIFO, "MessageGroupId": "two words"}, "MessageGroupId: 'two words'"),
    ("sqs", "send_message", {**MESSAGE, "MessageBody": "\x00"}, "MessageBody: is empty, or has characters"),
    ("sqs", "send_message", {**MESSAGE, "DelaySeconds": 901}, "DelaySeconds: 901"),
    (
        "sqs",
        "change_message_visibility",
        {"QueueUrl": FIFO["QueueUrl"], "ReceiptHandle": "r", "VisibilityTimeout": 43_201},
        "VisibilityTimeout: 43201",
    ),
    ("stepfunctions", "start_execution", {**MACHINE, "name": "a/b"}, "name: 'a/b' does not match"),
    ("stepfunctions", "start_execution", {**MACHINE, "input": "{"}, "input: is no JSON"),
    ("dynamodb", "put_item", {**TABLE, "Item": {**KEY, "a": {"S": "x" * 409_600}}}, "Item: .* more than 409600"),
    ("dynamodb", "get_item", {**TABLE, "Key": {**KEY, "range": {"S": "r" * 1_025}}}, "key range: 1025 bytes, not from"),
    ("dynamodb", "get_item", {**TABLE, "Key": {**KEY, "hash": {"S": ""}}}, "key hash: 0 bytes, not from"),
    ("dynamodb", "get_item", {**TABLE, "Key": {"hash": {"S": "h"}}}, "key: has no range"),
    ("dynamodb", "update_item", {**SET, **NAMES, "ExpressionAttributeNames": {"#a": "a", "#b": "b"}}, r"unused.*#b"),
    ("dynamodb", "update_item", {**SET, "ExpressionAttributeNames": {"#a": "a"}}, r"not defined: \[':a'\]"),
    ("dynamodb", "update_item", {**SET, **NAMES, "UpdateExpression": "SET #a = :a, ttl = :a"}, r"reserved.*'ttl'"),
    ("dynamodb", "update_item", {**SET, **NAMES, "UpdateExpression": "SET #a = :a" + ", #a = :a" * 500}, "4096"),
    ("dynamodb", "batch_get_item", {"RequestItems": {"checked-calls": {"Keys": [KEY, KEY]}}}, "is named twice"),
    ("s3", "put_object", {"Bucket": "bucket", "Key": "ü" * 513}, "Key: 1026 bytes"),
    ("s3", "put_object", {"Bucket": "a_bucket", "Key": "k"}, "Bucket: 'a_bucket'"),
    ("secretsmanager", "create_secret", {"Name": "two words"}, "Name: 'two words'"),
    ("ssm", "put_parameter", {"Name": "/a", "Value": "v" * 4_097}, "Value: 4097 bytes"),
    ("apigatewaymanagementapi", "post_to_connection", {"ConnectionId": "c", "Data": b"d" * 131_073}, "131073"),
    ("cloudformation", "validate_template", {"TemplateBody": "t" * 51_201}, "TemplateBody: 51201 bytes"),
]


def answered(service: str) -> Any:
    """A client whose calls do nothing."""
    client = boto3.Session("of", "nobody", region_name="us-east-1").client(service, endpoint_url="http://nowhere")  # type: ignore[call-overload]  # of any service
    client.meta.events.register("before-call", lambda **_: (SimpleNamespace(status_code=200), {}))
    return client


@pytest.fixture(scope="module", autouse=True)
def _table() -> None:
    keys = [{"AttributeName": "hash", "KeyType": "HASH"}, {"AttributeName": "range", "KeyType": "RANGE"}]
    types = [{"AttributeName": each["AttributeName"], "AttributeType": "S"} for each in keys]
    answered("dynamodb").create_table(
        **TABLE, KeySchema=keys, AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST"
    )


def _named(case: Case) -> str:
    return f"{case[0]}.{case[1]}-{case[3]}"


@pytest.mark.parametrize(
    ("service", "operation", "params"),
    [pytest.param(*case[:3], marks=pytest.mark.refused_by_aws(case[3]), id=_named(case)) for case in REFUSED],
)
def test_a_call_that_aws_refuses_is_noticed(service: str, operation: str, params: dict[str, Any]) -> None:
    getattr(answered(service), operation)(**params)


TAKEN: list[tuple[str, str, dict[str, Any]]] = [
    ("ecs", "run_task", {**RUN, "startedBy": "s" * 128, "clientToken": "c" * 64, "count": 10, "tags": [TAG]}),
    (
        "ecs",
        "register_task_definition",
        {**DEFINITION, "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512"},
    ),
    ("events", "put_events", {"Entries": [EVENT] * 10}),
    ("sqs", "send_message", FIFO),
    ("dynamodb", "update_item", {**SET, **NAMES}),
    ("dynamodb", "update_item", {**SET, **NAMES, "ConditionExpression": "size(#a) > :a AND attribute_exists(#a)"}),
    ("dynamodb", "put_item", {**TABLE, "Item": {**KEY, "a": {"M": {"b": {"L": [{"NULL": True}, {"N": "1"}]}}}}}),
    ("s3", "put_object", {"Bucket": "bucket", "Key": "k" * 1_024, "Body": b"b"}),
]


@pytest.mark.parametrize(
    ("service", "operation", "params"), TAKEN, ids=lambda case: case if isinstance(case, str) else ""
)
def test_one_that_aws_takes_is_not(service: str, operation: str, params: dict[str, Any]) -> None:
    getattr(answered(service), operation)(**params)


#: The services whose calls tests make, or that deploying a stage calls.
CALLED = (
    *(
        "apigateway",
        "apigatewaymanagementapi",
        "apigatewayv2",
        "cloudformation",
        "cloudwatch",
        "dynamodb",
        "ec2",
        "ecs",
    ),
    *(
        "events",
        "iam",
        "lambda",
        "logs",
        "s3",
        "secretsmanager",
        "service-quotas",
        "sqs",
        "ssm",
        "stepfunctions",
        "sts",
    ),
)


@pytest.mark.parametrize("service", CALLED)
def test_each_pattern_of_these_models_can_be_read(service: str) -> None:
    model = get_session().get_service_model(service)
    shapes = [model.shape_for(name) for name in model.shape_names]
    for shape in shapes:
        compiled(shape.metadata.get("pattern", ""))


RUN_OF_TESTS = """
import threading
import boto3, pytest
from types import SimpleNamespace

client = boto3.Session("of", "nobody", region_name="us-east-1").client("ecs", endpoint_url="http://nowhere")
client.meta.events.register("before-call", lambda **_: (SimpleNamespace(status_code=200), {}))

def wrong():
    client.run_task(taskDefinition="a:1", startedBy="a b")

def test_in_the_test():
    wrong()

def test_in_a_thread():
    thread = threading.Thread(target=wrong)
    thread.start()
    thread.join()

def test_though_its_error_is_caught():
    with pytest.raises(ValueError):
        wrong()
        raise ValueError

@pytest.mark.refused_by_aws("clientToken")
def test_marked_for_another_fault():
    wrong()

@pytest.mark.refused_by_aws("startedBy")
def test_marked_in_vain():
    client.run_task(taskDefinition="a:1")

def test_that_is_good():
    client.run_task(taskDefinition="a:1")

@pytest.mark.refused_by_aws("startedBy")
def test_that_is_marked():
    wrong()

@pytest.fixture(scope="module")
def shared():
    yield
    wrong()

def test_whose_shared_fixture_calls_at_its_end(shared):
    pass
"""

#: A call by who is still there after the last test, in the process that ran the tests.
AFTER_THE_TESTS = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    from test_calls import wrong
    if hasattr(session.config, "workerinput") or not session.config.getoption("numprocesses", None):
        wrong()
"""

Outcome = tuple[int, str]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Outcome]:
    def ran(*options: str) -> Outcome:
        (tmp_path / "test_calls.py").write_text(RUN_OF_TESTS)
        conftest = "from tests.conftest import pytest_configure  # noqa: F401\n" + AFTER_THE_TESTS
        (tmp_path / "conftest.py").write_text(conftest)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [*command, *options, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout

    return ran


def test_the_test_fails_during_which_it_was_made(run: Callable[..., Outcome]) -> None:
    _, output = run("-rfE")
    lines = [line.partition(" - ")[0] for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    outcomes = {line.rpartition("::")[2]: line.split()[0] for line in lines}
    assert outcomes == {
        "test_in_the_test": "FAILED",
        "test_in_a_thread": "FAILED",
        "test_though_its_error_is_caught": "FAILED",
        "test_marked_for_another_fault": "FAILED",
        "test_marked_in_vain": "ERROR",
        "test_whose_shared_fixture_calls_at_its_end": "ERROR",
    }, output
    assert re.search(r"by \S*test_calls.py:\d+, in Thread-1", output), "it is said who made it"
    assert "9 calls of AWS were checked" in output


@pytest.mark.parametrize("options", [("-p", "no:xdist"), ("-n", "1")], ids=["one process", "a worker"])
def test_the_run_fails_for_one_that_is_made_after_the_tests(
    run: Callable[..., Outcome], options: tuple[str, ...]
) -> None:
    code, output = run("-k", "good", *options)
    assert code == 1, output
    assert "AWS refuses a call that was made after the tests: ecs.RunTask: startedBy" in output
    assert "2 calls of AWS were checked" in output


CHILD = """
from types import SimpleNamespace
import boto3

client = boto3.Session("of", "nobody", region_name="us-east-1").client("ecs", endpoint_url="http://nowhere")
client.meta.events.register("before-call", lambda **_: (SimpleNamespace(status_code=200), {}))
client.run_task(taskDefinition="a:1", startedBy="a b")
"""


@pytest.mark.refused_by_aws("a_child: ecs.RunTask: startedBy: 'a b'")
def test_processes_that_tests_start_are_checked_too(tmp_path: Path) -> None:
    (tmp_path / "a_child.py").write_text(CHILD)
    before = child.calls()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run(child.command("a_child"), cwd=ROOT, env=environment, check=True)
    assert child.calls() == before + 1


def test_a_call_that_dynamodb_would_refuse_is_refused_here() -> None:
    with world() as here, pytest.raises(ParamValidationError, match="Unknown parameter in input"):
        here.services.dynamodb.get_item(TableName="t", Key={}, Consistent=True)  # type: ignore[call-arg]


@pytest.mark.parametrize("service", ["ecs", "events", "stepfunctions"])
def test_so_is_one_of_another_service(service: str) -> None:
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        "ecs": ("stop_task", {"task": 7}),
        "events": ("put_events", {"Entries": "none"}),
        "stepfunctions": ("start_execution", {}),
    }
    operation, wrong = calls[service]
    with world() as here, pytest.raises(ParamValidationError):
        getattr(here.services.client(service), operation)(**wrong)


def test_threads_that_make_the_same_call_first_both_have_it_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, made = threading.Event(), threading.Event(), Models._made

    def slowly(self: Models, service: str, shape: Any) -> Any:
        if not begun.is_set():
            begun.set()
            go_on.wait(10)
        return made(self, service, shape)

    monkeypatch.setattr(Models, "_made", slowly)
    models, query = Models(), get_session().get_service_model("dynamodb").operation_model("Query")
    with futures.ThreadPoolExecutor() as pool:
        first = pool.submit(lambda: list(models.faults(query, TABLE)))
        begun.wait(10)
        second = pool.submit(lambda: list(models.faults(query, TABLE)))
        futures.wait([second], 0.2)  # it must not come first
        go_on.set()
        assert (first.result(), second.result()) == ([], [])
