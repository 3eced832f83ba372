"""The templates as CloudFormation takes them: plain JSON, the definitions of the state machines in their places."""

import json
from pathlib import Path
from typing import Any

from infra.local.templates import load

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
