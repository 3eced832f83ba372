"""Names that are in use, states of stacks that take no change, and secrets that are being deleted.

CloudFormation creates nothing under a name that something else has. What an earlier stack of the stage has kept is
imported, so it is no obstacle; a log group that a late invocation has made anew after a destruction is one.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
from botocore.exceptions import ClientError

from infra.deploy import description
from infra.deploy.plan import Found
from infra.deploy.preflight.findings import Finding, ok, problem, warning
from infra.deploy.stacks import NEVER_MADE, Stacks

#: Returns a client of a service.
Clients = Callable[[str], Any]

#: How many names a finding shows.
SHOWN = 6

#: What each service answers when there is nothing of a name.
_MISSING = {
    "404", "ClusterNotFoundException", "NoSuchEntity", "NotFound", "ResourceNotFound", "ResourceNotFoundException",
    "StateMachineDoesNotExist",
}  # fmt: skip

_STUCK = {
    "DELETE_FAILED": "its deletion has failed: delete it again, with what it names as the reason",
    "UPDATE_ROLLBACK_FAILED": "undoing an update has failed: aws cloudformation continue-update-rollback",
    "ROLLBACK_FAILED": "undoing its creation has failed: delete it",
}


def check(session: boto3.Session, found: Found, stage: str) -> Iterator[Finding]:
    """Look for everything that would make CloudFormation refuse."""
    stacks, client = Stacks(session, stage), functools.cache(session.client)
    templates = {f"atoll-{stage}": description.stack(), f"atoll-{stage}-events": description.events()}
    statuses = {name: stacks.status(name) for name in (*templates, f"atoll-{stage}-roles", f"atoll-{stage}-address")}
    yield from judged_stacks(statuses)
    yield from _of_a_pipeline(client, f"atoll-{stage}", statuses)
    taken: list[str] = []
    for name, template in templates.items():
        has = _logical_ids(client, name) if statuses[name] not in NEVER_MADE else set()
        taken += _taken(client, found, stage, template, has | {each.logical_id for each in found.kept})
    if taken:
        shown = ", ".join(sorted(taken)[:SHOWN]) + (", …" if len(taken) > SHOWN else "")
        text = f"{len(taken)} are taken: {shown}. Delete them if they are what is left of an earlier stage"
        yield problem("names", text)
    else:
        kept = f"; {len(found.kept)} resources that an earlier stage kept are imported" if found.kept else ""
        yield ok("names", f"none of those that a stage {stage} needs is taken{kept}")
    yield from _strangers(client, found)


def judged_stacks(statuses: Mapping[str, str]) -> Iterator[Finding]:
    """Judge the states of a stage's stacks, by their names."""
    for stack, status in statuses.items():
        if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
            yield problem("stacks", f"{stack} is {status}: wait for the end of that")
        elif status in _STUCK:
            yield problem("stacks", f"{stack} is {status}: {_STUCK[status]}")
    there = [stack for stack, status in statuses.items() if status not in NEVER_MADE]
    yield ok("stacks", f"this updates {', '.join(there)}" if there else "there are none of this stage yet")


def _of_a_pipeline(client: Clients, stack: str, statuses: Mapping[str, str]) -> Iterator[Finding]:
    if statuses[stack] in NEVER_MADE:
        return
    if "AWS::Lambda::Function" in {each["ResourceType"] for each in _resources(client, stack)}:
        text = f"{stack} has the functions in it: a pipeline has made it from the package, and has to update it"
        yield problem("stacks", text)


def _logical_ids(client: Clients, stack: str) -> set[str]:
    return {each["LogicalResourceId"] for each in _resources(client, stack)}


def _resources(client: Clients, stack: str) -> Iterator[Mapping[str, Any]]:
    for page in client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack):
        yield from page["StackResourceSummaries"]


def _taken(client: Clients, found: Found, stage: str, template: Mapping[str, Any], ours: set[str]) -> Iterator[str]:
    """Yield the names of a template that something else has; ``ours`` are logical ids of what is the stage's."""
    values = {
        "Stage": stage,
        "AWS::AccountId": found.account,
        "AWS::Region": found.region,
        "AWS::Partition": found.partition,
    }
    for logical_id, resource in template["Resources"].items():
        name, finder = description.name_of(resource, values), _FINDERS.get(resource["Type"])
        if logical_id in ours or not name or "${" in name or finder is None:
            continue
        try:
            there = finder(client, name, values) is not False
        except ClientError as error:
            if error.response["Error"]["Code"] not in _MISSING:
                raise
            there = False
        if there:
            yield f"{resource['Type'].split('::')[2]} {name}"


