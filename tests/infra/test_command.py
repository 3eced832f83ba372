"""The command line, from nothing to a busy stage and back, on an account as strict as AWS."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

import boto3
import pytest
import typer
from cfnlint.api import ManualArgs, lint
from typer.testing import CliRunner, Result

from chalicelib.settings import Settings
from infra.deploy import account, app, description, running
from infra.deploy import command as deploy
from tests.infra.strict_aws import ACCOUNT, REGION, StrictAws, Task

STACKS = {"atoll-dev", "atoll-dev-roles", "atoll-dev-events"}
LIFECYCLES = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:atoll-dev-session-lifecycle"
DELIVERIES = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:atoll-dev-webhook-delivery"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StrictAws:
    account = StrictAws()
    monkeypatch.setattr(boto3, "Session", account.session)
    monkeypatch.setattr(deploy, "BUILD", tmp_path)
    monkeypatch.setattr(app, "chalice", functools.partial(play_chalice, account))
    monkeypatch.setattr(running, "PAUSE_S", 0.0)
    return account


def play_chalice(aws: StrictAws, command: str, *_: str, project: Path, environment: Mapping[str, str | None]) -> None:
    """Do what Chalice does: make what the app has, and delete the rest of its record; packaging alone does nothing."""
    if command == "package":
        return
    recorded = json.loads((project / ".chalice/deployed/dev.json").read_text())["resources"]
    wanted = description.functions() if command == "deploy" else []
    aws.functions |= {description.function_name("dev", function) for function in wanted}
    if wanted and not any(each["name"] == "rest_api" for each in recorded):
        aws.apis[f"api{len(aws.apis)}"] = "atoll-dev"
    for each in recorded:
        if each["name"] in wanted or (wanted and each["name"] == "rest_api"):
            continue
        if each["resource_type"] == "rest_api":
            del aws.apis[each["rest_api_id"]]
        elif each["resource_type"] == "lambda_function":
            aws.functions.remove(each["lambda_arn"].rpartition(":")[2])


def run(*arguments: str, says: str = "") -> Result:
    app = typer.Typer()
    app.command()(deploy.main)
    return CliRunner().invoke(app, arguments, input=says)


def said(result: Result) -> str:
    return " ".join(result.output.split())


def data(aws: StrictAws) -> dict[tuple[str, str], int]:
    stateful = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret", "AWS::SQS::Queue")
    return {resource: number for resource, number in aws.resources.items() if resource[0] in stateful}


def busy(aws: StrictAws) -> None:
    for number in range(5):
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/atoll-dev/{number}"
        aws.tasks[arn] = Task(arn=arn)
        aws.executions[f"{LIFECYCLES.replace('stateMachine', 'execution')}:{number}"] = LIFECYCLES
    aws.executions[f"{DELIVERIES.replace('stateMachine', 'execution')}:1"] = DELIVERIES


def test_a_busy_stage_is_destroyed_and_made_again_with_its_data(aws: StrictAws) -> None:
    assert run().exit_code == 0
    stored = data(aws)
    busy(aws)

    destroyed = run("--destroy", "--yes")

    assert destroyed.exit_code == 0, destroyed.output
    assert "stop what runs: 6 executions" in said(destroyed)
    assert "and 5 tasks of agents" in said(destroyed)
    assert aws.executions == {}
    assert {task.last for task in aws.tasks.values()} == {"STOPPED"}
    assert aws.stacks == {}
    assert aws.resources == stored

    back = run()

    assert back.exit_code == 0, back.output
    assert aws.stacks.keys() == STACKS
    assert data(aws) == stored
    again = run()
    assert again.exit_code == 0, again.output
    assert "imports" not in again.output


def test_functions_log_as_is_described(aws: StrictAws) -> None:
    assert run("--dry-run").exit_code == 0
    assert aws.logging == {}
    assert run().exit_code == 0
    assert aws.logging == {f"atoll-dev-{name}": logging for name, logging in description.LOGGING.items()}


def test_an_address_is_made_when_it_is_asked_for_and_kept_until_the_end(aws: StrictAws) -> None:
    certificate = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/1"
    domain = ("--domain", "agents.example.com", "--certificate", certificate)
    assert run().exit_code == 0

    made = run("--address", *domain)

    assert made.exit_code == 0, made.output
    assert "its DNS record: a CNAME to addresshost" in said(made)
    assert aws.stacks.keys() == STACKS | {"atoll-dev-address"}
    values = dict(aws.stacks["atoll-dev-address"]["values"])
    urls = {each["OutputKey"]: each["OutputValue"] for each in aws.stacks["atoll-dev-events"]["Outputs"]}
    # A call of a model may last longer than CloudFront waits for an answer: agents have the function's own URL.
    del urls["ModelsUrl"]
    assert values == {"Stage": "dev", **urls, "DomainName": "agents.example.com", "CertificateArn": certificate}

    again = run("--alarm-email", "operator@example.com")
    assert again.exit_code == 0, again.output
    assert "CNAME" in said(again)
    assert aws.stacks["atoll-dev-address"]["values"] == values
    assert "there is none" not in run("--destroy", "--dry-run").output
    assert run("--destroy", "--yes").exit_code == 0
    assert aws.stacks == {}


def test_a_stage_without_an_address_has_none_to_destroy(aws: StrictAws) -> None:
    assert run().exit_code == 0
    looked = run("--destroy", "--dry-run")
    assert looked.exit_code == 0, looked.output
    assert "socket-paths, Distribution Address there is none 2. delete the stack atoll-dev-events" in said(looked)
    assert run("--destroy", "--yes").exit_code == 0


def test_a_dry_run_shows_the_address_of_a_new_stage_and_of_an_old_one(aws: StrictAws) -> None:
    new = run("--dry-run", "--address")
    assert new.exit_code == 0, new.output
    assert "+ CloudFront::Distribution Address" in said(new)
    assert aws.stacks == {}
    assert run().exit_code == 0
    assert "+ CloudFront::Distribution Address" in said(run("--dry-run", "--address"))
    assert aws.stacks.keys() == STACKS


def test_a_domain_without_a_certificate_is_refused_before_anything_is_done(aws: StrictAws) -> None:
    refused = run("--address", "--domain", "agents.example.com")
    assert refused.exit_code == 1
    assert "--domain and --certificate go together" in said(refused)
    assert aws.stacks == {}


def test_what_does_not_stop_is_named_and_the_stack_is_left(aws: StrictAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "PAUSES", 3)
    assert run().exit_code == 0
    aws.tasks["arn:of-a-task"] = Task(arn="arn:of-a-task", stops=False)

    answer = run("--destroy", "--yes")

    assert answer.exit_code == 1
    assert "0 executions and 1 tasks are not over after 0 seconds (arn:of-a-task)" in said(answer)
    assert "atoll-dev" in aws.stacks


def test_nothing_is_stopped_before_the_stage_is_named(aws: StrictAws) -> None:
    assert run().exit_code == 0
    busy(aws)
    assert "Nothing was done" in run("--destroy", says="no\n").output
    assert len(aws.executions) == 6
    assert {task.desired for task in aws.tasks.values()} == {"RUNNING"}


def test_a_first_deployment_that_fails_leaves_nothing_and_can_be_repeated(aws: StrictAws) -> None:
    aws.refuses = "Cluster"
    assert run().exit_code == 1
    assert aws.resources == {}

    aws.refuses = ""
    again = run()

    assert again.exit_code == 0, again.output
    assert "imports" not in again.output


def test_a_deployment_that_fails_after_taking_in_can_be_repeated(aws: StrictAws) -> None:
    assert run().exit_code == 0
    stored = data(aws)
    assert run("--destroy", "--yes").exit_code == 0
    aws.refuses = "Cluster"
    assert run().exit_code == 1
    assert data(aws) == stored

    aws.refuses = ""
    again = run()

    assert again.exit_code == 0, again.output
    assert "Subnets=subnet-1" in said(again)  # the stack has none yet
    assert data(aws) == stored


def test_only_what_is_there_is_taken_in(aws: StrictAws) -> None:
    assert run().exit_code == 0
    assert run("--destroy", "--yes").exit_code == 0
    stored = data(aws)
    del aws.resources["AWS::SQS::Queue", "atoll-dev-dead-letters"]
    del aws.resources["AWS::SecretsManager::Secret", "atoll-dev/agent-key"]

    back = run()

    assert back.exit_code == 0, back.output
    assert data(aws).keys() == stored.keys()


def test_what_an_older_creation_left_when_it_failed_is_taken_in(aws: StrictAws) -> None:
    aws.stacks["atoll-dev"] = {"StackStatus": "ROLLBACK_COMPLETE"}
    aws.resources["AWS::DynamoDB::Table", "atoll-dev-sessions"] = -1

    made = run()

    assert made.exit_code == 0, made.output
    assert aws.resources["AWS::DynamoDB::Table", "atoll-dev-sessions"] == -1


def test_what_is_taken_in_needs_nothing_else_of_the_template(aws: StrictAws) -> None:
    assert run().exit_code == 0
    kept = account.look(aws.session(), "prod").kept
    assert kept == ()
    assert run("--destroy", "--yes").exit_code == 0
    kept = account.look(aws.session(), "dev").kept
    body = description.body(description.only(description.stack(), [each.logical_id for each in kept]))
    assert len(json.loads(body)["Resources"]) == len(data(aws)) == 19
    assert [str(match) for match in lint(body, config=ManualArgs(regions=[REGION]))] == []


def test_a_dry_run_shows_the_change_sets_and_leaves_nothing(aws: StrictAws) -> None:
    looked = run("--dry-run")

    assert looked.exit_code == 0, looked.output
    assert "+ DynamoDB::Table SessionsTable" in said(looked)  # the change set's
    assert "+ function mcp" in said(looked)
    assert "+ Lambda::EventSourceMapping SessionsMapping" in said(looked)
    assert (aws.stacks, aws.resources, aws.functions, aws.apis) == ({}, {}, set(), {})


def test_a_dry_run_of_an_update_shows_what_it_changes(aws: StrictAws, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run().exit_code == 0
    before = {name: dict(stack) for name, stack in aws.stacks.items()}
    newer = description.stack()
    newer["Resources"]["EventBus"]["Properties"]["Description"] = "another"
    monkeypatch.setattr(description, "stack", lambda: newer)

    looked = run("--dry-run")

    assert looked.exit_code == 0, looked.output
    assert [line.strip() for line in looked.output.splitlines() if "::" in line] == ["~ Events::EventBus EventBus"]
    assert "~ function mcp" in said(looked)
    assert aws.stacks == before


def test_a_dry_run_over_what_was_kept_shows_what_is_taken_in(aws: StrictAws) -> None:
    assert run().exit_code == 0
    assert run("--destroy", "--yes").exit_code == 0
    stored = data(aws)

    looked = run("--dry-run")

    assert looked.exit_code == 0, looked.output
    assert "> DynamoDB::Table SessionsTable" in said(looked)
    assert "+ DynamoDB::Table SessionsTable" not in said(looked)
    assert "+ ECS::Cluster Cluster" in said(looked)
    assert aws.stacks == {}
    assert data(aws) == stored


def test_a_stack_whose_import_was_rolled_back_is_made_anew_unless_it_has_resources(aws: StrictAws) -> None:
    aws.stacks["atoll-dev"] = {"StackStatus": "IMPORT_ROLLBACK_COMPLETE"}
    made = run()
    assert made.exit_code == 0, made.output
    stored = dict(aws.resources)
    aws.stacks["atoll-dev"]["StackStatus"] = "IMPORT_ROLLBACK_COMPLETE"
    assert run("--alarm-email", "operator@example.com").exit_code == 0
    assert aws.resources == stored, "and nothing was made anew"


@pytest.mark.parametrize(
    ("option", "way_out", "refused"),
    [
        (
            "--private",
            {"GatewayId": "igw-1"},
            "subnet-1 lead to an internet gateway, which takes nobody",
        ),
        ("--private", {"NatGatewayId": "nat-1"}, ""),
        ("--public-ip", {"GatewayId": "igw-1"}, ""),
        ("--private", {"NatGatewayId": "nat-1", "State": "blackhole"}, "no default route leads out of subnet-1"),
    ],
)
def test_agents_need_a_way_out(aws: StrictAws, option: str, way_out: dict[str, str], refused: str) -> None:
    aws.way_out = way_out
    answer = run(option)
    assert answer.exit_code == (1 if refused else 0), answer.output
    assert refused in said(answer)
    assert bool(aws.stacks) is not bool(refused)


@pytest.mark.parametrize("stage", ["dev-mcp", "prod-events", "a-reconcile", "x-roles"])
def test_a_stage_with_names_of_another_is_refused(aws: StrictAws, stage: str, tmp_path: Path) -> None:
    for arguments in ([], ["--package", str(tmp_path)]):
        refused = run("--stage", stage, *arguments)
        assert refused.exit_code == 1
        assert f"no stage can be '{stage}'" in said(refused)


def test_a_dry_run_over_a_creation_that_failed_deletes_nothing(aws: StrictAws) -> None:
    aws.stacks["atoll-dev"] = {"StackStatus": "ROLLBACK_COMPLETE"}
    assert run("--dry-run").exit_code == 0
    assert aws.stacks.keys() == {"atoll-dev"}


def test_what_a_deployment_of_the_functions_left_is_taken_up(aws: StrictAws) -> None:
    of_others = {"atoll-prod-mcp", "atoll-dev-x-mcp", "atoll-dev-of_somebody"}
    older = "atoll-dev-of_an_older_version"
    aws.functions |= {"atoll-dev", "atoll-dev-mcp", older, *of_others}
    aws.tagged.add(older)
    aws.apis |= {"others": "atoll-prod", "first": "atoll-dev", "second": "atoll-dev"}

    made = run()

    assert made.exit_code == 0, made.output
    assert aws.apis == {"others": "atoll-prod", "first": "atoll-dev"}
    ours = {description.function_name("dev", function) for function in description.functions()}
    assert aws.functions == ours | of_others
    assert aws.stacks["atoll-dev-events"]["values"]["RestAPI"] == "first"

    assert run("--destroy", "--yes").exit_code == 0
    assert aws.functions == of_others
    assert aws.apis == {"others": "atoll-prod"}


def test_an_update_of_nothing_but_outputs_is_carried_out(aws: StrictAws, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run().exit_code == 0
    newer = description.stack()
    newer["Outputs"]["Another"] = {"Value": "another"}
    monkeypatch.setattr(description, "stack", lambda: newer)
    assert "only outputs" in said(run("--dry-run"))
    assert "Another" not in json.dumps(aws.stacks["atoll-dev"]["Outputs"])
    assert run().exit_code == 0
    assert "Another" in json.dumps(aws.stacks["atoll-dev"]["Outputs"])


def test_a_stage_has_an_access_log_for_as_long_as_that_is_said(aws: StrictAws) -> None:
    for options, logged in ([], False), (["--access-log"], True), ([], True), (["--no-access-log"], False):
        assert run(*options).exit_code == 0
        assert bool(aws.access_logs) is logged


def test_functions_get_the_outputs_of_the_stack(aws: StrictAws, tmp_path: Path) -> None:
    assert run("--tracing").exit_code == 0
    config = json.loads((tmp_path / "dev/.chalice/config.json").read_text())["stages"]["dev"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in aws.stacks["atoll-dev"]["Outputs"]}
    environment = {name: outputs[output] for name, output in description.ENVIRONMENT.items()}
    assert config["environment_variables"] == {"ATOLL_STAGE": "dev", **environment}
    assert environment.keys() <= {f"ATOLL_{name.upper()}" for name in Settings.model_fields}
    assert config["lambda_functions"]["mcp"]["reserved_concurrency"] == 50
