"""The Amazon States Language: which definitions are valid, and what their paths, templates and rules evaluate to.

Known is what Atoll's machines need: Task (``lambda:invoke``, with and without a task token), Wait, Choice, Pass,
Succeed and Fail, with Retry, Catch, timeouts and reference paths. Anything else is refused when the machine is created,
so that no execution comes across it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

Data = Mapping[str, Any]

INVOKE = "arn:aws:states:::lambda:invoke"
INVOKE_AND_WAIT = f"{INVOKE}.waitForTaskToken"

#: Errors that no Retry and no Catch handles (Step Functions guide, "Handling errors").
FATAL = {"States.Runtime", "States.NoChoiceMatched"}

_EVERYWHERE = {"Type", "Comment"}
_ONWARD = {"Next", "End"}
_FIELDS: dict[str, set[str]] = {
    "Task": _ONWARD
    | {"Resource", "Parameters", "ResultSelector", "ResultPath", "TimeoutSeconds", "TimeoutSecondsPath"}
    | {"Retry", "Catch"},
    "Wait": _ONWARD | {"Seconds", "SecondsPath", "Timestamp", "TimestampPath"},
    "Pass": _ONWARD | {"Parameters", "Result", "ResultPath"},
    "Choice": {"Choices", "Default"},
    "Succeed": set(),
    "Fail": {"Error", "Cause"},
}
_RETRY = {
    "ErrorEquals",
    "IntervalSeconds",
    "BackoffRate",
    "MaxAttempts",
    "MaxDelaySeconds",
    "JitterStrategy",
    "Comment",
}
_CATCH = {"ErrorEquals", "Next", "ResultPath", "Comment"}

_PATH = re.compile(r"\$\$?(\.[A-Za-z_][A-Za-z0-9_]*)*")

#: The comparisons of a rule of a Choice.
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "BooleanEquals": lambda found, wanted: found is wanted,
    "StringEquals": lambda found, wanted: isinstance(found, str) and bool(found == wanted),
    "NumericEquals": lambda found, wanted: not isinstance(found, bool) and bool(found == wanted),
}


class InvalidDefinition(Exception):
    """A definition says what Step Functions, or this part of it, does not know; the message names the place."""


class StateFailed(Exception):
    """A state ends with an error, whose name decides what follows."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


def read_definition(text: str) -> dict[str, Any]:
    """Return a machine's definition.

    Raises
    ------
    InvalidDefinition
        when it says anything that is not known here.
    """
    try:
        definition = json.loads(text)
    except ValueError as error:
        raise InvalidDefinition(f"the definition is not JSON: {error}") from error
    for fault in _faults(definition):
        raise InvalidDefinition(fault)
    return dict(definition)


def _faults(definition: Any) -> Iterator[str]:
    if not isinstance(definition, dict) or not isinstance(definition.get("States"), dict):
        yield "the definition has no States"
        return
    yield from _unknown("the definition", definition, {"Comment", "StartAt", "States", "Version"})
    states = definition["States"]
    if definition.get("StartAt") not in states:
        yield f"StartAt names no state: {definition.get('StartAt')!r}"
    for name, state in states.items():
        yield from _faults_of_state(name, state)
        for target in _targets(state):
            if target not in states:
                yield f"{name} goes on to a state that is not there: {target!r}"


def _faults_of_state(name: str, state: Data) -> Iterator[str]:
    kind = state.get("Type")
    if kind not in _FIELDS:
        yield f"{name} has a Type that is not known here: {kind!r}"
        return
    yield from _unknown(name, state, _FIELDS[kind] | _EVERYWHERE)
    if "Next" in _FIELDS[kind] and ("Next" in state) == bool(state.get("End")):
        yield f"{name} needs either Next or End"
    for path in _paths(state):
        if not _PATH.fullmatch(path):
            yield f"{name} has a path that is not known here: {path!r}"
    if kind == "Task":
        yield from _faults_of_task(name, state)
    elif kind == "Choice":
        for rule in state.get("Choices", []):
            yield from _faults_of_rule(name, rule)
    elif kind == "Wait" and len(state.keys() & {"Seconds", "SecondsPath", "Timestamp", "TimestampPath"}) != 1:
        yield f"{name} needs one of Seconds, SecondsPath, Timestamp and TimestampPath"


def _faults_of_task(name: str, state: Data) -> Iterator[str]:
    if state.get("Resource") not in (INVOKE, INVOKE_AND_WAIT):
        yield f"{name} has a Resource that is not known here: {state.get('Resource')!r}"
    known = {"FunctionName", "FunctionName.$", "Payload", "Payload.$"}
    yield from _unknown(f"Parameters of {name}", state.get("Parameters", {}), known)
    for field, allowed in (("Retry", _RETRY), ("Catch", _CATCH)):
        for rule in state.get(field, []):
            yield from _unknown(f"{field} of {name}", rule, allowed)
            if not rule.get("ErrorEquals"):
                yield f"{field} of {name} needs ErrorEquals"
    for retrier in state.get("Retry", []):
        if retrier.get("JitterStrategy", "NONE") not in ("NONE", "FULL"):
            yield f"Retry of {name} has a JitterStrategy that is not known: {retrier['JitterStrategy']!r}"


