"""A strict account that also answers what is only looked at, and notes each call by the action that IAM asks for."""

import json
from typing import Any

from infra.deploy import description
from tests.infra.strict_aws import ACCOUNT, PAGE, REGION, Refused, StrictAws

#: The services' prefixes in IAM, where they differ from those of signatures.
_PREFIXES = {"monitoring": "cloudwatch", "servicequotas": "servicequotas"}

#: What IAM asks for calls whose action has another name (Service Authorization Reference).
_ACTIONS = {"s3:HeadBucket": "s3:ListBucket"}


def action_of(model: Any) -> str:
    """Return the action that IAM asks for an operation of botocore's models."""
    service = model.service_model.signing_name
    name = model.http["method"] if service == "apigateway" else model.name
    action = f"{_PREFIXES.get(service, service)}:{name}"
    return _ACTIONS.get(action, action)


class ReadableAccount(StrictAws):
    """An account in which a stage can be deployed, unless a test says otherwise."""

    def __init__(self) -> None:
        super().__init__()
        #: The actions that were asked for.
        self.actions: set[str] = set()
        #: Calls that answer that they are not allowed.
        self.unreadable: set[str] = set()
        #: Actions that the deployer lacks.
        self.lacks: set[str] = set()
        self.caller = f"arn:aws:sts::{ACCOUNT}:assumed-role/deployer/somebody"
        self.executions_at_once = 1000
        self.vcpus: float | None = 4000
        self.roles = {"AWSServiceRoleForECS", "deployer"}
        self.deleted_secrets: set[str] = set()
        self.subnets = [_subnet("subnet-1", "use1-az1"), _subnet("subnet-2", "use1-az2")]
        self.routes: dict[str, str] = {"": "igw-1"}
        #: ACM's certificates and WAF's web ACLs, by their ARNs.
        self.certificates: dict[str, dict[str, Any]] = {}
        self.web_acls: set[str] = set()
        self.distributions: list[dict[str, Any]] = []
        #: The role with which API Gateway is to write logs, and the roles that it may assume.
        self.log_role = f"arn:aws:iam::{ACCOUNT}:role/logs"
        self.of_api_gateway = ["logs"]

    def _answer(self, model: Any, context: dict[str, Any], **rest: Any) -> tuple[Any, dict[str, Any]]:
        self.actions.add(action_of(model))
        if model.name in self.unreadable:
            context["asked"] = {"refused": model.name}
            return super()._answer(_Refusing(model), context, **rest)
        return super()._answer(model, context, **rest)

    def refuse(self, refused: str) -> None:
        raise Refused("AccessDenied", f"not authorized to perform {refused}")

    def get_caller_identity(self) -> dict[str, Any]:
        return {"Account": ACCOUNT, "Arn": self.caller}

    def get_account_settings(self) -> dict[str, Any]:
        limit = self.executions_at_once
        return {"AccountLimit": {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": limit}}

    def get_service_quota(self, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:
        if self.vcpus is None:
            raise Refused("NoSuchResourceException")
        return {"Quota": {"Value": self.vcpus}}

    def get_aws_default_service_quota(self, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:
        return {"Quota": {"Value": 6}}

    def get_role(self, RoleName: str) -> dict[str, Any]:
        if RoleName not in self.roles and ("AWS::IAM::Role", RoleName) not in self.resources:
            raise Refused("NoSuchEntity", RoleName)
        return {"Role": {"RoleName": RoleName, "Arn": f"arn:aws:iam::{ACCOUNT}:role/of/{RoleName}"}}

    def simulate_principal_policy(self, PolicySourceArn: str, ActionNames: list[str], **asked: Any) -> dict[str, Any]:
        if PolicySourceArn != f"arn:aws:iam::{ACCOUNT}:role/of/deployer":
            raise Refused("NoSuchEntity", PolicySourceArn)
        if any("*" in arn for arn in asked.get("ResourceArns", [])):
            raise Refused("InvalidInput", "a star is no name")
        if any("*" in value for each in asked.get("ContextEntries", []) for value in each["ContextKeyValues"]):
            raise Refused("InvalidInput", "a star is no value")
        decisions = {action: "implicitDeny" if action in self.lacks else "allowed" for action in ActionNames}
        return {
            "EvaluationResults": [
                {"EvalActionName": action, "EvalDecision": decision} for action, decision in decisions.items()
            ]
        }

    # What an address and an access log need

    def describe_certificate(self, CertificateArn: str) -> dict[str, Any]:
        if CertificateArn not in self.certificates:
            raise Refused("ResourceNotFoundException", CertificateArn)
        return {"Certificate": self.certificates[CertificateArn]}

    def get_web_acl(self, Name: str, Scope: str, Id: str) -> dict[str, Any]:
        if f"arn:aws:wafv2:us-east-1:{ACCOUNT}:global/webacl/{Name}/{Id}" not in self.web_acls:
            raise Refused("WAFNonexistentItemException", Name)
        return {"WebACL": {"Name": Name}}

    def list_distributions(self, Marker: str = "0", **_: Any) -> dict[str, Any]:
        page = self.distributions[int(Marker) : int(Marker) + PAGE]
        after = int(Marker) + PAGE
        more = {"IsTruncated": True, "NextMarker": str(after)} if after < len(self.distributions) else {}
        return {"DistributionList": {"IsTruncated": False, **more, **({"Items": page} if page else {})}}

    def get_account(self) -> dict[str, Any]:
        return {"cloudwatchRoleArn": self.log_role} if self.log_role else {}

    def list_roles(self, Marker: str = "0", **_: Any) -> dict[str, Any]:
        made = {name for kind, name in self.resources if kind == "AWS::IAM::Role"}
        services = dict.fromkeys(made | self.roles, "lambda.amazonaws.com")
        services |= dict.fromkeys(self.of_api_gateway, "apigateway.amazonaws.com")
        roles = [
            {
                "RoleName": name,
                "Arn": f"arn:aws:iam::{ACCOUNT}:role/{name}",
                "AssumeRolePolicyDocument": _assumed_by(service),
            }
            for name, service in sorted(services.items())
        ]
        after = int(Marker) + PAGE
        more = {"IsTruncated": True, "Marker": str(after)} if after < len(roles) else {"IsTruncated": False}
        return {"Roles": roles[int(Marker) : after], **more}

    # The network

    def describe_subnets(self, Filters: list[dict[str, Any]] = [], **_: Any) -> dict[str, Any]:  # noqa: B006
        wanted = {value for each in Filters if each["Name"] == "subnet-id" for value in each["Values"]}
        return {"Subnets": [each for each in self.subnets if not wanted or each["SubnetId"] in wanted]}

    def describe_route_tables(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:
        return {"RouteTables": [_table(subnet, gateway) for subnet, gateway in self.routes.items()]}

    def describe_security_groups(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:
        egress = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        return {"SecurityGroups": [{"GroupId": "sg-1", "VpcId": "vpc-1", "IpPermissionsEgress": [egress]}]}

    # Names

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        found = super().describe_stacks(StackName)
        for output in found["Stacks"][0].get("Outputs", []):
            if output["OutputKey"] == "Subnets":  # is joined from the parameter
                output["OutputValue"] = found["Stacks"][0]["values"]["Subnets"]
        return found

    def list_stack_resources(self, StackName: str) -> dict[str, Any]:
        resources = self.stacks[StackName]["template"]["Resources"].items()
        summaries = [{"LogicalResourceId": name, "ResourceType": each["Type"]} for name, each in resources]
        return {"StackResourceSummaries": summaries}

    def describe_secret(self, SecretId: str) -> dict[str, Any]:
        if SecretId in self.deleted_secrets:
            return {"ARN": SecretId, "DeletedDate": 0}
        return super().describe_secret(SecretId)

    def describe_state_machine(self, stateMachineArn: str) -> None:
        self._must_be(
            "AWS::StepFunctions::StateMachine", stateMachineArn.rpartition(":")[2], "StateMachineDoesNotExist"
        )

    def describe_clusters(self, clusters: list[str]) -> dict[str, Any]:
        there = [name for name in clusters if ("AWS::ECS::Cluster", name) in self.resources]
        return {"clusters": [{"clusterName": name, "status": "ACTIVE"} for name in there]}

    def describe_log_groups(self, logGroupNamePrefix: str) -> dict[str, Any]:
        groups = [name for kind, name in self.resources if kind == "AWS::Logs::LogGroup"]
        return {"logGroups": [{"logGroupName": name} for name in groups if name.startswith(logGroupNamePrefix)]}

    def get_topic_attributes(self, TopicArn: str) -> None:
        self._must_be("AWS::SNS::Topic", TopicArn.rpartition(":")[2], "NotFound")

    def describe_event_bus(self, Name: str) -> None:
        self._must_be("AWS::Events::EventBus", Name, "ResourceNotFoundException")

    def describe_rule(self, Name: str) -> None:
        self._must_be("AWS::Events::Rule", Name, "ResourceNotFoundException")

    def describe_alarms(self, AlarmNames: list[str]) -> dict[str, Any]:
        there = [name for name in AlarmNames if ("AWS::CloudWatch::Alarm", name) in self.resources]
        return {"MetricAlarms": [{"AlarmName": name} for name in there]}

    def get_dashboard(self, DashboardName: str) -> None:
        self._must_be("AWS::CloudWatch::Dashboard", DashboardName, "ResourceNotFound")

    def get_parameters(self, Names: list[str]) -> dict[str, Any]:
        there = [name for name in Names if ("AWS::SSM::Parameter", name) in self.resources]
        return {"Parameters": [{"Name": name} for name in there]}


class _Refusing:
    """A model of an operation that is refused."""

    name = "Refuse"

    def __init__(self, model: Any) -> None:
        self.service_model = model.service_model


def _assumed_by(service: str) -> str:
    return json.dumps({"Statement": [{"Effect": "Allow", "Principal": {"Service": service}}]})


def _subnet(name: str, zone: str, vpc: str = "vpc-1") -> dict[str, Any]:
    place = {"SubnetId": name, "VpcId": vpc, "AvailabilityZoneId": zone}
    return {**place, "AvailableIpAddressCount": 4091, "MapPublicIpOnLaunch": True}


def _table(subnet: str, gateway: str) -> dict[str, Any]:
    """Return a route table of a subnet, or the main one for no subnet."""
    local = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"}
    key = "NatGatewayId" if gateway.startswith("nat-") else "GatewayId"
    out = {"DestinationCidrBlock": "0.0.0.0/0", key: gateway, "State": "active"}
    return {
        "Associations": [{"SubnetId": subnet} if subnet else {"Main": True}],
        "Routes": [local, out] if gateway else [local],
    }


def log_group_of_a_late_invocation() -> tuple[str, str]:
    """Return what Lambda makes when a function runs after its log group was deleted."""
    return "AWS::Logs::LogGroup", f"/aws/lambda/{description.function_name('dev', 'reconcile')}"


__all__ = ["ACCOUNT", "REGION", "ReadableAccount", "action_of", "log_group_of_a_late_invocation"]
