"""Rules and their targets."""

import json
import time
from typing import Any

import pytest

from infra.local.functions import invocations
from tests.integration.local.conftest import Handler, StandIns, eventually


def put(stand_ins: StandIns, detail_type: str, detail: dict[str, Any]) -> None:
    entry = {
        "EventBusName": "atoll-local",
        "Source": "atoll.sessions",
        "DetailType": detail_type,
        "Detail": json.dumps(detail),
    }
    assert stand_ins.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def deliveries(stand_ins: StandIns) -> list[dict[str, Any]]:
    """Return a list that has the event of each delivery from here on; each succeeds."""
    tasks: list[dict[str, Any]] = []

    def deliver(event: dict[str, Any], _context: object) -> dict[str, str]:
        tasks.append(event)
        return {"state": "delivered"}

    stand_ins.on("deliver_webhook", deliver)
    return tasks


def test_a_requested_webhook_starts_a_delivery_with_the_events_detail(stand_ins: StandIns) -> None:
    tasks = deliveries(stand_ins)

    put(stand_ins, "webhook_requested", {"deliveryId": "d1", "round": 1})

    eventually(lambda: tasks)
    assert (tasks[0]["deliveryId"], tasks[0]["round"]) == ("d1", 1)
    assert tasks[0]["execution"]


def test_other_events_start_nothing(stand_ins: StandIns) -> None:
    tasks = deliveries(stand_ins)

    put(stand_ins, "session_created", {"deliveryId": "no", "round": 1})
    put(stand_ins, "webhook_requested", {"deliveryId": "yes", "round": 1})

    eventually(lambda: tasks)
    assert [task["deliveryId"] for task in tasks] == ["yes"]


def test_a_users_own_rule_with_a_queue_keeps_working(stand_ins: StandIns) -> None:
    queue, events = stand_ins.client("sqs"), stand_ins.client("events")
    url = queue.create_queue(QueueName="mine")["QueueUrl"]
    pattern = json.dumps({"detail-type": ["session_closed"]})
    events.put_rule(Name="mine", EventBusName="atoll-local", EventPattern=pattern)
    target = {"Id": "1", "Arn": "arn:aws:sqs:us-east-1:123456789012:mine"}
    events.put_targets(Rule="mine", EventBusName="atoll-local", Targets=[target])

    put(stand_ins, "session_closed", {"sessionId": "s"})

    messages = eventually(lambda: queue.receive_message(QueueUrl=url).get("Messages"))
    assert json.loads(messages[0]["Body"])["detail"] == {"sessionId": "s"}


#: A task of which ECS tells once: that it has stopped.
NEVER_RUNS = ["/no/such/agent"]


def failing(calls: list[dict[str, Any]]) -> Handler:
    """Return a handler that notes its events and fails on each."""

    def handler(event: dict[str, Any], context: Any) -> None:
        calls.append(event)
        raise KeyError("a fault of ours")

    return handler


def test_a_function_that_fails_gets_its_event_again_after_a_pause(
    stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocations, "PAUSES_S", (0.3, 60))
    times: list[float] = []

    def fail_once(event: dict[str, Any], context: Any) -> None:
        times.append(time.monotonic())
        assert len(times) > 1

    stand_ins.on("on_task_change", fail_once)

    stand_ins.run(stand_ins.define(command=NEVER_RUNS))

    eventually(lambda: len(times) == 2)
    assert times[1] - times[0] >= 0.3


