"""What can be said of the state machines without running them, and that the validators say it.

Two are other hands': statelint has the language's rules (states, transitions, paths), and the parser that moto has from
LocalStack has its grammar (names of errors, integrations, times that contradict each other). What neither notices is
checked here, by the Amazon States Language and the Step Functions Developer Guide.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from statelint.linter import Linter

from infra.deploy import description

Definition = dict[str, Any]

#: The input of each machine's executions: `chalicelib.aws.machines`, and the detail of `webhook_requested`.
INPUTS = {
    "SessionLifecycle": {"namespace", "sessionId", "ttlSeconds"},
    "WebhookDelivery": {"deliveryId", "round"},
}

#: What the context object has (Developer Guide, "Accessing execution data from the Context object").
CONTEXT = {
    "$$": {"Execution", "State", "StateMachine", "Task"},
    "$$.Execution": {"Id", "Input", "Name", "RoleArn", "StartTime", "RedriveCount", "RedriveTime"},
    "$$.State": {"EnteredTime", "Name", "RetryCount"},
    "$$.StateMachine": {"Id", "Name"},
    "$$.Task": {"Token"},
}


def definition(machine: str) -> Definition:
    """Return a state machine as Step Functions gets it."""
    properties = description.stack()["Resources"][machine]["Properties"]
    text = properties["DefinitionString"]
    for name in properties["DefinitionSubstitutions"]:
        arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
        text = text.replace(f"${{{name}}}", "aws" if name == "Partition" else arn)
    return json.loads(text)  # type: ignore[no-any-return]


def faults(machine: str, asl: Definition) -> list[str]:
    """Return what is wrong with a definition, from all hands."""
    return [*Linter.validate(asl), *_parsed(asl), *_paths(asl), *_data(machine, asl), *_retries(asl)]


def _parsed(asl: Definition) -> Iterator[str]:
    try:
        AmazonStateLanguageParser.parse(json.dumps(asl))
    except Exception as error:
        yield f"cannot be parsed: {error}"


def _values(part: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts of a part, each with its key."""
    if isinstance(part, dict):
        for name, value in part.items():
            yield from _values(value, name)
    elif isinstance(part, list):
        for value in part:
            yield from _values(value, key)
    elif isinstance(part, str):
        yield key, part


def _paths(asl: Definition) -> Iterator[str]:
    """Yield templates whose paths are taken for texts, and paths of the context object that lead nowhere."""
    for state in asl["States"].values():
        for part in ("Parameters", "ResultSelector"):
            for key, text in _values(state.get(part, {})):
                if text.startswith("$") and not key.endswith(".$"):
                    yield f"{key}: {text} is no path without .$"
        for key, text in _values(state):
            *parents, name = text.split(".")
            if text.startswith("$$") and name not in CONTEXT.get(".".join(parents), ()):
                yield f"{key}: the context object has no {text}"


def _data(machine: str, asl: Definition) -> Iterator[str]:
    """Yield what is read and is neither in the input nor made by a state."""
    made = set(INPUTS[machine])
    for state in asl["States"].values():
        result = state.get("ResultPath", "").removeprefix("$.")
        made |= {f"{result}.{name.removesuffix('.$')}" for name in state.get("ResultSelector", {})}
        made |= {
            f"{catch['ResultPath'].removeprefix('$.')}.{name}"
            for catch in state.get("Catch", ())
            for name in ("Error", "Cause")
        }
    for name, state in asl["States"].items():
        # A selector reads the result, not the state.
        read = {part: value for part, value in state.items() if part not in ("ResultSelector", "ResultPath", "Catch")}
        for _, text in _values(read):
            parts = text.removeprefix("$.").split(".")
            if text.startswith("$.") and parts[0] not in made and ".".join(parts[:2]) not in made:
                yield f"{name} reads {text}, which nothing makes"


def _retries(asl: Definition) -> Iterator[str]:
    """Yield retriers whose longest pause is not above the first (Amazon States Language, "Retrying after error")."""
    for name, state in asl["States"].items():
        for retrier in state.get("Retry", ()):
            if "MaxDelaySeconds" in retrier and retrier["MaxDelaySeconds"] <= retrier.get("IntervalSeconds", 1):
                yield f"{name}: MaxDelaySeconds is not above IntervalSeconds"


@pytest.mark.parametrize("machine", INPUTS)
def test_a_state_machine_is_valid(machine: str) -> None:
    assert faults(machine, definition(machine)) == []


def test_these_are_all() -> None:
    resources = description.stack()["Resources"]
    assert {name for name, each in resources.items() if each["Type"] == "AWS::StepFunctions::StateMachine"} == set(
        INPUTS
    )


def _payload(key: str, value: str) -> Callable[[dict[str, Any]], Any]:
    def broken(states: dict[str, Any]) -> None:
        payload = states["CloseSession"]["Parameters"]["Payload"]
        del payload["namespace.$"]
        payload[key] = value

    return broken


def _with(state: str, **fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda states: states[state].update(fields)


def _retry(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda states: states["CloseSession"]["Retry"][0].update(fields)


#: What is broken in the lifecycle, and a word of what is said.
BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a target that is not there": (_with("CloseSession", Next="Nowhere"), "Nowhere"),
    "a state that nobody reaches": (lambda states: states.update(Lost={"Type": "Succeed"}), "Lost"),
    "an unknown field": (_with("CloseSession", Timeout=5), "Timeout"),
    "a path that is none": (_with("Hold", TimestampPath="$.hold..[until"), "TimestampPath"),
    "a path without $": (_with("Hold", TimestampPath="hold.until"), "TimestampPath"),
    "a path of a choice without $": (lambda s: s["IsRemoved"]["Choices"][0].update(Variable="removal"), "parsed"),
    "a path of a payload that is none": (_payload("namespace.$", "$.[namespace"), "namespace"),
    "a path that is taken for a text": (_payload("namespace", "$.namespace"), "no path without"),
    "a path of the context that is not there": (_payload("namespace.$", "$$.Task.Tokn"), "the context object"),
    "an intrinsic function that is none": (_payload("namespace.$", "States.Formt('{}', $.namespace)"), "namespace"),
    "an intrinsic function without an end": (_payload("namespace.$", "States.Format('{}', $.namespace"), "namespace"),
    "an unknown name of an error": (_retry(ErrorEquals=["States.TaskFaild"]), "Custom Error Names"),
    "States.ALL beside others": (_retry(ErrorEquals=["States.ALL", "States.Timeout"]), "States.ALL"),
    "two timeouts": (_with("RunAgents", TimeoutSeconds=5), "TimeoutSeconds"),
    "a path to a timeout that is a number": (_with("RunAgents", TimeoutSecondsPath=5), "TimeoutSecondsPath"),
    "a heartbeat longer than the timeout": (_with("CloseSession", HeartbeatSeconds=1_000), "HeartbeatSeconds"),
    "pauses that do not grow": (_retry(IntervalSeconds=300), "MaxDelaySeconds"),
    "an integration that is none": (_with("CloseSession", Resource="arn:aws:states:::lambda:invok"), "invok"),
    "data that nobody makes": (_with("Hold", TimestampPath="$.held.until"), "nothing makes"),
    "a part of data that nobody makes": (_with("Hold", TimestampPath="$.hold.till"), "nothing makes"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_fault_is_noticed(what: str) -> None:
    asl = definition("SessionLifecycle")
    breaks, said = BROKEN[what]
    breaks(asl["States"])
    found = faults("SessionLifecycle", asl)
    assert [each for each in found if said in each], found
