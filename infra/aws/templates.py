"""The templates as CloudFormation takes them: plain JSON, the definitions of the state machines in their places."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.local.cloudformation.templates import load

INFRA = Path(__file__).resolve().parent.parent

#: Largest template that a call may carry (CloudFormation quotas, "Template body size in a request").
MAX_TEMPLATE_BYTES = 51_200

Template = dict[str, Any]


def stack() -> Template:
    """Return everything that is not a Lambda."""
    template = load(INFRA / "stack.yaml")
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::StepFunctions::StateMachine":
            definition = json.loads((INFRA / resource["Properties"].pop("DefinitionS3Location")).read_text())
            resource["Properties"]["DefinitionString"] = minified(definition)
    return template


def events() -> Template:
    """Return what joins the stack to the app's functions."""
    return load(INFRA / "events.yaml")


def outlives_its_stack(resource: Mapping[str, Any]) -> bool:
    """Say whether a resource stays when its stack is deleted."""
    return resource.get("DeletionPolicy") == "RetainExceptOnCreate"


_NAME_KEYS = (
    "TableName", "BucketName", "QueueName", "StateMachineName", "ClusterName", "RoleName", "LogGroupName",
    "AlarmName", "TopicName", "DashboardName", "Name",
)  # fmt: skip


def name_of(resource: Mapping[str, Any], values: Mapping[str, str]) -> str:
    """Return the name that a resource is given, placeholders filled in as far as known; nothing when it has none."""
    properties = resource.get("Properties", {})
    name = next((properties[key] for key in _NAME_KEYS if key in properties), "")
    text = str(name["Fn::Sub"] if isinstance(name, dict) else name)
    for placeholder, value in values.items():
        text = text.replace("${" + placeholder + "}", value)
    return text


def minified(value: Any) -> str:
    """Write a value as JSON without what only a reader needs."""
    return json.dumps(value, separators=(",", ":"), default=str)


def body(template: Template) -> str:
    """Return a template as a call carries it: without comments and metadata, which are for those who read it here."""
    resources = {
        name: {key: value for key, value in resource.items() if key != "Metadata"}
        for name, resource in template["Resources"].items()
    }
    text = minified({**{key: value for key, value in template.items() if key != "Metadata"}, "Resources": resources})
    if len(text.encode()) > MAX_TEMPLATE_BYTES:
        raise ValueError(f"the template has {len(text.encode())} bytes, a call takes {MAX_TEMPLATE_BYTES}")
    return text
