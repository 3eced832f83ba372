"""What can be said of the templates and the package without running them."""

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint_file
from cfnlint.helpers import REGIONS
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from chalice.cli.factory import CLIFactory
from chalice.deploy.validate import validate_configuration

from chalicelib.reactions import turns
from chalicelib.reactions.reconciler import RUN_EVERY_MS
from chalicelib.settings import Settings
from chalicelib.wire.agent_file import FUNCTION_PREFIX
from chalicelib.workers.reconcile import MARGIN_MS
from infra.deploy import description
from tests import environments, packaged

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "infra/templates").glob("*.yaml"))

#: Lambda takes 50 MB, and a sandbox starts the sooner the less it has to load.
LARGEST_ZIP = 15_000_000

#: The regions without a resource that a template makes in each, as cfn-lint knows them: nothing of CloudFront is in
#: GovCloud's CloudFormation, and none of its functions in China's. Function URLs are made by a condition
#: (`tests/infra/test_regions.py`).
LACKING = {"address.yaml": {"cn-north-1", "cn-northwest-1", "us-gov-east-1", "us-gov-west-1"}}

#: How long a stream of DynamoDB keeps its records.
KEPT_BY_STREAMS_S = 86_400


@pytest.fixture(scope="session")
def checkov() -> Path:
    try:
        return environments.programs("checkov", Path(__file__).parent / "requirements.txt") / "checkov"
    except environments.NotInstallable as error:
        pytest.skip(f"checkov cannot be installed here: {error}")


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_cfn_lint_finds_nothing(template: Path) -> None:
    regions = [region for region in REGIONS if region not in LACKING.get(template.name, ())]
    assert [str(match) for match in lint_file(template, config=ManualArgs(regions=regions))] == []


def test_a_region_that_lacks_something_lacks_it_for_sure() -> None:
    wanted = {each["Type"] for each in description.address()["Resources"].values()}
    has_all = {region for region in REGIONS if wanted <= set(PROVIDER_SCHEMA_MANAGER.get_resource_types(region))}
    assert set(REGIONS) - has_all == LACKING["address.yaml"]