def _faults_of_rule(name: str, rule: Data) -> Iterator[str]:
    yield from _unknown(f"Choices of {name}", rule, {"Variable", "Next", "Comment", *COMPARISONS})
    if "Variable" not in rule or len(rule.keys() & COMPARISONS.keys()) != 1:
        yield f"a rule of {name} needs a Variable and one of {', '.join(COMPARISONS)}"


def _unknown(place: str, found: Data, known: set[str]) -> Iterator[str]:
    for field in found.keys() - known:
        yield f"{place} has a field that is not known here: {field}"


def _targets(state: Data) -> Iterator[str]:
    for rule in (state, *state.get("Choices", []), *state.get("Catch", [])):
        if "Next" in rule:
            yield rule["Next"]
    if "Default" in state:
        yield state["Default"]


def _paths(value: Any) -> Iterator[str]:
    """Yield all paths in a state, wherever they are."""
    if isinstance(value, list):
        for item in value:
            yield from _paths(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, str) and (name.endswith((".$", "Path")) or name == "Variable"):
                yield item
            else:
                yield from _paths(item)


def read(path: str, data: Any, context: Data) -> Any:
    """Return what a path leads to, in the state's data (``$``) or in the context (``$$``).

    Raises
    ------
    StateFailed
        when there is nothing.
    """
    found: Any = context if path.startswith("$$") else data
    for name in path.split(".")[1:]:
        if not isinstance(found, dict) or name not in found:
            raise StateFailed("States.Runtime", f"the path {path!r} leads nowhere")
        found = found[name]
    return found


def filled(template: Any, data: Any, context: Data) -> Any:
    """Return a template with what its paths lead to: ``{"id.$": "$.sessionId"}`` has an ``id``.

    Raises
    ------
    StateFailed
        when a path leads nowhere.
    """
    if isinstance(template, list):
        return [filled(item, data, context) for item in template]
    if not isinstance(template, dict):
        return template
    return {
        name.removesuffix(".$"): read(value, data, context) if name.endswith(".$") else filled(value, data, context)
        for name, value in template.items()
    }


def placed(result: Any, path: str | None, data: Any) -> Any:
    """Return a state's data with its result at a ``ResultPath``; ``None`` discards the result."""
    if path is None:
        return data
    names = path.split(".")[1:]
    if not names:
        return result
    outer = dict(data) if isinstance(data, dict) else {}
    rest = ".".join(["$", *names[1:]])
    outer[names[0]] = placed(result, rest, outer.get(names[0]))
    return outer


def chosen(state: Data, data: Any, context: Data) -> str:
    """Return the name of the state that a Choice goes on to.

    Raises
    ------
    StateFailed
        when no rule holds and there is no default.
    """
    for rule in state["Choices"]:
        found = read(rule["Variable"], data, context)
        [comparison] = rule.keys() & COMPARISONS.keys()
        if COMPARISONS[comparison](found, rule[comparison]):
            return str(rule["Next"])
    if "Default" not in state:
        raise StateFailed("States.NoChoiceMatched")
    return str(state["Default"])


def waits_until_ms(state: Data, data: Any, context: Data, *, now_ms: int) -> int:
    """Return when a Wait is over, in epoch ms.

    Raises
    ------
    StateFailed
        when its time cannot be understood.
    """
    seconds = read(state["SecondsPath"], data, context) if "SecondsPath" in state else state.get("Seconds")
    if seconds is not None:
        if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 0:
            raise StateFailed("States.Runtime", f"not a number of seconds: {seconds!r}")
        return now_ms + seconds * 1000
    text = read(state["TimestampPath"], data, context) if "TimestampPath" in state else state["Timestamp"]
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise StateFailed("States.Runtime", f"not a timestamp of RFC 3339: {text!r}")
    return round(moment.timestamp() * 1000)


def timeout_s(state: Data, data: Any, context: Data) -> int | None:
    """Return how long a Task may take, in s; ``None`` when it has no limit.

    Raises
    ------
    StateFailed
        when its limit is no positive whole number.
    """
    seconds = state.get("TimeoutSeconds")
    if "TimeoutSecondsPath" in state:
        seconds = read(state["TimeoutSecondsPath"], data, context)
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 1):
        raise StateFailed("States.Runtime", f"not a number of seconds: {seconds!r}")
    return seconds


def handles(rule: Data, error: str) -> bool:
    """Return whether a Retry or a Catch applies to an error."""
    names = rule["ErrorEquals"]
    if error in FATAL:
        return False
    return "States.ALL" in names or error in names or ("States.TaskFailed" in names and error != "States.Timeout")


def pause_s(retrier: Data, used: int, random: Callable[[], float]) -> float:
    """Return the pause before the next attempt, of which there were ``used`` by this retrier; in s."""
    pause = float(retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** used)
    pause = min(pause, float(retrier.get("MaxDelaySeconds", pause)))
    return pause * random() if retrier.get("JitterStrategy") == "FULL" else pause
