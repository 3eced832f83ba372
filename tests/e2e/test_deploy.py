"""`atoll deploy` from nothing to a stage, twice, and back, on ministack.

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

from infra.deploy import app, at_rest, description
from infra.deploy import command as deploy
from tests.e2e.conftest import as_ministack_takes_it
from tests.e2e.ministack import Ministack
from tests.environments import NotInstallable

pytestmark = pytest.mark.xdist_group("deploy")

STAGE = "dev"
FUNCTION = f"arn:aws:lambda:us-east-1:000000000000:function:atoll-{STAGE}"
ROLE = "arn:aws:iam::000000000000:role/any"
WAITS = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}


class PlayedChalice:
    """What Chalice does to an account, without waiting."""

    def __init__(self, aws: Ministack) -> None:
        self._functions = aws.client("lambda")
        self._apis = aws.client("apigateway")
        self.environments: list[dict[str, str]] = []

    def __call__(self, command: str, *_: str, project: Path, environment: Mapping[str, str | None]) -> None:
        if command == "package":
            return
        record = json.loads((project / f".chalice/deployed/{STAGE}.json").read_text())["resources"]
        config = json.loads((project / ".chalice/config.json").read_text())
        apis = [each["rest_api_id"] for each in record if each["resource_type"] == "rest_api"]
        if command == "delete":
            for each in record:
                if each["resource_type"] == "lambda_function":
                    self._functions.delete_function(FunctionName=each["lambda_arn"])
            for api in apis:
                self._apis.delete_rest_api(restApiId=api)
            return
        self.environments.append(config["stages"][STAGE]["environment_variables"])
        for function in config["lambda_functions"]:
            self._make(description.function_name(STAGE, function))
        if not apis:
            self._make_api()

    def _make_api(self) -> None:
        api = self._apis.create_rest_api(name="atoll")["id"]
        [root] = self._apis.get_resources(restApiId=api)["items"]
        method = {"restApiId": api, "resourceId": root["id"], "httpMethod": "GET"}
        self._apis.put_method(**method, authorizationType="NONE")
        uri = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{FUNCTION}/invocations"
        self._apis.put_integration(**method, type="AWS_PROXY", integrationHttpMethod="POST", uri=uri)
        self._apis.create_deployment(restApiId=api, stageName=STAGE)

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
        _let_out(running)
        yield running


def _let_out(aws: Ministack) -> None:
    """Give the default VPC the way out that it has on AWS."""
    ec2 = aws.client("ec2")
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    for table in ec2.describe_route_tables()["RouteTables"]:
        ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)


@pytest.fixture
def chalice(aws: Ministack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PlayedChalice:
    played = PlayedChalice(aws)
    stack, events = description.stack, description.events
    monkeypatch.setattr(description, "stack", lambda: as_ministack_takes_it(stack()))
    monkeypatch.setattr(description, "events", lambda: as_ministack_takes_it(events()))
    monkeypatch.setattr(app, "chalice", played)
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
    assert "+ DynamoDB::Table SessionsTable" in looked.output
    assert at_rest.in_words() in " ".join(looked.output.split())
    assert stacks(aws) == set()

    made = run("--log-days", "7")
    assert made.exit_code == 0, made.output
    assert stacks(aws) == {f"atoll-{STAGE}", f"atoll-{STAGE}-roles", f"atoll-{STAGE}-events"}
    [environment] = chalice.environments
    assert environment["ATOLL_AGENT_EXECUTION_ROLE"].endswith(":role/atoll-dev-us-east-1-agent-execution")
    assert not [name for name in environment if name.endswith("_URL")]
    [api] = aws.client("apigateway").get_rest_apis()["items"]
    urls = json.loads(aws.client("ssm").get_parameter(Name=f"/atoll/{STAGE}/urls")["Parameter"]["Value"])
    assert urls["api"] == f"https://{api['id']}.execute-api.us-east-1.amazonaws.com/{STAGE}"
    assert ".lambda-url." in urls["mcp"]
    assert urls["api"] in made.output

    looked = run("--log-days", "14", "--dry-run")
    assert looked.exit_code == 0, looked.output
    assert "~ Logs::LogGroup AgentLogs" in looked.output
    assert "DynamoDB::Table" not in looked.output

    again = run()
    assert again.exit_code == 0, again.output
    # Parameters of the first deployment still apply, and the API is the same.
    assert chalice.environments[1:] == [environment]
    assert aws.client("apigateway").get_rest_apis()["items"] == [api]
    [group] = aws.client("logs").describe_log_groups(logGroupNamePrefix="/atoll/dev/agents")["logGroups"]
    assert group["retentionInDays"] == 7

    refused = run("--destroy", says="no\n")
    assert "Nothing was done" in refused.output
    assert len(stacks(aws)) == 3

    destroyed = run("--destroy", says=f"{STAGE}\n")
    assert destroyed.exit_code == 0, destroyed.output
    assert stacks(aws) == set()
    assert aws.client("lambda").list_functions()["Functions"] == []
    assert aws.client("apigateway").get_rest_apis()["items"] == []
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
    assert "imports what an earlier one has kept: Table atoll-dev-namespaces," in " ".join(back.output.split())
    assert stacks(aws) == {f"atoll-{STAGE}", f"atoll-{STAGE}-roles", f"atoll-{STAGE}-events"}
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