def test_an_event_on_which_a_function_fails_three_times_is_in_the_dead_letters(
    stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocations, "PAUSES_S", (0.01, 0.02))
    calls: list[dict[str, Any]] = []
    stand_ins.on("on_task_change", failing(calls))

    task = stand_ins.run(stand_ins.define(command=NEVER_RUNS))

    queue = stand_ins.client("sqs")
    url = queue.get_queue_url(QueueName="atoll-local-dead-letters")["QueueUrl"]
    [message] = eventually(lambda: queue.receive_message(QueueUrl=url).get("Messages"))
    letter = json.loads(message["Body"])
    assert len(calls) == 3
    assert letter["version"] == "1.0"
    assert letter["requestPayload"] == calls[0]
    assert letter["requestPayload"]["detail"]["taskArn"] == task
    assert letter["requestContext"]["functionArn"].endswith(":function:atoll-local-on_task_change:$LATEST")
    assert letter["requestContext"]["condition"] == "RetriesExhausted"
    assert letter["requestContext"]["approximateInvokeCount"] == 3
    assert letter["responseContext"]["functionError"] == "Unhandled"
    assert letter["responsePayload"]["errorType"] == "KeyError"


def test_nothing_of_a_tasks_environment_is_passed_on_or_kept(
    stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocations, "PAUSES_S", (0.01, 0.02))
    calls: list[dict[str, Any]] = []
    stand_ins.on("on_task_change", failing(calls))
    [cluster] = stand_ins.client("ecs").describe_clusters(clusters=["atoll-local"])["clusters"]
    override = {"name": "agent", "environment": [{"name": "PROMPT", "value": "the plan"}]}
    task = {"taskArn": "arn:a", "clusterArn": cluster["clusterArn"], "lastStatus": "STOPPED", "startedBy": "s/0"}
    detail = {**task, "overrides": {"containerOverrides": [override]}, "containers": [{"name": "agent", "exitCode": 1}]}
    entry = {"Source": "aws.ecs", "DetailType": "ECS Task State Change", "Detail": json.dumps(detail)}

    stand_ins.client("events").put_events(Entries=[entry])

    queue = stand_ins.client("sqs")
    url = queue.get_queue_url(QueueName="atoll-local-dead-letters")["QueueUrl"]
    [message] = eventually(lambda: queue.receive_message(QueueUrl=url).get("Messages"))
    assert calls[0]["detail"]["containers"] == detail["containers"]
    assert calls[0]["detail"]["startedBy"] == "s/0"
    assert "the plan" not in json.dumps(calls) + message["Body"]


def test_a_run_of_the_reconciler_that_fails_is_left_to_the_next(
    stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocations, "PAUSES_S", (0.01, 0.02))
    reconciled: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    stand_ins.on("reconcile", failing(reconciled))
    stand_ins.on("on_task_change", failing(others))

    for name in ("reconcile", "on_task_change"):
        put_to_function(stand_ins, name)

    eventually(lambda: reconciled and len(others) == 3)
    assert len(reconciled) == 1


def put_to_function(stand_ins: StandIns, name: str) -> None:
    """Send a function an event by a rule that has no retry policy of its own."""
    events = stand_ins.client("events")
    events.put_rule(Name=name, EventBusName="atoll-local", EventPattern=json.dumps({"detail-type": [name]}))
    target = {"Id": "1", "Arn": f"arn:aws:lambda:us-east-1:123456789012:function:atoll-local-{name}"}
    events.put_targets(Rule=name, EventBusName="atoll-local", Targets=[target])
    put(stand_ins, name, {})


def test_no_event_of_a_bus_sets_off_a_schedule(stand_ins: StandIns) -> None:
    calls: list[str] = []
    stand_ins.on("reconcile", lambda event, context: calls.append("reconcile"))
    stand_ins.on("on_task_change", lambda event, context: calls.append("on_task_change"))

    stand_ins.run(stand_ins.define(command=NEVER_RUNS))

    eventually(lambda: "on_task_change" in calls)
    assert calls == ["on_task_change"]


def test_watchers_see_each_event_in_eventbridges_envelope(stand_ins: StandIns) -> None:
    put(stand_ins, "session_created", {"sessionId": "s"})

    [event] = [event for event in stand_ins.events if event["source"] == "atoll.sessions"]
    assert event["detail-type"] == "session_created"
    assert event["detail"] == {"sessionId": "s"}
    assert event["account"] == "123456789012"