def _arn(kind: str, name: str, values: Mapping[str, str]) -> str:
    return f"arn:{values['AWS::Partition']}:{kind}:{values['AWS::Region']}:{values['AWS::AccountId']}:{name}"


def _bucket(client: Clients, name: str, _: Mapping[str, str]) -> bool:
    try:
        client("s3").head_bucket(Bucket=name)
    except ClientError as error:
        return error.response["Error"]["Code"] == "403"  # somebody else's: names are one for all accounts
    return False  # one of this account is kept and imported


def _alarm(client: Clients, name: str, _: Mapping[str, str]) -> bool:
    return bool(client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"])


def _rule(client: Clients, name: str, _: Mapping[str, str]) -> object:
    if name.endswith("-webhook-requested"):
        return False  # on the stage's bus, which is looked for itself
    return client("events").describe_rule(Name=name)


def _log_group(client: Clients, name: str, _: Mapping[str, str]) -> bool:
    groups = client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return name in {each["logGroupName"] for each in groups}


def _cluster(client: Clients, name: str, _: Mapping[str, str]) -> bool:
    clusters = client("ecs").describe_clusters(clusters=[name])["clusters"]
    return any(each["status"] == "ACTIVE" for each in clusters)


#: What each service is asked. The answer is ``False``, or an error of `_MISSING`, when nothing has the name.
_FINDERS: Mapping[str, Callable[[Clients, str, Mapping[str, str]], object]] = {
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::Dashboard": lambda client, name, _: client("cloudwatch").get_dashboard(DashboardName=name),
    "AWS::ECS::Cluster": _cluster,
    "AWS::Events::EventBus": lambda client, name, _: client("events").describe_event_bus(Name=name),
    "AWS::Events::Rule": _rule,
    "AWS::IAM::Role": lambda client, name, _: client("iam").get_role(RoleName=name),
    "AWS::Logs::LogGroup": _log_group,
    "AWS::S3::Bucket": _bucket,
    "AWS::SNS::Topic": lambda client, name, values: client("sns").get_topic_attributes(
        TopicArn=_arn("sns", name, values)
    ),
    "AWS::SSM::Parameter": lambda client, name, _: bool(client("ssm").get_parameters(Names=[name])["Parameters"]),
    "AWS::StepFunctions::StateMachine": lambda client, name, values: client("stepfunctions").describe_state_machine(
        stateMachineArn=_arn("states", f"stateMachine:{name}", values)
    ),
}


def _strangers(client: Clients, found: Found) -> Iterator[Finding]:
    """Find functions of the names of this stage's that Chalice has not made: a deployment would replace their code."""
    functions = client("lambda")
    strangers = sorted(
        arn.rpartition(":")[2]
        for arn in found.app.functions.values()
        if "aws-chalice" not in functions.list_tags(Resource=arn)["Tags"]
    )
    if strangers:
        text = f"{', '.join(strangers[:SHOWN])} are not Chalice's by their tags: a deployment would replace their code"
        yield warning("functions", text)


def secrets(session: boto3.Session, stage: str) -> Iterator[Finding]:
    """Find secrets of the stage's names that wait for their deletion: they can be neither made nor imported."""
    client = session.client("secretsmanager")
    names = [
        description.name_of(resource, {"Stage": stage})
        for resource in description.stack()["Resources"].values()
        if resource["Type"] == "AWS::SecretsManager::Secret"
    ]
    waiting = []
    for name in names:
        try:
            if "DeletedDate" in client.describe_secret(SecretId=name):
                waiting.append(name)
        except client.exceptions.ResourceNotFoundException:
            continue
    if waiting:
        text = (
            f"{', '.join(waiting)} wait for their deletion: restore them (aws secretsmanager restore-secret) or delete "
            "them at once (delete-secret --force-delete-without-recovery)"
        )
        yield problem("secrets", text)
    else:
        yield ok("secrets", "none waits for its deletion")
