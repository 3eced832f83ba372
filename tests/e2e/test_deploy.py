"""`infra/deploy.py` from nothing to a stage, twice, and back, on ministack.

Chalice is played: it waits some five seconds a function, and ministack takes no REST API from it (its way in is the
packaged template). What it is handed and what it leaves behind is as Chalice has it.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import typer
from botocore.exceptions import ClientError
from typer.testing import CliRunner, Result

from infra import deploy
from infra.aws import package, templates
from tests.e2e.conftest import as_ministack_takes_it
from tests.e2e.ministack import Ministack
from tests.environments import NotInstallable

pytestmark = pytest.mark.xdist_group("deploy")

STAGE = "dev"
API_URL = "https://abcdefghij.execute-api.us-east-1.amazonaws.com/dev/"
ROLE = "arn:aws:iam::000000000000:role/any"
WAITS = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}


class PlayedChalice:
    """What Chalice does to an account, without waiting."""

    def __init__(self, aws: Ministack) -> None:
        self._functions = aws.client("lambda")
        self.environments: list[dict[str, str]] = []

    def __call__(self, command: str, *_: str, project_folder: Path, environment: Mapping[str, str]) -> None:
        record = project_folder / f".chalice/deployed/{STAGE}.json"
        config = json.loads((project_folder / ".chalice/config.json").read_text())
        names = [package.function_name(STAGE, function) for function in config["lambda_functions"]]
        if command == "delete":
            assert record.exists()
            for name in names:
                self._functions.delete_function(FunctionName=name)
            record.write_text(json.dumps({"resources": []}))
            return
        self.environments.append(config["stages"][STAGE]["environment_variables"])
        for name in names:
            self._make(name)
        resources = [{"name": "rest_api", "rest_api_id": "abcdefghij", "rest_api_url": API_URL}]
        record.write_text(json.dumps({"resources": resources}))

    def _make(self, name: str) -> None:
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("app.py", "def app(event, context): pass")
        try:
            self._functions.create_function(
                FunctionName=name, Runtime="python3.11", Role=ROLE, Handler="app.app", Code={"ZipFile": code.getvalue()}
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceConflictException":
                raise


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    try:
        running = Ministack(enforces_policies=False)
    except NotInstallable as error:
        pytest.skip(f"ministack cannot be installed here: {error}")
    with running:
        yield running


@pytest.fixture
def chalice(aws: Ministack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PlayedChalice:
    played = PlayedChalice(aws)
    stack = templates.stack
    monkeypatch.setattr(templates, "stack", lambda: as_ministack_takes_it(stack()))
    monkeypatch.setattr(package, "chalice", played)
    monkeypatch.setattr(deploy, "BUILD", tmp_path)
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    return played


def run(*arguments: str, says: str = "") -> Result:
    app = typer.Typer()
    app.command()(deploy.main)
    return CliRunner().invoke(app, ["--stage", STAGE, *arguments], input=says)


def stacks(aws: Ministack) -> set[str]:
    found = aws.client("cloudformation").describe_stacks()["Stacks"]
    return {each["StackName"] for each in found if each["StackStatus"] != "DELETE_COMPLETE"}


def test_a_stage_from_nothing_to_nothing(aws: Ministack, chalice: PlayedChalice) -> None:
    looked = run("--dry-run")
    assert looked.exit_code == 0, looked.output
    assert stacks(aws) == set()

    made = run("--log-days", "7")
    assert made.exit_code == 0, made.output
    assert stacks(aws) == {f"atoll-{STAGE}", f"atoll-{STAGE}-events"}
    first, told = chalice.environments
    assert "ATOLL_MCP_URL" not in first
    assert told["ATOLL_API_URL"] == API_URL.rstrip("/")
    assert ".lambda-url." in told["ATOLL_MCP_URL"]
    assert told["ATOLL_AGENT_EXECUTION_ROLE"].endswith(":role/atoll-dev-agent-execution")

    again = run()
    assert again.exit_code == 0, again.output
    # Its doors' URLs are known by now, and what was given the first time still holds.
    assert chalice.environments[2:] == [told]
    [group] = aws.client("logs").describe_log_groups(logGroupNamePrefix="/atoll/dev/agents")["logGroups"]
    assert group["retentionInDays"] == 7

    refused = run("--destroy", says="no\n")
    assert "Nothing was done" in refused.output
    assert len(stacks(aws)) == 2

    destroyed = run("--destroy", says=f"{STAGE}\n")
    assert destroyed.exit_code == 0, destroyed.output
    assert stacks(aws) == set()
    assert aws.client("lambda").list_functions()["Functions"] == []
    tables = aws.client("dynamodb").list_tables()["TableNames"]
    assert f"atoll-{STAGE}-sessions" in tables
    assert "Table atoll-dev-sessions" in destroyed.output


def test_what_a_stage_has_left_is_taken_in_by_the_next(aws: Ministack, chalice: PlayedChalice) -> None:
    assert run().exit_code == 0
    dynamodb, secrets = aws.client("dynamodb"), aws.client("secretsmanager")
    key = {"keyHash": {"S": "of a key"}}
    dynamodb.put_item(TableName=f"atoll-{STAGE}-api-keys", Item=key)
    agent_key = secrets.get_secret_value(SecretId=f"atoll-{STAGE}/agent-key")["SecretString"]
    assert run("--destroy", "--yes").exit_code == 0

    back = run()

    assert back.exit_code == 0, back.output
    assert "takes in what an earlier one has left: Table atoll-dev-namespaces," in " ".join(back.output.split())
    assert stacks(aws) == {f"atoll-{STAGE}", f"atoll-{STAGE}-events"}
    assert dynamodb.get_item(TableName=f"atoll-{STAGE}-api-keys", Key=key)["Item"] == key
    assert secrets.get_secret_value(SecretId=f"atoll-{STAGE}/agent-key")["SecretString"] == agent_key
    assert run("--destroy", "--yes").exit_code == 0


def test_destroying_stops_what_runs(aws: Ministack, chalice: PlayedChalice) -> None:
    assert run().exit_code == 0
    states = aws.client("stepfunctions")
    machines = {each["name"]: each["stateMachineArn"] for each in states.list_state_machines()["stateMachines"]}
    delivery = machines[f"atoll-{STAGE}-webhook-delivery"]
    states.update_state_machine(stateMachineArn=delivery, definition=json.dumps(WAITS))
    states.start_execution(stateMachineArn=delivery, input="{}")

    destroyed = run("--destroy", "--yes")

    assert destroyed.exit_code == 0, destroyed.output
    assert "1 executions" in " ".join(destroyed.output.split())
    assert stacks(aws) == set()


def test_a_failure_says_what_aws_says(aws: Ministack, chalice: PlayedChalice) -> None:
    answer = run("--subnets", "subnet-that-is-not-there")
    assert answer.exit_code == 1
    assert "subnet-that-is-not-there" in answer.output