def test_checkov_finds_nothing_and_each_skip_has_its_reason(checkov: Path) -> None:
    files = [argument for template in TEMPLATES for argument in ("--file", str(template))]
    command = [str(checkov), *files, "--framework", "cloudformation", "--output", "json", "--skip-download", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert found["summary"]["failed"] == 0, found["results"]
    # The command prints only how many were skipped; the reasons are in the template.
    templates_read = [description.stack(), description.events(), description.address()]
    reasons = [
        skip["comment"]
        for template in templates_read
        for resource in template["Resources"].values()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert found["summary"]["skipped"] == len(reasons)
    assert all(len(reason) > 40 for reason in reasons)


def roles() -> description.Template:
    return description.roles("dev")


#: What has a name that is one for all regions of an account, and the property that is the name.
GLOBAL_NAMES = {
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::CloudFront::Function": "Name",
    "AWS::S3::Bucket": "BucketName",
}


@pytest.mark.parametrize("template", [description.stack, description.events, description.address, roles])
def test_a_stage_can_be_in_two_regions(template: Any) -> None:
    for logical_id, resource in template()["Resources"].items():
        name = resource["Properties"].get(GLOBAL_NAMES.get(resource["Type"], ""))
        assert name is None or "${AWS::Region}" in name["Fn::Sub"], logical_id


def test_chalice_names_no_role(tmp_path: Path) -> None:
    arns = {function: f"arn:of-the-role-of-{function}" for function in description.functions()}
    description.write_project(tmp_path / "project", "dev", environment={}, limits={}, traced=False, roles=arns)
    loaded = CLIFactory(str(tmp_path / "project")).create_config_obj("dev")
    for function, arn in arns.items():
        config = loaded.scope("dev", function)
        assert (config.manage_iam_role, config.iam_role_arn) == (False, arn)


@pytest.mark.parametrize("template", [description.stack, description.events, description.address, roles])
def test_a_call_can_carry_the_template(template: Any) -> None:
    assert len(description.body(template()).encode()) <= description.MAX_TEMPLATE_BYTES


#: How the secrets of every stage were generated.
_ALONE = {"PasswordLength": 64, "ExcludePunctuation": True}
_AS_CURRENT = {"SecretStringTemplate": "{}", "GenerateStringKey": "current", **_ALONE}
GENERATED = {
    "WebhookSecrets": _AS_CURRENT,
    "AgentKey": _ALONE,
    "OptionKey": _AS_CURRENT,
    "CustomToolSecret": _ALONE,
}


def test_no_template_generates_a_secret_anew() -> None:
    """An update generates a secret anew whose `GenerateSecretString` differs (CloudFormation, "Secret")."""
    resources = description.stack()["Resources"].items()
    secrets = {name: each["Properties"] for name, each in resources if each["Type"] == "AWS::SecretsManager::Secret"}
    generated = {name: each["GenerateSecretString"] for name, each in secrets.items() if name in GENERATED}
    assert generated == GENERATED


def test_what_holds_data_outlives_the_stack() -> None:
    resources = description.stack()["Resources"]
    stateful = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret", "AWS::SQS::Queue")
    for name, resource in resources.items():
        # Nothing is in what a creation made that failed: it goes, so that the next one does not find it in its way.
        policies = resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")
        expected = ("RetainExceptOnCreate", "Retain") if resource["Type"] in stateful else (None, None)
        assert policies == expected, name


def test_tables_are_encrypted_recoverable_and_paid_by_request() -> None:
    tables = [r["Properties"] for r in description.stack()["Resources"].values() if r["Type"] == "AWS::DynamoDB::Table"]
    assert len(tables) == 9
    for table in tables:
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        # With an AWS owned key: true is a key of KMS, which charges for each use (CloudFormation, "SSESpecification").
        assert table["SSESpecification"] == {"SSEEnabled": False}
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_state_machines_log_errors_without_content() -> None:
    resources = description.stack()["Resources"].values()
    machines = [each["Properties"] for each in resources if each["Type"] == "AWS::StepFunctions::StateMachine"]
    assert len(machines) == 2
    for machine in machines:
        assert machine["LoggingConfiguration"]["Level"] == "ERROR"
        assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False


def test_every_log_group_forgets() -> None:
    groups = [each for each in description.stack()["Resources"].values() if each["Type"] == "AWS::Logs::LogGroup"]
    for group in groups:
        audit = group["Properties"]["LogGroupName"]["Fn::Sub"].endswith("/audit")
        days = "AuditRetentionDays" if audit else "LogRetentionDays"
        assert group["Properties"]["RetentionInDays"] == {"Ref": days}
    names = {group["Properties"]["LogGroupName"]["Fn::Sub"] for group in groups}
    suffixes = {"" if function == "api_handler" else f"-{function}" for function in description.functions()}
    assert {f"/aws/lambda/atoll-${{Stage}}{suffix}" for suffix in suffixes} <= names


def test_functions_that_rules_and_subscriptions_call_have_a_destination_on_failure() -> None:
    resources = description.events()["Resources"].values()
    callers = {"events.amazonaws.com", "logs.amazonaws.com"}
    called = {
        each["Properties"]["FunctionName"]["Fn::Sub"]
        for each in resources
        if each["Type"] == "AWS::Lambda::Permission" and each["Properties"]["Principal"] in callers
    }
    expected = {
        each["Properties"]["FunctionName"]["Fn::Sub"]
        for each in resources
        if each["Type"] == "AWS::Lambda::EventInvokeConfig"
    }
    assert called == expected


def _watched(metric: str) -> dict[str, list[str]]:
    """Return the functions whose metric an alarm watches, by the alarm."""
    watched: dict[str, list[str]] = {}
    for name, resource in description.stack()["Resources"].items():
        for each in resource["Properties"].get("Metrics", []) if resource["Type"] == "AWS::CloudWatch::Alarm" else []:
            found = each.get("MetricStat", {}).get("Metric", {})
            if found.get("MetricName") == metric and found["Namespace"] == "AWS/Lambda":
                watched.setdefault(name, []).append(found["Dimensions"][0]["Value"]["Fn::Sub"])
    return watched


@pytest.mark.parametrize(("metric", "left_out"), [("Errors", set()), ("Throttles", {"on_log_lines"})])
def test_alarms_watch_each_function(metric: str, left_out: set[str]) -> None:
    watched = _watched(metric)
    # CloudWatch User Guide, "Using math expressions with CloudWatch metrics": an alarm takes ten metrics.
    assert all(len(names) <= 10 for names in watched.values())
    known = {name for names in watched.values() for name in names}
    wanted = set(description.functions()) - left_out
    assert known == {description.function_name("${Stage}", function) for function in wanted}


def test_the_dashboard_shows_each_function() -> None:
    [_, values] = description.stack()["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    for function in description.functions():
        assert description.function_name("${Stage}", function) + '\\"' in values["Functions"]["Fn::Sub"], function


def test_a_run_of_the_reconciler_is_over_before_the_next_begins() -> None:
    timeout_ms = description.config()["lambda_functions"]["reconcile"]["lambda_timeout"] * 1000
    assert description.stack()["Resources"]["ReconcileRule"]["Properties"]["ScheduleExpression"] == "rate(5 minutes)"
    assert 2 * MARGIN_MS < timeout_ms < RUN_EVERY_MS


def test_streams_keep_the_records_that_dead_letters_name() -> None:
    resources = description.events()["Resources"].values()
    mappings = [each["Properties"] for each in resources if each["Type"] == "AWS::Lambda::EventSourceMapping"]
    mappings = [each for each in mappings if "StartingPosition" in each]
    assert len(mappings) == 5
    assert all(mapping["MaximumRecordAgeInSeconds"] <= KEPT_BY_STREAMS_S // 2 for mapping in mappings)


def test_the_configuration_names_the_functions_of_the_app() -> None:
    from app import app

    assert {"api_handler", *(function.name for function in app.pure_lambda_functions)} == set(description.functions())


def test_cfn_lint_finds_nothing_in_the_roles(tmp_path: Path) -> None:
    file = tmp_path / "roles.json"
    file.write_text(description.body(roles()))
    assert [str(match) for match in lint_file(file, config=ManualArgs(regions=["us-east-1"]))] == []


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_chalice_accepts_the_configuration(stage: str, tmp_path: Path) -> None:
    """`chalice deploy` checks more than `chalice package`, before it does anything."""
    description.write_project(tmp_path / "project", stage, environment={}, limits={"mcp": 10}, traced=True)
    factory = CLIFactory(str(tmp_path / "project"))
    loaded = factory.create_config_obj(stage)
    from app import app

    loaded._user_provided_params["chalice_app"] = app
    validate_configuration(loaded)
    assert loaded.scope(stage, "mcp").reserved_concurrency == 10
    assert loaded.scope(stage, "mcp").environment_variables["ATOLL_STAGE"] == stage
    assert loaded.api_gateway_stage == stage


@pytest.mark.xdist_group("package")
def test_cfn_lint_finds_nothing_in_the_packaged_template() -> None:
    template = packaged.folder() / "template.json"
    assert [str(match) for match in lint_file(template, config=ManualArgs(regions=["us-east-1"]))] == []


@pytest.mark.xdist_group("package")
def test_the_package_is_small_and_carries_only_what_runs() -> None:
    file = packaged.folder() / "deployment.zip"
    assert file.stat().st_size <= LARGEST_ZIP
    with zipfile.ZipFile(file) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        unwanted = [name for name in archive.namelist() if "test" in Path(name).name or "/tests/" in name]
    carried = {_plain(top.split("-")[0]) for top in tops if top.endswith(".dist-info")}
    wanted = {_plain(line.split("==")[0]) for line in _pinned(ROOT / "requirements.txt")}
    assert carried == wanted
    assert not {"tests", "infra", "agents", "bench", "boto3", "botocore", "moto", "pytest"} & tops
    assert [name for name in unwanted if name.startswith("chalicelib")] == []


@pytest.mark.xdist_group("package")
def test_the_packaged_functions_are_those_that_the_stack_names() -> None:
    resources = packaged.template()["Resources"]
    names = {
        each["Properties"]["FunctionName"] for each in resources.values() if each["Type"] == "AWS::Serverless::Function"
    }
    suffixes = {"" if function == "api_handler" else f"-{function}" for function in description.functions()}
    assert names == {f"atoll-dev{suffix}" for suffix in suffixes}
    # Each has a role of its own.
    roles = [
        json.dumps(each["Properties"]["Role"])
        for each in resources.values()
        if each["Type"] == "AWS::Serverless::Function"
    ]
    assert len(set(roles)) == len(roles)


@pytest.mark.xdist_group("package")
def test_the_package_gives_functions_the_same_environment_as_the_deployment_in_steps() -> None:
    resources = packaged.template()["Resources"]
    expected = {
        variable: description.stack()["Outputs"][name]["Value"] for variable, name in description.ENVIRONMENT.items()
    }
    for each in resources.values():
        if each["Type"] == "AWS::Serverless::Function":
            variables = each["Properties"]["Environment"]["Variables"]
            assert {name: variables.get(name) for name in expected} == expected
            assert not [name for name in variables if name.endswith("_URL")]
    # The events stack's parameters come from the same outputs.
    mapping = resources["SessionsMapping"]["Properties"]
    assert mapping["FunctionName"] == {"Ref": "OnChange"}
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["SessionsTable", "StreamArn"]}
    assert resources["LogLinesSubscription"]["Properties"]["LogGroupName"] == {"Ref": "AgentLogs"}
    assert "${RestAPI}" in json.dumps(resources["StageUrls"]["Properties"]["Value"])


@pytest.mark.xdist_group("package")
def test_lambda_itself_logs_of_new_entries_only_what_fails() -> None:
    function = packaged.template()["Resources"]["OnEntry"]["Properties"]
    quiet = {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "WARN"}
    assert function["LoggingConfig"] == quiet


def _pinned(requirements: Path) -> list[str]:
    return [line for line in requirements.read_text().splitlines() if "==" in line]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def test_a_queue_waits_longer_than_its_function_and_a_turn_may_take() -> None:
    events = description.events()["Resources"].values()
    outputs, resources = description.stack()["Outputs"], description.stack()["Resources"]
    mappings = [each["Properties"] for each in events if each["Type"] == "AWS::Lambda::EventSourceMapping"]
    queues = {
        mapping["EventSourceArn"]["Ref"]: mapping["FunctionName"]["Fn::Sub"].rpartition("-")[2]
        for mapping in mappings
        if "StartingPosition" not in mapping
    }
    assert sorted(queues) == ["DeadlinesArn", "TurnsArn"]
    longest_s = Settings.model_fields["turn_limit_ms"].metadata[1].le / 1000
    for output, function in queues.items():
        queue = resources[outputs[output]["Value"]["Fn::GetAtt"][0]]["Properties"]
        timeout_s = description.config()["lambda_functions"][function]["lambda_timeout"]
        assert queue["VisibilityTimeout"] > timeout_s  # Lambda takes no mapping else
        assert timeout_s >= longest_s + turns.TURN_MARGIN_MS / 1000
        assert queue["VisibilityTimeout"] >= longest_s + turns.CLAIM_MARGIN_MS / 1000


def test_agents_functions_are_called_by_their_prefix_alone() -> None:
    names = {"Stage": "dev", "Account": "123456789012", "Region": "us-east-1", "Partition": "aws"}
    called = {
        (function, resource)
        for function in description.functions()
        for statement in description.policy(function, names)["Statement"]
        if "lambda:InvokeFunction" in statement["Action"]
        for resource in statement["Resource"]
    }
    assert called == {("run_turn", f"arn:aws:lambda:us-east-1:123456789012:function:{FUNCTION_PREFIX}*")}
