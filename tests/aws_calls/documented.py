"""What AWS documents of parameters and the models of its services do not say.

Unless another page is named, the source is the description of the parameter or of the operation in the service's API
reference, which botocore carries. Where an older and a newer page differ, the smaller number is taken: not every region
has the larger one.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.aws_calls import dynamodb

Params = Mapping[str, Any]
Rule = Callable[[Params], Iterator[str]]

#: By service and operation, as botocore's events name them; an empty operation stands for all of the service.
_rules: dict[tuple[str, str], list[Rule]] = {}

KIB, MIB = 1024, 1024 * 1024


def faults(service: str, operation: str, params: Params) -> Iterator[str]:
    """Yield what is wrong with the parameters of a call."""
    for rule in (*_rules.get((service, operation), ()), *_rules.get((service, ""), ())):
        yield from rule(params)


def _rule(service: str, *operations: str) -> Callable[[Rule], Rule]:
    def note(rule: Rule) -> Rule:
        for operation in operations or ("",):
            _rules.setdefault((service, operation), []).append(rule)
        return rule

    return note


def _bytes(value: Any) -> int:
    """Return the size of what is sent: as it is, or as JSON; 0 for a stream."""
    if isinstance(value, (bytes, bytearray)):
        return len(value)
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (Mapping, list)):
        return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str).encode())
    return 0


def _above(place: str, value: Any, most_bytes: int) -> Iterator[str]:
    if _bytes(value) > most_bytes:
        yield f"{place}: {_bytes(value)} bytes are more than {most_bytes}"


def _more(place: str, values: Any, most: int) -> Iterator[str]:
    if len(values) > most:
        yield f"{place}: {len(values)} are more than {most}"


def _matches(place: str, value: str | None, pattern: str) -> Iterator[str]:
    if value is not None and re.fullmatch(pattern, value, re.ASCII) is None:
        yield f"{place}: {value!r} does not match {pattern}"


# ECS


@_rule("ecs", "RunTask")
def _run_task(params: Params) -> Iterator[str]:
    if not 1 <= params.get("count", 1) <= 10:
        yield f"count: {params['count']} is not from 1 to 10"
    yield from _matches("startedBy", params.get("startedBy"), "[A-Za-z0-9/_-]{0,128}")
    yield from _matches("clientToken", params.get("clientToken"), "[!-~]{0,64}")
    yield from _above("overrides", params.get("overrides"), 8_192)
    if params.get("launchType") and params.get("capacityProviderStrategy"):
        yield "launchType: there is a capacityProviderStrategy too"
    for override in params.get("overrides", {}).get("containerOverrides", ()):
        if not override.get("name") and override:
            yield "overrides.containerOverrides: one has no name"
        yield from _more(f"environmentFiles of {override.get('name')}", override.get("environmentFiles", ()), 10)
    vpc = params.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
    yield from _more("subnets", vpc.get("subnets", ()), 16)
    yield from _more("securityGroups", vpc.get("securityGroups", ()), 5)
    yield from _tags(params.get("tags", ()))


def _tags(tags: Any) -> Iterator[str]:
    names = [tag["key"] for tag in tags]
    if len(names) != len(set(names)):
        yield f"tags: {names} are not unique"
    if any(text.lower().startswith("aws:") for tag in tags for text in tag.values()):
        yield f"tags: {tags} have one with the prefix aws:"


#: Memory in MiB, from, to and by how much, for each CPU of Fargate (ECS Developer Guide, "Task CPU and memory").
_FARGATE = {
    "256": (512, 2_048, 512),
    "512": (1_024, 4_096, 1_024),
    "1024": (2_048, 8_192, 1_024),
    "2048": (4_096, 16_384, 1_024),
    "4096": (8_192, 30_720, 1_024),
    "8192": (16_384, 61_440, 4_096),
    "16384": (32_768, 122_880, 8_192),
}


@_rule("ecs", "RegisterTaskDefinition")
def _register_task_definition(params: Params) -> Iterator[str]:
    yield from _matches("family", params["family"], "[A-Za-z0-9_-]{1,255}")
    # AWS General Reference, "Amazon ECS endpoints and quotas": task definition size, containers per task definition.
    yield from _above("the task definition", params, 64 * KIB)
    yield from _more("containerDefinitions", params["containerDefinitions"], 10)
    for container in params["containerDefinitions"]:
        yield from _matches("name of a container", container.get("name"), "[A-Za-z0-9_-]{1,255}")
    if "FARGATE" in params.get("requiresCompatibilities", ()):
        cpu, memory = params.get("cpu", ""), params.get("memory", "")
        least, most, step = _FARGATE.get(cpu, (0, -1, 1))
        # The smallest has 512 MiB, 1 and 2 GB.
        if not memory.isdigit() or int(memory) not in {*range(least, most + 1, step)} - {1_536 if cpu == "256" else 0}:
            yield f"cpu, memory: {cpu} and {memory} are none of Fargate's"
    yield from _tags(params.get("tags", ()))


@_rule("ecs", "StopTask")
def _stop_task(params: Params) -> Iterator[str]:
    # An older API reference: 255 characters. The current one says nothing.
    yield from _more("reason", params.get("reason", ""), 255)


@_rule("ecs", "DescribeTasks")
def _describe_tasks(params: Params) -> Iterator[str]:
    yield from _more("tasks", params["tasks"], 100)


@_rule("ecs", "ListTasks")
def _list_tasks(params: Params) -> Iterator[str]:
    if not 1 <= params.get("maxResults", 100) <= 100:
        yield f"maxResults: {params['maxResults']} is not from 1 to 100"
    # `desiredStatus` stands beside it in AWS's own examples.
    others = {"containerInstance", "family", "serviceName"} & params.keys()
    if "startedBy" in params and others:
        yield f"startedBy: {sorted(others)} are filters too"


# EventBridge


@_rule("events", "PutEvents")
def _put_events(params: Params) -> Iterator[str]:
    sizes = 0
    for number, entry in enumerate(params["Entries"]):
        place = f"Entries[{number}]"
        for name in ("Source", "DetailType", "Detail"):
            if not entry.get(name):
                yield f"{place}: has no {name}"
        yield from _more(f"{place}.DetailType", entry.get("DetailType", ""), 128)
        yield from _json_object(f"{place}.Detail", entry.get("Detail", "{}"))
        # EventBridge User Guide, "Calculating PutEvents event entry size".
        texts = (entry.get("Source"), entry.get("DetailType"), entry.get("Detail"), *entry.get("Resources", ()))
        sizes += sum(_bytes(text) for text in texts) + (14 if "Time" in entry else 0)
    # 256 KB, or 1 MB on the page of today.
    if sizes >= 256 * KIB:
        yield f"Entries: {sizes} bytes are {256 * KIB} or more"


def _json_object(place: str, text: str) -> Iterator[str]:
    try:
        whole = isinstance(json.loads(text, parse_constant=_no_json), dict)
    except ValueError:
        whole = False
    if not whole:
        yield f"{place}: is no JSON object"


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


# SQS

_SQS_LETTERS = r"[A-Za-z0-9!-/:-@\[-`{-~]{1,128}"

#: Characters that a message must not have.
_NO_TEXT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

#: 262,144 bytes until 2025, 1 MiB on the page of today.
_LARGEST_MESSAGE = 256 * KIB


@_rule("sqs", "SendMessage")
def _send_message(params: Params) -> Iterator[str]:
    yield from _message(params["QueueUrl"], "MessageBody", params)


@_rule("sqs", "SendMessageBatch")
def _send_messages(params: Params) -> Iterator[str]:
    entries = params["Entries"]
    if not 1 <= len(entries) <= 10:
        yield f"Entries: {len(entries)} are not from 1 to 10"
    ids = [entry["Id"] for entry in entries]
    if len(ids) != len(set(ids)):
        yield f"Entries: the ids {ids} are not unique"
    if sum(_bytes(entry["MessageBody"]) for entry in entries) > _LARGEST_MESSAGE:
        yield f"Entries: more than {_LARGEST_MESSAGE} bytes together"
    for number, entry in enumerate(entries):
        yield from _matches(f"Entries[{number}].Id", entry["Id"], "[A-Za-z0-9_-]{1,80}")
        yield from _message(params["QueueUrl"], f"Entries[{number}].MessageBody", entry)


def _message(queue: str, place: str, message: Params) -> Iterator[str]:
    if not message["MessageBody"] or _NO_TEXT.search(message["MessageBody"]):
        yield f"{place}: is empty, or has characters that are none of XML's"
    yield from _above(place, message["MessageBody"], _LARGEST_MESSAGE)
    for name in ("MessageGroupId", "MessageDeduplicationId"):
        yield from _matches(name, message.get(name), _SQS_LETTERS)
    if not 0 <= message.get("DelaySeconds", 0) <= 900:
        yield f"DelaySeconds: {message['DelaySeconds']} is not from 0 to 900"
    if queue.endswith(".fifo"):
        if "MessageGroupId" not in message:
            yield "MessageGroupId: is missing, for a FIFO queue"
        if "DelaySeconds" in message:
            yield "DelaySeconds: a message of a FIFO queue has none of its own"
    elif "MessageDeduplicationId" in message:
        yield "MessageDeduplicationId: the queue is no FIFO queue"


@_rule("sqs", "ReceiveMessage", "ChangeMessageVisibility")
def _received(params: Params) -> Iterator[str]:
    bounds = {"MaxNumberOfMessages": (1, 10), "WaitTimeSeconds": (0, 20), "VisibilityTimeout": (0, 43_200)}
    for name, (least, most) in bounds.items():
        if not least <= params.get(name, least) <= most:
            yield f"{name}: {params[name]} is not from {least} to {most}"


# Step Functions


@_rule("stepfunctions", "StartExecution")
def _start_execution(params: Params) -> Iterator[str]:
    # What CloudWatch Logs takes too: our machines log.
    yield from _matches("name", params.get("name"), "[A-Za-z0-9_-]{1,80}")
    yield from _is_json("input", params.get("input", "{}"))


@_rule("stepfunctions", "SendTaskSuccess")
def _send_task_success(params: Params) -> Iterator[str]:
    yield from _is_json("output", params["output"])


def _is_json(place: str, text: str) -> Iterator[str]:
    yield from _above(place, text, 256 * KIB)
    try:
        json.loads(text, parse_constant=_no_json)
    except ValueError:
        yield f"{place}: is no JSON"


# Others

_rule("dynamodb")(dynamodb.faults)


@_rule("secretsmanager", "CreateSecret")
def _create_secret(params: Params) -> Iterator[str]:
    # A name that ends with a hyphen and six characters is advised against, and taken.
    yield from _matches("Name", params["Name"], "[A-Za-z0-9/_+=.@-]{1,512}")


@_rule("secretsmanager", "CreateSecret", "PutSecretValue")
def _secret_value(params: Params) -> Iterator[str]:
    yield from _above("SecretString", params.get("SecretString"), 64 * KIB)
    if "SecretString" in params and "SecretBinary" in params:
        yield "SecretString: there is a SecretBinary too"


@_rule("ssm", "PutParameter")
def _put_parameter(params: Params) -> Iterator[str]:
    yield from _above("Value", params["Value"], (4 if params.get("Tier", "Standard") == "Standard" else 8) * KIB)
    yield from _matches("Name", params["Name"], r"(/?[A-Za-z0-9_.-]+){1,15}")


@_rule("s3")
def _s3(params: Params) -> Iterator[str]:
    # Amazon S3 User Guide, "Naming Amazon S3 objects" and "General purpose bucket naming rules".
    yield from _above("Key", params.get("Key"), 1_024)
    yield from _matches("Bucket", params.get("Bucket"), r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
    if sum(_bytes(name) + _bytes(value) for name, value in params.get("Metadata", {}).items()) > 2 * KIB:
        yield "Metadata: more than 2 KB"
    if not 1 <= params.get("PartNumber", 1) <= 10_000:
        yield f"PartNumber: {params['PartNumber']} is not from 1 to 10000"


@_rule("s3", "DeleteObjects")
def _delete_objects(params: Params) -> Iterator[str]:
    objects = params["Delete"]["Objects"]
    if not 1 <= len(objects) <= 1_000:
        yield f"Delete.Objects: {len(objects)} are not from 1 to 1000"
    for each in objects:
        yield from _above("Key", each["Key"], 1_024)


@_rule("logs", "PutLogEvents")
def _put_log_events(params: Params) -> Iterator[str]:
    events = params["logEvents"]
    times = [event["timestamp"] for event in events]
    if times != sorted(times):
        yield "logEvents: not in the order of time"
    if times and max(times) - min(times) > 86_400_000:
        yield "logEvents: of more than 24 hours"
    if sum(_bytes(event["message"]) + 26 for event in events) > MIB:
        yield f"logEvents: more than {MIB} bytes"
    if any(not event["message"] for event in events):
        yield "logEvents: one is empty"


@_rule("lambda", "Invoke")
def _invoke(params: Params) -> Iterator[str]:
    # Lambda Developer Guide, "Lambda quotas": 6 MB, asynchronously 256 KB (1 MB on the page of today).
    asynchronous = params.get("InvocationType") == "Event"
    yield from _above("Payload", params.get("Payload"), 256 * KIB if asynchronous else 6 * MIB)


@_rule("apigatewaymanagementapi", "PostToConnection")
def _post_to_connection(params: Params) -> Iterator[str]:
    # The model says it of bytes; a text is sent as its bytes.
    yield from _above("Data", params["Data"], 128 * KIB)


@_rule("cloudformation", "CreateStack", "UpdateStack", "CreateChangeSet", "ValidateTemplate")
def _template(params: Params) -> Iterator[str]:
    yield from _above("TemplateBody", params.get("TemplateBody"), 51_200)
    yield from _more("StackName", params.get("StackName", "").rpartition("/")[2], 128)
    # CloudFormation User Guide, "Understand CloudFormation quotas".
    yield from _more("Parameters", params.get("Parameters", ()), 200)
    for parameter in params.get("Parameters", ()):
        yield from _above(parameter["ParameterKey"], parameter.get("ParameterValue"), 4_096)
