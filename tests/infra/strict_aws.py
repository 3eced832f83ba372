"""An account, as far as deploying and destroying a stage see it, that refuses what AWS refuses and emulators allow.

Its clients are boto3's own, with their checks of parameters, paginators and waiters: only what goes over the wire is
played. Of resources it knows those that have a name.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import botocore.session
from boto3.session import Session
from botocore import xform_name
from botocore.loaders import create_loader
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from infra.deploy import description

ACCOUNT = "123456789012"
REGION = "us-east-1"

#: Reads each service's description once for all sessions.
LOADER = create_loader()

#: How many a page of a list holds, so that few are enough for several pages.
PAGE = 2

Resource = tuple[str, str]


class Refused(Exception):
    """AWS refuses a call."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Task:
    """A task of the cluster."""

    arn: str
    desired: str = "RUNNING"
    last: str = "RUNNING"
    stops: bool = True


class StrictAws:
    """One account and region."""

    def __init__(self) -> None:
        #: Every named resource that there is, with the number of its creation.
        self.resources: dict[Resource, int] = {}
        self.stacks: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, Task] = {}
        #: The executions that are not over, and the state machine of each.
        self.executions: dict[str, str] = {}
        #: The names of the functions that there are, and the ids of REST APIs by the functions that they call.
        self.functions: set[str] = set()
        self.apis: dict[str, str] = {}
        #: How functions log, by their names; as Lambda does it by itself when they have none.
        self.logging: dict[str, dict[str, str]] = {}
        #: The settings of their stages' access logs.
        self.access_logs: dict[str, dict[str, str]] = {}
        #: The functions that have the tag of Chalice, for the stage dev.
        self.tagged: set[str] = set()
        #: Where the default route of the subnets leads.
        self.way_out = {"GatewayId": "igw-1"}
        #: Logical ID of a resource that cannot be created.
        self.refuses: str = ""
        self._change_sets: dict[str, dict[str, Any]] = {}
        self._made = 0

    def session(self, **_: Any) -> Session:
        """Return a session whose calls are answered here."""
        core = botocore.session.get_session()
        core.register_component("data_loader", LOADER)
        session = Session("of", "nobody", region_name=REGION, botocore_session=core)
        session.events.register("provide-client-params", self._note)
        # The stubs say that nothing is answered; what is answered here is the call's result.
        session.events.register("before-call", self._answer)  # type: ignore[arg-type]
        return session

    @staticmethod
    def _note(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["asked"] = params

    def _answer(self, model: Any, context: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        operation: Callable[..., dict[str, Any] | None] = getattr(self, xform_name(model.name))
        try:
            return SimpleNamespace(status_code=200), operation(**context["asked"]) or {}
        except Refused as refused:
            return SimpleNamespace(status_code=400), {"Error": {"Code": refused.code, "Message": str(refused)}}

    # The account

    def get_caller_identity(self) -> dict[str, Any]:
        return {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/any"}

    def describe_vpcs(self, **_: Any) -> dict[str, Any]:
        return {"Vpcs": [{"VpcId": "vpc-1"}]}

    def describe_subnets(self, **_: Any) -> dict[str, Any]:
        where = {"AvailabilityZone": f"{REGION}a", "AvailabilityZoneId": "use1-az1", "AvailableIpAddressCount": 99}
        return {"Subnets": [{"SubnetId": "subnet-1", "VpcId": "vpc-1", "MapPublicIpOnLaunch": True, **where}]}

    def describe_route_tables(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:
        route = {"DestinationCidrBlock": "0.0.0.0/0", "State": "active", **self.way_out}
        return {"RouteTables": [{"Routes": [route], "Associations": [{"Main": True}]}]}

    def get_account_settings(self) -> dict[str, Any]:
        return {"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}}

    def get_function_concurrency(self, **_: Any) -> dict[str, Any]:
        raise Refused("ResourceNotFoundException")

    # What outlives a stack

    def describe_table(self, TableName: str) -> None:
        self._must_be("AWS::DynamoDB::Table", TableName, "ResourceNotFoundException")

    def head_bucket(self, Bucket: str) -> None:
        self._must_be("AWS::S3::Bucket", Bucket, "404")

    def describe_secret(self, SecretId: str) -> dict[str, Any]:
        self._must_be("AWS::SecretsManager::Secret", SecretId, "ResourceNotFoundException")
        return {"ARN": self._identifier(("AWS::SecretsManager::Secret", SecretId))}

    def get_queue_url(self, QueueName: str) -> dict[str, Any]:
        self._must_be("AWS::SQS::Queue", QueueName, "AWS.SimpleQueueService.NonExistentQueue")
        return {"QueueUrl": self._identifier(("AWS::SQS::Queue", QueueName))}

    def _must_be(self, kind: str, name: str, code: str) -> None:
        if (kind, name) not in self.resources:
            raise Refused(code, name)

    def _identifier(self, resource: Resource) -> str:
        kind, name = resource
        if kind == "AWS::SecretsManager::Secret":
            return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-{self.resources[resource]:06}"
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"
        return name

    # The app

    def list_functions(self, Marker: str = "0", **_: Any) -> dict[str, Any]:
        functions = [
            {
                "FunctionName": name,
                "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}",
                "Role": f"arn:aws:iam::{ACCOUNT}:role/{name}",
            }
            for name in sorted(self.functions)
        ]
        page = _page("Functions", functions, Marker)
        return {"NextMarker" if key == "nextToken" else key: value for key, value in page.items()}

    def update_function_configuration(self, FunctionName: str, LoggingConfig: dict[str, str]) -> None:
        if FunctionName not in self.functions:
            raise Refused("ResourceNotFoundException", FunctionName)
        self.logging[FunctionName] = LoggingConfig

    def list_tags(self, Resource: str) -> dict[str, Any]:
        return {"Tags": {"aws-chalice": "version=1.34.0:stage=dev:app=atoll"} if _name(Resource) in self.tagged else {}}

    def list_roles(self, **_: Any) -> dict[str, Any]:
        names = sorted(name for kind, name in self.resources if kind == "AWS::IAM::Role")
        return {"Roles": [{"RoleName": name, "Arn": f"arn:aws:iam::{ACCOUNT}:role/{name}"} for name in names]}

    def get_rest_apis(self, **_: Any) -> dict[str, Any]:
        return {"items": [{"id": api, "name": "atoll", "createdDate": number} for number, api in enumerate(self.apis)]}

    def get_resources(self, restApiId: str, embed: list[str]) -> dict[str, Any]:
        uri = f"arn:aws:apigateway:{REGION}:lambda:path/functions/x:function:{self.apis[restApiId]}/invocations"
        return {
            "items": [{"path": "/"}, {"path": "/a", "resourceMethods": {"GET": {"methodIntegration": {"uri": uri}}}}]
        }

    def get_stage(self, restApiId: str, stageName: str) -> dict[str, Any]:
        return {"stageName": stageName, "accessLogSettings": self.access_logs.get(restApiId, {})}

    def get_account(self) -> dict[str, Any]:
        return {"cloudwatchRoleArn": f"arn:aws:iam::{ACCOUNT}:role/logs"}

    def update_stage(self, restApiId: str, stageName: str, patchOperations: list[dict[str, str]]) -> None:
        if patchOperations == [{"op": "remove", "path": "/accessLogSettings"}]:
            del self.access_logs[restApiId]
        else:
            names = {each["path"].removeprefix("/accessLogSettings/"): each["value"] for each in patchOperations}
            self.access_logs[restApiId] = names

    def get_stages(self, restApiId: str) -> dict[str, Any]:
        return {"item": [{"stageName": self.apis[restApiId].removeprefix("atoll-")}]}

    # What runs

    def list_executions(
        self, stateMachineArn: str, statusFilter: str, maxResults: int, nextToken: str = "0"
    ) -> dict[str, Any]:
        if maxResults > 1_000:
            raise Refused("ValidationException", "maxResults")
        if ("AWS::StepFunctions::StateMachine", _name(stateMachineArn)) not in self.resources:
            raise Refused("StateMachineDoesNotExist")
        running = [{"executionArn": arn} for arn, machine in self.executions.items() if stateMachineArn == machine]
        return _page("executions", running if statusFilter == "RUNNING" else [], nextToken)

    def stop_execution(self, executionArn: str, cause: str) -> None:
        if self.executions.pop(executionArn, None) is None:
            raise Refused("ExecutionDoesNotExist", executionArn)

    def list_tasks(self, cluster: str, desiredStatus: str, nextToken: str = "0") -> dict[str, Any]:
        if ("AWS::ECS::Cluster", cluster) not in self.resources:
            raise Refused("ClusterNotFoundException")
        return _page("taskArns", [arn for arn, task in self.tasks.items() if task.desired == desiredStatus], nextToken)

    def describe_tasks(self, cluster: str, tasks: list[str]) -> dict[str, Any]:
        described = [{"taskArn": arn, "lastStatus": self.tasks[arn].last} for arn in tasks]
        for task in (self.tasks[arn] for arn in tasks):
            if task.desired == "STOPPED" and task.stops:
                task.last = "STOPPED"  # the next time
        return {"tasks": described}

    def stop_task(self, cluster: str, task: str, reason: str) -> None:
        self.tasks[task].desired = "STOPPED"
        self.tasks[task].last = "DEACTIVATING"

    # Stacks

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if StackName not in self.stacks:
            raise Refused("ValidationError", f"Stack with id {StackName} does not exist")
        return {"Stacks": [{"StackName": StackName, **self.stacks[StackName]}]}

    def describe_stack_resources(self, StackName: str) -> dict[str, Any]:
        ours = self.stacks[StackName].get("ours", ())
        return {
            "StackResources": [{"LogicalResourceId": name, "ResourceStatus": "CREATE_COMPLETE"} for _, name in ours]
        }

    def describe_stack_events(self, StackName: str) -> dict[str, Any]:
        reason = self.stacks[StackName]["reason"]
        failed = {"LogicalResourceId": "It", "ResourceStatus": "CREATE_FAILED", "ResourceStatusReason": reason}
        return {"StackEvents": [failed]}

    def create_change_set(self, StackName: str, ChangeSetName: str, ChangeSetType: str, **asked: Any) -> None:
        stack = self.stacks.get(StackName, {"StackStatus": "REVIEW_IN_PROGRESS"})
        if (stack["StackStatus"] == "REVIEW_IN_PROGRESS") is (ChangeSetType == "UPDATE"):
            raise Refused("ValidationError", f"{StackName} is {stack['StackStatus']}")
        if stack["StackStatus"] in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
            raise Refused("ValidationError", f"{StackName} is in {stack['StackStatus']} and can not be updated")
        if stack["StackStatus"].startswith("IMPORT_ROLLBACK") and not stack.get("ours"):
            raise Refused("ValidationError", f"{StackName} has nothing in it and can not be updated")
        template = json.loads(asked["TemplateBody"])
        if ChangeSetType == "IMPORT":
            self._check_import(template, asked)
        values = {
            each["ParameterKey"]: each.get("ParameterValue", stack.get("values", {}).get(each["ParameterKey"]))
            for each in asked["Parameters"]
        }
        if missing := [name for name, value in values.items() if value is None]:
            raise Refused("ValidationError", f"Parameters: {missing} must have values")
        if unset := {n for n, p in template["Parameters"].items() if "Default" not in p} - values.keys():
            raise Refused("ValidationError", f"Parameters: {sorted(unset)} must have values")
        self.stacks.setdefault(StackName, stack)
        change = {"kind": ChangeSetType, "template": template, "values": values, "before": stack.get("template")}
        self._change_sets[ChangeSetName] = {**change, "values_before": stack.get("values")}

    def describe_change_set(self, StackName: str, ChangeSetName: str) -> dict[str, Any]:
        change = self._change_sets[ChangeSetName]
        before = change["before"] or {"Resources": {}}
        old, new = before["Resources"], change["template"]["Resources"]
        same = (before, change["values_before"]) == (change["template"], change["values"])
        if change["kind"] == "UPDATE" and same:
            return {"Status": "FAILED", "StatusReason": "The submitted information didn't contain changes."}
        fresh = "Import" if change["kind"] == "IMPORT" else "Add"
        actions = {name: fresh if name not in old else "Modify" for name in new if old.get(name) != new[name]}
        actions |= {name: "Remove" for name in old if name not in new}
        changes = [
            {"Action": action, "LogicalResourceId": name, "ResourceType": {**old, **new}[name]["Type"]}
            for name, action in actions.items()
        ]
        return {"Status": "CREATE_COMPLETE", "Changes": [{"ResourceChange": change} for change in changes]}

    def delete_change_set(self, StackName: str, ChangeSetName: str) -> None:
        del self._change_sets[ChangeSetName]

    def execute_change_set(self, StackName: str, ChangeSetName: str) -> None:
        change = self._change_sets.pop(ChangeSetName)
        stack = self.stacks[StackName]
        ours = set(stack.get("ours", ()))
        wanted = dict(_named(change["template"], change["values"]))
        made: set[Resource] = set()
        for logical_id, resource in wanted.items():
            if resource in ours or change["kind"] == "IMPORT":
                continue
            if resource in self.resources or logical_id == self.refuses:
                return self._roll_back(stack, change, made, f"{resource[1]} already exists")
            self._made += 1
            self.resources[resource] = self._made
            made.add(resource)
        values = change["values"]
        holds = {"": True, "HasVpc": values.get("VpcId"), "LogsAccess": values.get("AccessLog") == "on"}
        stack |= {
            "StackStatus": f"{change['kind']}_COMPLETE",
            "ours": set(wanted.values()),
            "template": change["template"],
            "values": values,
            "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
            "Outputs": [
                {"OutputKey": name, "OutputValue": _value(name, output, change["template"], values)}
                for name, output in change["template"].get("Outputs", {}).items()
                if holds[output.get("Condition", "")]
            ],
        }
        return None

    def _roll_back(self, stack: dict[str, Any], change: dict[str, Any], made: set[Resource], reason: str) -> None:
        policies = {
            resource: change["template"]["Resources"][logical_id].get("DeletionPolicy")
            for logical_id, resource in _named(change["template"], change["values"])
        }
        for resource in made:
            if policies[resource] != "Retain":
                del self.resources[resource]
        stack["reason"] = reason
        stack["StackStatus"] = "ROLLBACK_COMPLETE" if change["kind"] == "CREATE" else "UPDATE_ROLLBACK_COMPLETE"

    def delete_stack(self, StackName: str) -> None:
        stack = self.stacks[StackName]
        ours = stack.get("ours", set())
        names = {name for _, name in ours}
        if StackName in names and any(task.last != "STOPPED" for task in self.tasks.values()):
            stack |= {"StackStatus": "DELETE_FAILED", "reason": "ClusterContainsTasksException"}
            return
        if any(_name(machine) in names for machine in self.executions.values()):
            stack |= {"StackStatus": "DELETE_FAILED", "reason": "the state machine is still DELETING"}
            return
        for logical_id, resource in _named(stack.get("template", {"Resources": {}}), stack.get("values", {})):
            if not stack["template"]["Resources"][logical_id].get("DeletionPolicy", "").startswith("Retain"):
                del self.resources[resource]
        del self.stacks[StackName]

    def _check_import(self, template: dict[str, Any], asked: Mapping[str, Any]) -> None:
        imports = {each["LogicalResourceId"]: each for each in asked["ResourcesToImport"]}
        if "Outputs" in template or "Tags" in asked:
            raise Refused("ValidationError", "an import cannot modify or add [Outputs, Tags]")
        if imports.keys() != template["Resources"].keys():
            raise Refused("ValidationError", "a resource is missing from the ResourcesToImport list")
        values = {each["ParameterKey"]: each["ParameterValue"] for each in asked["Parameters"]}
        owned = {resource for stack in self.stacks.values() for resource in stack.get("ours", ())}
        for logical_id, resource in _named(template, values):
            kind = template["Resources"][logical_id]["Type"]
            schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema
            [primary] = [path.rsplit("/")[-1] for path in schema["primaryIdentifier"]]
            if "DeletionPolicy" not in template["Resources"][logical_id]:
                raise Refused("ValidationError", f"{logical_id} must have a DeletionPolicy")
            if resource not in self.resources or resource in owned:
                raise Refused("ValidationError", f"{logical_id} is not there, or of another stack")
            if imports[logical_id]["ResourceIdentifier"] != {primary: self._identifier(resource)}:
                raise Refused("ValidationError", f"{logical_id} is not known by {imports[logical_id]}")


def _value(name: str, output: Mapping[str, Any], template: Mapping[str, Any], values: Mapping[str, str]) -> str:
    """Return what an output says: the value of a parameter, or a name for any other."""
    value = output["Value"]
    parameter = template["Parameters"].get(value["Ref"]) if isinstance(value, dict) and "Ref" in value else None
    return name.lower() if parameter is None else str(values.get(value["Ref"], parameter.get("Default", "")))


def _name(arn: str) -> str:
    return arn.rsplit(":", maxsplit=1)[-1]


def _page(key: str, everything: list[Any], token: str) -> dict[str, Any]:
    begin = int(token)
    more = {"nextToken": str(begin + PAGE)} if begin + PAGE < len(everything) else {}
    return {key: everything[begin : begin + PAGE], **more}


def _named(template: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[tuple[str, Resource]]:
    everywhere = {**values, "AWS::AccountId": ACCOUNT, "AWS::Region": REGION}
    for logical_id, resource in template["Resources"].items():
        name = description.name_of(resource, everywhere)
        if name:
            yield logical_id, (resource["Type"], name)
