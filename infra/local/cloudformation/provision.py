"""Makes the resources of the templates, each type by the calls that CloudFormation makes."""

import json
import secrets
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra.local.cloudformation.templates import Maker, Resource, Stack, TemplateError, load

#: Resource types that have no effect on one machine.
_NOTHING_LOCAL = (
    "AWS::ApiGatewayV2::",
    "AWS::ApplicationAutoScaling::",
    "AWS::CloudWatch::",
    "AWS::EC2::",
    "AWS::IAM::",
    "AWS::KMS::",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Url",
    "AWS::Logs::",
    "AWS::Route53::",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::",
    "AWS::SQS::QueuePolicy",
    "AWS::SSM::",
    "AWS::XRay::",
)


class _Anything(dict[str, str]):
    """The attributes of a resource that is not made here: each has a placeholder value."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __contains__(self, attribute: object) -> bool:
        return True

    def __missing__(self, attribute: str) -> str:
        if attribute == "Arn":
            return f"arn:aws:iam::000000000000:role/{self._name}"
        return f"{self._name}-{attribute}"


class Provision:
    """Makes both templates' resources, and collects those that the local stack has to play by itself."""

    def __init__(
        self,
        folder: Path,
        *,
        stage: str,
        account: str,
        region: str,
        client: Callable[[str], Any],
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Parameters
        ----------
        parameters
            Parameters of the templates, above their defaults.
        client
            Returns the boto3 client of a service.
        """
        self._folder = folder
        self._account = account
        self._region = region
        self._client = client
        self._parameters = {
            "Stage": stage,
            "AWS::AccountId": account,
            "AWS::Region": region,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": f"atoll-{stage}",
            **(parameters or {}),
        }
        #: Properties of event source mappings, by the names of their tables.
        self.mappings: list[tuple[str, dict[str, Any]]] = []
        #: Properties of queues that a function takes messages of, each with those of its event source mapping.
        self.queues: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._queues: dict[str, dict[str, Any]] = {}
        #: Buckets with their ``LifecycleConfiguration``.
        self.lifecycles: list[tuple[str, dict[str, Any]]] = []
        #: Properties of the functions' asynchronous invocations.
        self.invoke_configs: list[dict[str, Any]] = []
        #: Schedules: the expression, the rule's ARN and its targets.
        self.schedules: list[tuple[str, str, list[dict[str, Any]]]] = []

    def make(self) -> None:
        """Make everything."""
        # The second template gets outputs of the first, and the REST API's id, which has no meaning here.
        shared = {"RestAPI": "local"}
        for file in ("stack.yaml", "events.yaml"):
            parameters = self._parameters | shared
            stack = Stack(load(self._folder / file), parameters=parameters, imports={}, maker=self._maker)
            stack.make()
            shared |= {name: value for name, value, _ in stack.outputs()}

    def _maker(self, kind: str) -> Maker:
        makers: dict[str, Maker] = {
            "AWS::DynamoDB::Table": self._table,
            "AWS::ECS::Cluster": self._cluster,
            "AWS::Events::EventBus": self._bus,
            "AWS::Events::Rule": self._rule,
            "AWS::Lambda::EventInvokeConfig": self._invoke_config,
            "AWS::Lambda::EventSourceMapping": self._mapping,
            "AWS::S3::Bucket": self._bucket,
            "AWS::SecretsManager::Secret": self._secret,
            "AWS::SQS::Queue": self._queue,
            "AWS::StepFunctions::StateMachine": self._state_machine,
        }
        if kind in makers:
            return makers[kind]
        if kind.startswith(_NOTHING_LOCAL):
            return lambda name, _: Resource(name, _Anything(name))
        raise TemplateError(f"the local stack knows no {kind}")

    def _table(self, name: str, properties: dict[str, Any]) -> Resource:
        wanted = ("TableName", "AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes")
        request = {key: properties[key] for key in wanted if key in properties}
        if "StreamSpecification" in properties:
            request["StreamSpecification"] = {"StreamEnabled": True, **properties["StreamSpecification"]}
        client = self._client("dynamodb")
        try:
            table = client.create_table(**request)["TableDescription"]
        except client.exceptions.ResourceInUseException:  # a DynamoDB that outlives the stack
            table = client.describe_table(TableName=properties["TableName"])["Table"]
        if "TimeToLiveSpecification" in properties:
            client.update_time_to_live(
                TableName=properties["TableName"], TimeToLiveSpecification=properties["TimeToLiveSpecification"]
            )
        stream = {"StreamArn": table["LatestStreamArn"]} if "LatestStreamArn" in table else {}
        return Resource(properties["TableName"], {"Arn": table["TableArn"], **stream})

    def _cluster(self, name: str, properties: dict[str, Any]) -> Resource:
        cluster = self._client("ecs").create_cluster(clusterName=properties["ClusterName"])["cluster"]
        return Resource(cluster["clusterName"], {"Arn": cluster["clusterArn"]})

    def _bus(self, name: str, properties: dict[str, Any]) -> Resource:
        arn = self._client("events").create_event_bus(Name=properties["Name"])["EventBusArn"]
        return Resource(properties["Name"], {"Arn": arn, "Name": properties["Name"]})

    def _rule(self, name: str, properties: dict[str, Any]) -> Resource:
        client = self._client("events")
        bus = {"EventBusName": properties["EventBusName"]} if "EventBusName" in properties else {}
        wanted: tuple[str, ...] = ("Name", "ScheduleExpression", "State")
        request = {key: properties[key] for key in wanted if key in properties}
        if "EventPattern" in properties:
            request["EventPattern"] = json.dumps(properties["EventPattern"])
        arn = client.put_rule(**request, **bus)["RuleArn"]
        targets = properties.get("Targets", [])
        if targets:
            client.put_targets(Rule=properties["Name"], Targets=targets, **bus)
        if "ScheduleExpression" in properties and properties.get("State") != "DISABLED":
            self.schedules.append((properties["ScheduleExpression"], arn, targets))
        return Resource(properties["Name"], {"Arn": arn})

    def _mapping(self, name: str, properties: dict[str, Any]) -> Resource:
        source = properties["EventSourceArn"]
        if ":sqs:" in source:
            self.queues.append((self._queues[source], properties))
            return Resource(name)
        table = source.split("/")[1]
        self.mappings.append((table, properties))
        return Resource(name)

    def _invoke_config(self, name: str, properties: dict[str, Any]) -> Resource:
        self.invoke_configs.append(properties)
        return Resource(name)

    def _bucket(self, name: str, properties: dict[str, Any]) -> Resource:
        bucket = properties["BucketName"]
        place = {} if self._region == "us-east-1" else {"LocationConstraint": self._region}
        self._client("s3").create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": place} if place else {}))
        self.lifecycles.append((bucket, properties.get("LifecycleConfiguration", {})))
        return Resource(bucket, {"Arn": f"arn:aws:s3:::{bucket}"})

    def _secret(self, name: str, properties: dict[str, Any]) -> Resource:
        text = properties.get("SecretString")
        if text is None:
            text = _generated(properties.get("GenerateSecretString", {}))
        arn = self._client("secretsmanager").create_secret(Name=properties["Name"], SecretString=text)["ARN"]
        return Resource(arn, {"Id": arn})

    def _queue(self, name: str, properties: dict[str, Any]) -> Resource:
        queue = properties["QueueName"]
        fifo = {"Attributes": {"FifoQueue": "true"}} if properties.get("FifoQueue") else {}
        url = self._client("sqs").create_queue(QueueName=queue, **fifo)["QueueUrl"]
        arn = f"arn:aws:sqs:{self._region}:{self._account}:{queue}"
        self._queues[arn] = properties
        return Resource(url, {"Arn": arn, "QueueName": queue, "QueueUrl": url})

    def _state_machine(self, name: str, properties: dict[str, Any]) -> Resource:
        definition = (self._folder / properties["DefinitionS3Location"]).read_text()
        for placeholder, value in properties.get("DefinitionSubstitutions", {}).items():
            definition = definition.replace("${" + placeholder + "}", value)
        arn = self._client("stepfunctions").create_state_machine(
            name=properties["StateMachineName"], definition=definition, roleArn=properties["RoleArn"]
        )["stateMachineArn"]
        return Resource(arn, {"Arn": arn, "Name": properties["StateMachineName"]})


def _generated(properties: dict[str, Any]) -> str:
    """Return a secret as ``GenerateSecretString`` makes one."""
    characters = string.ascii_letters + string.digits
    if not properties.get("ExcludePunctuation"):
        characters += string.punctuation
    password = "".join(secrets.choice(characters) for _ in range(int(properties.get("PasswordLength", 32))))
    if "GenerateStringKey" not in properties:
        return password
    return json.dumps({**json.loads(properties["SecretStringTemplate"]), properties["GenerateStringKey"]: password})
