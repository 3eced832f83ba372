"""What there is of a stage in an account: before a run nothing may be, and after it all of it is listed and deleted."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import boto3
from botocore.exceptions import ClientError

from infra.deploy import app

#: Kinds that a stage keeps when it is destroyed, as the documents say, and those that cost nothing and have no content.
KEPT = ("table", "bucket", "secret", "queue")
HARMLESS = ("task definition",)

#: The name of a deleted queue is free again after so many s (SQS API Reference, "DeleteQueue").
QUEUE_NAME_S = 60


@dataclasses.dataclass(frozen=True)
class Left:
    """Something of a stage, and how it is deleted."""

    kind: str
    name: str
    delete: Callable[[], object] = dataclasses.field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def find(session: boto3.Session, stage: str) -> list[Left]:
    """Return all that there is of a stage."""
    prefix = f"atoll-{stage}"
    code = (_stacks, _functions, _apis, _compute, _operating, _roles)
    data = (_tables, _buckets, _secrets, _queues, _logs)
    return [each for finder in (*code, *data) for each in finder(session, prefix, stage)]


def unexpected(found: list[Left]) -> list[Left]:
    """Return what should be gone after a stage was destroyed."""
    return [each for each in found if each.kind not in (*KEPT, *HARMLESS)]


def remove(found: list[Left], pause_s: float = QUEUE_NAME_S) -> list[str]:
    """Delete what was found; return what could not be deleted, with the reason."""
    failed = []
    for each in found:
        try:
            each.delete()
        except ClientError as error:
            failed.append(f"{each}: {error}")
    if any(each.kind == "queue" for each in found):
        time.sleep(pause_s)  # so that the next stage of this name can make its own
    return failed


def _ours(name: str, prefix: str) -> bool:
    """Return whether a name is of the stage: ``atoll-dev`` and ``atoll-dev-mcp``, not ``atoll-development``."""
    return name == prefix or name.startswith(f"{prefix}-") or name.startswith(f"{prefix}/")


def _pages(client: Any, operation: str, key: str, **asked: Any) -> Iterator[Any]:
    for page in client.get_paginator(operation).paginate(**asked):
        yield from page.get(key, ())


def _stacks(session: boto3.Session, prefix: str, _: str) -> Iterator[Left]:
    client = session.client("cloudformation")
    for each in _pages(client, "describe_stacks", "Stacks"):
        name = each["StackName"]
        if _ours(name, prefix) and each["StackStatus"] != "DELETE_COMPLETE":
            yield Left("stack", name, partial(client.delete_stack, StackName=name))


def _functions(session: boto3.Session, prefix: str, _: str) -> Iterator[Left]:
    client = session.client("lambda")
    for each in _pages(client, "list_functions", "Functions"):
        name = each["FunctionName"]
        if _ours(name, prefix):
            yield Left("function", name, partial(client.delete_function, FunctionName=name))


def _apis(session: boto3.Session, prefix: str, stage: str) -> Iterator[Left]:
    client = session.client("apigateway")
    for api in app.apis(session, stage):
        yield Left("REST API", api, partial(client.delete_rest_api, restApiId=api))
    sockets = session.client("apigatewayv2")
    for each in sockets.get_apis().get("Items", []):
        if _ours(each["Name"], prefix):
            yield Left("API", each["Name"], partial(sockets.delete_api, ApiId=each["ApiId"]))


def _tables(session: boto3.Session, prefix: str, _: str) -> Iterator[Left]:
    client = session.client("dynamodb")

    def delete(name: str) -> None:
        client.delete_table(TableName=name)
        client.get_waiter("table_not_exists").wait(TableName=name, WaiterConfig={"Delay": 2, "MaxAttempts": 150})

    for name in _pages(client, "list_tables", "TableNames"):
        if _ours(name, prefix):
            yield Left("table", name, partial(delete, name))


def _buckets(session: boto3.Session, prefix: str, _: str) -> Iterator[Left]:
    client = session.client("s3")

    def delete(name: str) -> None:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            keys: Any = [{"Key": each["Key"]} for each in page.get("Contents", [])]
            if keys:
                client.delete_objects(Bucket=name, Delete={"Objects": keys, "Quiet": True})
        client.delete_bucket(Bucket=name)

    for each in client.list_buckets()["Buckets"]:
        if _ours(each["Name"], prefix):
            yield Left("bucket", each["Name"], partial(delete, each["Name"]))


def _secrets(session: boto3.Session, prefix: str, _: str) -> Iterator[Left]:
    client = session.client("secretsmanager")

    def delete(name: str) -> None:
        client.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)

    for each in _pages(client, "list_secrets", "SecretList", IncludePlannedDeletion=True):
        if each["Name"].startswith(f"{prefix}/"):
            yield Left("secret", each["Name"], partial(delete, each["Name"]))


def _queues(session: boto3.Session, prefix: str, _: str) -> Iterator[Left]:
    client = session.client("sqs")
    for url in _pages(client, "list_queues", "QueueUrls", QueueNamePrefix=prefix):
        name = url.rpartition("/")[2]
        if _ours(name, prefix):
            yield Left("queue", name, partial(client.delete_queue, QueueUrl=url))


def _logs(session: boto3.Session, prefix: str, stage: str) -> Iterator[Left]:
    client = session.client("logs")
    for start in (f"/aws/lambda/{prefix}", f"/atoll/{stage}/", f"/aws/vendedlogs/states/{prefix}"):
        for each in _pages(client, "describe_log_groups", "logGroups", logGroupNamePrefix=start):
            name = each["logGroupName"]
            if start.endswith("/") or _ours(name.rpartition("/")[2], prefix):
                yield Left("log group", name, partial(client.delete_log_group, logGroupName=name))


def _compute(session: boto3.Session, prefix: str, _: str) -> Iterator[Left]:
    states, ecs = session.client("stepfunctions"), session.client("ecs")
    for each in _pages(states, "list_state_machines", "stateMachines"):
        if _ours(each["name"], prefix):
            arn = each["stateMachineArn"]
            yield Left("state machine", each["name"], partial(states.delete_state_machine, stateMachineArn=arn))
    for cluster in ecs.describe_clusters(clusters=[prefix])["clusters"]:
        if cluster["status"] == "ACTIVE":
            yield Left("cluster", prefix, partial(ecs.delete_cluster, cluster=prefix))
    for family in _pages(ecs, "list_task_definition_families", "families", familyPrefix=f"{prefix}-", status="ACTIVE"):
        for arn in _pages(ecs, "list_task_definitions", "taskDefinitionArns", familyPrefix=family):
            name = arn.rpartition("/")[2]
            yield Left("task definition", name, partial(ecs.deregister_task_definition, taskDefinition=arn))


def _operating(session: boto3.Session, prefix: str, stage: str) -> Iterator[Left]:
    cloudwatch, events = session.client("cloudwatch"), session.client("events")
    for each in _pages(cloudwatch, "describe_alarms", "MetricAlarms", AlarmNamePrefix=f"{prefix}-"):
        name = each["AlarmName"]
        yield Left("alarm", name, partial(cloudwatch.delete_alarms, AlarmNames=[name]))
    for each in _pages(cloudwatch, "list_dashboards", "DashboardEntries", DashboardNamePrefix=prefix):
        name = each["DashboardName"]
        if _ours(name, prefix):
            yield Left("dashboard", name, partial(cloudwatch.delete_dashboards, DashboardNames=[name]))
    for each in events.list_event_buses(NamePrefix=prefix)["EventBuses"]:
        if _ours(each["Name"], prefix):
            yield Left("event bus", each["Name"], partial(events.delete_event_bus, Name=each["Name"]))
    for each in events.list_rules(NamePrefix=f"{prefix}-")["Rules"]:
        yield Left("rule", each["Name"], partial(events.delete_rule, Name=each["Name"]))
    topics = session.client("sns")
    for each in _pages(topics, "list_topics", "Topics"):
        arn = each["TopicArn"]
        if _ours(arn.rpartition(":")[2], prefix):
            yield Left("topic", arn.rpartition(":")[2], partial(topics.delete_topic, TopicArn=arn))
    ssm = session.client("ssm")
    for each in ssm.get_parameters(Names=[f"/atoll/{stage}/urls"])["Parameters"]:
        yield Left("parameter", each["Name"], partial(ssm.delete_parameter, Name=each["Name"]))


def _roles(session: boto3.Session, prefix: str, _: str) -> Iterator[Left]:
    """Yield the roles of this region's stage: those of another region's have its name in theirs."""
    client, region = session.client("iam"), str(session.region_name)

    def delete(name: str) -> None:
        for policy in client.list_role_policies(RoleName=name)["PolicyNames"]:
            client.delete_role_policy(RoleName=name, PolicyName=policy)
        with suppress(client.exceptions.NoSuchEntityException):
            for each in client.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
                client.detach_role_policy(RoleName=name, PolicyArn=each["PolicyArn"])
        client.delete_role(RoleName=name)

    for each in _pages(client, "list_roles", "Roles"):
        name = each["RoleName"]
        if name.startswith(f"{prefix}-{region}-"):
            yield Left("role", name, partial(delete, name))
