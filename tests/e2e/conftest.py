"""A stage of Atoll on ministack, deployed from the packaged template as a pipeline would."""

import json
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain import api_keys
from chalicelib.services import Services
from chalicelib.settings import Settings
from tests import packaged
from tests.client import Client
from tests.e2e.containers import Containers
from tests.e2e.ministack import Ministack
from tests.environments import NotInstallable

ROOT = Path(__file__).parents[2]
STACK = f"atoll-{packaged.STAGE}"
KEY = "an API key of this test"


class Stage:
    """A deployed stage, as its owner sees it."""

    def __init__(self, aws: Ministack, outputs: dict[str, str]) -> None:
        self.aws = aws
        self.outputs = outputs
        self.url = f"{aws.url}/restapis/{outputs['RestAPIId']}/{packaged.STAGE}/_user_request_"
        self.client = Client(self.url, KEY)
        endpoint = outputs["McpUrl"].rstrip("/")
        #: Where a process of this machine reaches the URLs that the functions give agents.
        self.reachable = {
            endpoint: f"{aws.url}/_aws/lambda-url/{endpoint.removeprefix('https://').split('.')[0]}",
            outputs["EndpointURL"].rstrip("/"): self.url,
        }

    def containers(self) -> Containers:
        """Return what runs this stage's tasks."""
        return Containers(self.aws.client, STACK, self.reachable)

    def secret(self, name: str) -> str:
        """Return a secret of the stage."""
        return str(self.aws.client("secretsmanager").get_secret_value(SecretId=f"{STACK}/{name}")["SecretString"])

    def register(self, agent: str) -> None:
        """Add an example agent to the registry."""
        text = (ROOT / f"agents/{agent}/coral-agent.toml").read_text()
        version = tomllib.loads(text)["agent"]["version"]
        answer = self.client.call(
            "PUT", f"/api/v1/registry/local/{agent}/{version}", text.encode(), {"Content-Type": "application/toml"}
        )
        assert answer.status == 200, answer


def as_ministack_takes_it(template: dict[str, Any]) -> dict[str, Any]:
    """Leave out what ministack does not know: alarms on sums of metrics, deployments of WebSocket APIs, TLS (which the
    bucket insists on), and what these actions are limited to.

    Sending several messages at once is an action of its own there. It holds calls of ECS against the ARN of the cluster
    and knows no ``ecs:cluster``, has no ARN for an answer to a task token, and holds ``logs:GetLogEvents`` against the
    log group, where AWS has the stream (``…:log-group:name:log-stream:name``).
    """
    resources = template["Resources"]
    kept = {name: each for name, each in resources.items() if "Metrics" not in each.get("Properties", {})}
    assert {resources[name]["Type"] for name in resources.keys() - kept.keys()} <= {"AWS::CloudWatch::Alarm"}
    kept.pop("BodiesBucketPolicy", None)
    if kept.pop("SocketsDeployment1", None):
        del kept["SocketsStage"]["Properties"]["DeploymentId"]
    for role in (each for each in kept.values() if each["Type"] == "AWS::IAM::Role"):
        for policy in role["Properties"].get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = statement.get("Action", [])
                if "sqs:SendMessage" in actions and isinstance(actions, list):
                    actions.append("sqs:SendMessageBatch")
                if {"states:SendTaskSuccess", "states:SendTaskFailure", "logs:GetLogEvents"} & {*actions} or any(
                    action.startswith("ecs:") for action in actions
                ):
                    statement["Resource"] = "*"
                    statement.pop("Condition", None)
    return {**template, "Resources": kept}


@pytest.fixture(scope="session")
def aws() -> Iterator[Ministack]:
    try:
        running = Ministack()
    except NotInstallable as error:
        pytest.skip(f"ministack cannot be installed here: {error}")
    with running:
        yield running


@pytest.fixture(scope="session")
def stage(aws: Ministack) -> Stage:
    template = as_ministack_takes_it(packaged.template())
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="artifacts")
    s3.upload_file(str(packaged.folder() / "deployment.zip"), "artifacts", "deployment.zip")
    body = json.dumps(template).replace('"./deployment.zip"', '"s3://artifacts/deployment.zip"')
    s3.put_object(Bucket="artifacts", Key="template.json", Body=body)
    outputs = _create_stack(aws)
    let_webhooks_reach_this_machine(aws)
    services = Services(Settings(stage=packaged.STAGE))
    services.__dict__["dynamodb"] = aws.client("dynamodb")
    api_keys.put(services, KEY, "e2e")
    made = Stage(aws, outputs)
    for agent in ("seed", "echo"):
        made.register(agent)
    return made


def _create_stack(aws: Ministack) -> dict[str, str]:
    ec2 = aws.client("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    parameters = {"VpcId": vpc, "Subnets": ",".join(subnet["SubnetId"] for subnet in subnets)}
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(
        StackName=STACK,
        TemplateURL=f"{aws.url}/artifacts/template.json",
        Capabilities=["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            break
        time.sleep(0.1)
    events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
    failed = [event.get("ResourceStatusReason") for event in events if "FAILED" in event["ResourceStatus"]]
    assert stack["StackStatus"] == "CREATE_COMPLETE", failed
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def let_webhooks_reach_this_machine(aws: Ministack) -> None:
    """The receiver of the test is on loopback, which a deployment refuses to call unless a setting allows it."""
    client = aws.client("lambda")
    name = f"{STACK}-deliver_webhook"
    variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    variables["ATOLL_ALLOW_PRIVATE_ADDRESSES"] = "true"
    client.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
