"""Checks of what is around sessions: sockets, alarms, permissions, dead letters."""

import time
from typing import Any
from urllib.parse import quote

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from infra.deploy import description
from infra.smoke import agents
from infra.smoke.outcomes import CheckFailed, Skipped, expect
from infra.smoke.place import Json, Target

#: What a log says when IAM has refused a call.
_REFUSALS = ("AccessDenied", "not authorized to perform")

#: Metrics that have a value only once something has failed: that they are named right is tested without AWS.
_OF_FAILURES = {
    ("AWS/States", "ExecutionsFailed"), ("AWS/States", "ExecutionsTimedOut"), ("AWS/States", "ExecutionsAborted"),
    ("Atoll", "LaunchesFailed"), ("Atoll", "Repairs"),
}  # fmt: skip


def sockets(target: Target) -> str:
    """A follower gets a session's events from API Gateway's socket."""

    def url(path: str) -> str:
        return f"{target.sockets_url}?path={quote(path)}"

    return _followed(target, url)


def sockets_through_address(target: Target) -> str:
    """The same through CloudFront, on Coral's own path."""
    if not target.address:
        raise Skipped("the stage has no address: run with --address")
    return _followed(target, lambda path: target.address.replace("https://", "wss://") + path)


def _followed(target: Target, url: Any) -> str:
    path = agents.idle_session(target, "smoke-sockets", "one", "two")
    namespace, session_id = path.rsplit("/", 2)[1:]
    try:
        at = url(f"/ws/v1/events/{quote(target.key)}/session/{namespace}/{session_id}")
        with connect(at, open_timeout=30) as socket:
            time.sleep(target.pace.look_s)
            agents.call_tool(
                target.endpoint(path, "one"), "coral_create_thread", threadName="followed", participantNames=["two"]
            )
            frames = []
            for _ in range(20):
                frames.append(socket.recv(timeout=60))
                if "followed" in str(frames[-1]):
                    break
    except (WebSocketException, TimeoutError, OSError) as error:
        raise CheckFailed(f"the socket: {type(error).__name__}") from error  # its text may have the key
    finally:
        target.call("DELETE", path)
    expect("followed" in str(frames[-1]), f"the thread is not among the first {len(frames)} frames")
    return f"a thread was seen as frame {len(frames)}"


def alarms(target: Target) -> str:
    """Each alarm is on metrics that there are."""
    client = target.client("cloudwatch")
    pages = client.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"atoll-{target.stage}-")
    found = [alarm for page in pages for alarm in page["MetricAlarms"]]
    wanted = sum(each["Type"] == "AWS::CloudWatch::Alarm" for each in description.stack()["Resources"].values())
    expect(len(found) == wanted, f"there are {len(found)} alarms, and {wanted} in the template")
    metrics = [metric for alarm in found for metric in _metrics(alarm)]
    counted = [metric for metric in metrics if _key(metric) not in _OF_FAILURES and _ran(target, metric)]
    waited_for = {(metric["Namespace"], metric["MetricName"], _text(metric)) for metric in counted}
    # Those of failures have the same namespace and dimension as this one.
    waited_for.add(("Atoll", "SessionsCreated", f"stage={target.stage}"))

    def missing() -> list[str]:
        return sorted(f"{name} ({which})" for _, name, which in (m for m in waited_for if not _listed(client, *m)))

    deadline = time.monotonic() + target.pace.metrics_s
    while left := missing():
        if time.monotonic() > deadline:
            raise CheckFailed(f"{len(left)} metrics have no value: {', '.join(left[:5])}")
        time.sleep(15 * target.pace.look_s)
    rest = len(metrics) - len(counted)
    return f"{len(found)} alarms: {len(waited_for)} metrics have values; {rest} get them with what has not happened"


def _ran(target: Target, metric: Json) -> bool:
    """Return whether a metric is not of a function that no check has used."""
    names = [each["Value"] for each in metric["Dimensions"] if each["Name"] == "FunctionName"]
    streams = target.client("logs").describe_log_streams
    return all(streams(logGroupName=f"/aws/lambda/{name}", limit=1)["logStreams"] for name in names)


def _key(metric: Json) -> tuple[str, str]:
    return metric["Namespace"], metric["MetricName"]


def _text(metric: Json) -> str:
    return ",".join(sorted(f"{each['Name']}={each['Value']}" for each in metric["Dimensions"]))


def _metrics(alarm: Json) -> list[Json]:
    if alarm.get("Metrics"):
        return [each["MetricStat"]["Metric"] for each in alarm["Metrics"] if "MetricStat" in each]
    return [alarm]


def _listed(client: Any, namespace: str, name: str, which: str) -> bool:
    dimensions = [dict(zip(("Name", "Value"), each.split("=", 1), strict=True)) for each in which.split(",")]
    return bool(client.list_metrics(Namespace=namespace, MetricName=name, Dimensions=dimensions)["Metrics"])


def permissions(target: Target) -> str:
    """No function was refused a call, in all that the other checks did."""
    client, refused = target.client("logs"), []
    names = description.functions()
    for function in names:
        group = f"/aws/lambda/{description.function_name(target.stage, function)}"
        try:
            pages = client.get_paginator("filter_log_events").paginate(logGroupName=group)
            lines = [event["message"] for page in pages for event in page["events"]]
        except client.exceptions.ResourceNotFoundException as error:
            raise CheckFailed(f"there is no log group {group}") from error
        refused += [f"{function}: {line[:300]}" for line in lines if any(text in line for text in _REFUSALS)]
    expect(not refused, f"{len(refused)} lines, the first of {refused[0] if refused else ''}")
    return f"the logs of {len(names)} functions say nothing of it"


def dead_letters(target: Target) -> str:
    """No reaction was given up."""
    client = target.client("sqs")
    urls = client.list_queues(QueueNamePrefix=f"atoll-{target.stage}-dead-").get("QueueUrls", [])
    expect(urls, "there is no queue of dead letters")
    for url in urls:
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        number = found["Attributes"]["ApproximateNumberOfMessages"]
        expect(number == "0", f"{number} messages are in {url.rpartition('/')[2]}")
    return f"none, in {len(urls)} queues"
