"""The Amazon States Language: refused definitions, and the values of paths, templates and rules."""

import copy
import json
from typing import Any

import pytest

from infra.local.step_functions import asl
from infra.local.step_functions.asl import InvalidDefinition, StateFailed, read_definition

TASK: dict[str, Any] = {
    "Type": "Task",
    "Resource": "arn:aws:states:::lambda:invoke",
    "Parameters": {"FunctionName": "f", "Payload": {"id.$": "$.id"}},
    "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 2}],
    "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Done"}],
    "Next": "Pause",
}
MACHINE: dict[str, Any] = {
    "StartAt": "Work",
    "States": {
        "Work": TASK,
        "Pause": {"Type": "Wait", "Seconds": 1, "Next": "Which"},
        "Which": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.more", "BooleanEquals": True, "Next": "Work"}],
            "Default": "Done",
        },
        "Done": {"Type": "Succeed"},
    },
}


def test_a_machine_of_what_is_known_is_taken() -> None:
    assert read_definition(json.dumps(MACHINE)) == MACHINE


@pytest.mark.parametrize(
    ("state", "change", "named"),
    [
        ("Work", {"HeartbeatSeconds": 5}, "HeartbeatSeconds"),
        ("Work", {"Resource": "arn:aws:states:::sqs:sendMessage"}, "sqs"),
        ("Work", {"Next": "Nowhere"}, "Nowhere"),
        ("Work", {"Next": None, "End": False}, "either Next or End"),
        ("Work", {"Parameters": {"FunctionName": "f", "Qualifier": "1"}}, "Qualifier"),
        ("Work", {"ResultSelector": {"x.$": "States.Format('{}', $.x)"}}, "States.Format"),
        ("Work", {"ResultPath": "$.a[0]"}, "$.a[0]"),
        ("Work", {"Retry": [{"ErrorEquals": ["States.ALL"], "JitterStrategy": "SOME"}]}, "SOME"),
        ("Work", {"Retry": [{"MaxAttempts": 1}]}, "ErrorEquals"),
        ("Work", {"Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Nowhere"}]}, "Nowhere"),
        ("Pause", {"Timestamp": "2030-01-01T00:00:00Z"}, "one of Seconds"),
        ("Which", {"Choices": [{"Variable": "$.a", "StringMatches": "x*", "Next": "Done"}]}, "StringMatches"),
        ("Done", {"Type": "Parallel"}, "Parallel"),
    ],
)
def test_what_is_not_known_is_refused_by_its_name(state: str, change: dict[str, Any], named: str) -> None:
    machine = copy.deepcopy(MACHINE)
    changed = {**machine["States"][state], **change}
    machine["States"][state] = {name: value for name, value in changed.items() if value is not None}

    with pytest.raises(InvalidDefinition) as refused:
        read_definition(json.dumps(machine))

    assert named in str(refused.value)


@pytest.mark.parametrize("text", ["no JSON", "{}", "[]", '{"States": {}}'])
def test_what_is_not_a_machine_is_refused(text: str) -> None:
    with pytest.raises(InvalidDefinition):
        read_definition(text)


@pytest.mark.parametrize(
    ("path", "data", "placed"),
    [
        ("$", {"a": 1}, "r"),
        (None, {"a": 1}, {"a": 1}),
        ("$.r", {"a": 1}, {"a": 1, "r": "r"}),
        ("$.a.b", {"a": {"c": 1}}, {"a": {"c": 1, "b": "r"}}),
    ],
)
def test_a_result_is_put_where_its_path_says(path: str | None, data: Any, placed: Any) -> None:
    before = copy.deepcopy(data)
    assert asl.placed("r", path, data) == placed
    assert data == before


def test_a_path_that_leads_nowhere_fails_the_state() -> None:
    with pytest.raises(StateFailed, match=r"States\.Runtime"):
        asl.read("$.a.b", {"a": {}}, {})


@pytest.mark.parametrize(
    ("error", "names", "handled"),
    [
        ("ValueError", ["States.TaskFailed"], True),
        ("States.Timeout", ["States.TaskFailed"], False),
        ("States.Timeout", ["States.ALL"], True),
        ("ValueError", ["KeyError"], False),
        ("States.Runtime", ["States.ALL"], False),
    ],
)
def test_which_errors_a_rule_handles(error: str, names: list[str], handled: bool) -> None:
    assert asl.handles({"ErrorEquals": names}, error) is handled


def test_pauses_grow_to_their_limit_and_jitter_shortens_them() -> None:
    retrier = {"IntervalSeconds": 1, "BackoffRate": 2.0, "MaxDelaySeconds": 5}
    assert [asl.pause_s(retrier, used, lambda: 0.5) for used in range(4)] == [1, 2, 4, 5]
    assert asl.pause_s({**retrier, "JitterStrategy": "FULL"}, 1, lambda: 0.25) == 0.5


@pytest.mark.parametrize("text", ["tomorrow", "2030-01-01T00:00:00", 5])
def test_a_wait_needs_a_time_with_its_zone(text: Any) -> None:
    with pytest.raises(StateFailed, match="not a timestamp"):
        asl.waits_until_ms({"TimestampPath": "$.at"}, {"at": text}, {}, now_ms=0)


def test_a_wait_is_exact_to_the_millisecond() -> None:
    data = {"at": "2030-01-01T01:00:00.123+01:00"}
    assert asl.waits_until_ms({"TimestampPath": "$.at"}, data, {}, now_ms=0) == 1_893_456_000_123
    assert asl.waits_until_ms({"Seconds": 2}, data, {}, now_ms=5) == 2_005
