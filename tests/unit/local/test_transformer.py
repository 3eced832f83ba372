"""Input transformers on one machine do what EventBridge's documents say of them."""

import json
from typing import Any

import pytest

from infra.deploy import description
from infra.local.event_bridge.transformer import InvalidInput, transformed

EVENT: dict[str, Any] = {
    "time": "2026-01-01T00:00:00Z",
    "detail-type": "T",
    "detail": {"text": "a", "number": 7, "list": [{"reason": 'says "no"'}], "quote": 'a "b"', "empty": ""},
}


@pytest.mark.parametrize(
    ("path", "template", "result"),
    [
        ("$.detail.text", '{"a":"<v>"}', {"a": "a"}),
        ("$.detail.text", '{"a":<v>}', {"a": "a"}),
        ("$.detail.text", '{"a":"so <v>, \\"<v>\\""}', {"a": 'so a, "a"'}),
        ("$.detail-type", '"<v>"', "T"),
        ("$.detail.number", '{"a":<v>}', {"a": 7}),
        ("$.detail.list", '{"a":<v>}', {"a": [{"reason": 'says "no"'}]}),
        ("$.detail.missing.part", '{"a":"<v>"}', {"a": ""}),
        ("$.detail.empty", '{"a":"<v>","b":"<w>"}', {"a": "", "b": "<w>"}),
        ("$.detail.text", "<aws.events.event.json>", EVENT),
    ],
)
def test_values_are_put_into_the_template(path: str, template: str, result: Any) -> None:
    assert transformed({"InputPathsMap": {"v": path}, "InputTemplate": template}, EVENT) == result


@pytest.mark.parametrize(("path", "template"), [("$.detail.quote", '{"a":"<v>"}'), ("$.detail.missing", '{"a":<v>}')])
def test_a_quote_in_a_text_and_nothing_outside_of_quotes_break_it(path: str, template: str) -> None:
    with pytest.raises(InvalidInput):
        transformed({"InputPathsMap": {"v": path}, "InputTemplate": template}, EVENT)


#: Events of ECS, with all that it may say of a task (ECS Developer Guide, "Task state change events").
TASK = {
    "taskArn": "arn:aws:ecs:us-east-1:123456789012:task/atoll-dev/a",
    "startedBy": "s/0",
    "containers": [{"name": "agent", "image": "i", "reason": 'no "image"', "networkInterfaces": []}],
    "overrides": {"containerOverrides": [{"name": "agent", "environment": [{"name": "PROMPT", "value": "a\nsecret"}]}]},
}
STARTED = {"startedAt": "2026-01-01T00:00:00Z"}
STOPPED = {"stoppedAt": "2026-01-01T00:01:00Z", "stopCode": "TaskFailedToStart", "stoppedReason": 'says "no"'}


@pytest.mark.parametrize("more", [STARTED, STOPPED, STARTED | STOPPED], ids=["runs", "never started", "stopped"])
@pytest.mark.parametrize("missing", ["startedBy", "nothing"])
def test_the_rule_of_tasks_passes_on_all_that_the_function_reads_and_no_environment(
    more: dict[str, str], missing: str
) -> None:
    [target] = description.stack()["Resources"]["TaskStoppedRule"]["Properties"]["Targets"]
    assert "DeadLetterConfig" not in target, "whether its letters were the events, no document says"
    task = {name: value for name, value in {**TASK, "lastStatus": "L", **more}.items() if name != missing}
    passed = transformed(target["InputTransformer"], {"time": "", "detail": task})
    assert "secret" not in json.dumps(passed)
    read = ("taskArn", "startedBy", "lastStatus", "startedAt", "stoppedAt", "stopCode", "containers")
    assert passed == {"detail": {name: task.get(name, "") for name in read}}
