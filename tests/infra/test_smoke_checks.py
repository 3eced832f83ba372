"""The checks of the smoke test that no emulator can run, on played services: that they pass, and that they fail."""

import dataclasses
import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import boto3
import httpx2
import pytest
from cfnlint.api import ManualArgs, lint_file
from rich.console import Console
from websockets.sync.server import ServerConnection, serve

from infra.deploy import Failed, description
from infra.smoke import agents, leftovers, receiver, run, sessions, surroundings, waits
from infra.smoke import command as smoke
from infra.smoke.checks import Check
from infra.smoke.outcomes import CheckFailed, Outcome, Skipped
from infra.smoke.place import Pace, Place, Target
from infra.smoke.report import table

QUICK = Pace(long_wait_s=0.1, task_s=0.3, metrics_s=0.05, look_s=0.001)


def target(address: str = "", **clients: Any) -> Target:
    return Target(
        stage="dev",
        client=clients.__getitem__,
        api_url="https://api",
        mcp_url="https://mcp",
        sockets_url="",
        address=address,
        key="a key",
        receiver=MagicMock(),
        image="python",
        pace=QUICK,
    )


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are there at once, and the clock does not wait."""
    monkeypatch.setattr(agents, "idle_session", lambda *_, **__: "/api/v1/local/session/smoke/1")
    monkeypatch.setattr(Target, "call", lambda *_, **__: (200, {}))
    monkeypatch.setattr(Target, "endpoint", lambda _, path, agent: f"https://mcp/{agent}")
    monkeypatch.setattr(time, "sleep", lambda _: None)


def test_the_receivers_template_is_a_template() -> None:
    assert [str(each) for each in lint_file(receiver.TEMPLATE, config=ManualArgs(regions=["us-east-1"]))] == []


class Nowhere(Place):
    """A place without an account."""

    def lacks(self, way: str) -> Mapping[str, str]:
        return {"containers": "nothing runs here"}


def outcome(check: Callable[[Target], str], *needs: str, limit_s: float = 5) -> Outcome:
    running = run.Run(Nowhere(MagicMock(spec=boto3.Session), QUICK), "dev", receiver=MagicMock())
    running.target = target()
    [found] = running.checked(SimpleNamespace(name="any"), [Check("a check", check, limit_s, needs)])
    return found


def test_a_check_that_takes_too_long_has_failed() -> None:
    forever = threading.Event()
    found = outcome(lambda _: str(forever.wait(30)), limit_s=0.05)
    forever.set()
    assert (found.result, found.text) == ("failed", "not over after 0 s")


def test_a_check_that_needs_what_is_not_here_is_skipped() -> None:
    found = outcome(lambda _: "done", "containers")
    assert (found.result, found.text) == ("skipped", "nothing runs here")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_check_that_breaks_off_has_failed() -> None:
    def check(_: Target) -> str:
        raise RuntimeError("what nobody expects")

    assert outcome(check).text == "it broke off, with the error above"


def test_a_run_that_is_interrupted_takes_its_stage_down(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []

    class Interrupted:
        def through(self, way: Any, *, keep: bool) -> Iterator[Outcome]:
            yield Outcome("any", "deploy", "passed", "", 0)
            raise KeyboardInterrupt

        def down(self, way: Any) -> Iterator[Outcome]:
            done.append(way.name)
            yield Outcome("any", "destroy", "passed", "", 0)

    ways: Any = [SimpleNamespace(name="first"), SimpleNamespace(name="second")]
    running: Any = Interrupted()
    found = smoke.carry_out(running, ways, keep=False)
    assert [(each.name, each.result) for each in found] == [
        ("deploy", "passed"),
        ("all checks", "failed"),
        ("destroy", "passed"),
    ]
    assert done == ["first"]


def test_an_error_shows_no_url() -> None:
    def check(_: Target) -> str:
        raise httpx2.ConnectError("https://mcp/a-secret refused")

    assert outcome(check).text == "ConnectError"


def test_an_answer_of_another_form_is_a_failure() -> None:
    assert outcome(lambda _: str(dict[str, str]()["status"])).result == "failed"


def alarms_of(template: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The alarms of the template as CloudWatch describes them, their dimensions by their names alone."""

    def metric(given: Mapping[str, Any]) -> dict[str, Any]:
        names = [{"Name": each["Name"], "Value": "x"} for each in given["Dimensions"]]
        return {"Namespace": given["Namespace"], "MetricName": given["MetricName"], "Dimensions": names}

    def alarm(properties: Mapping[str, Any]) -> dict[str, Any]:
        if "Metrics" not in properties:
            return metric(properties)
        stats = [each["MetricStat"]["Metric"] for each in properties["Metrics"] if "MetricStat" in each]
        return {"Metrics": [{"MetricStat": {"Metric": metric(each)}} for each in stats]}

    resources = template["Resources"].values()
    return [alarm(each["Properties"]) for each in resources if each["Type"] == "AWS::CloudWatch::Alarm"]


class CloudWatch:
    """CloudWatch that has values of all metrics but some."""

    def __init__(self, alarms: list[dict[str, Any]], *missing: str) -> None:
        self._alarms, self._missing = alarms, missing

    def get_paginator(self, _: str) -> Any:
        return SimpleNamespace(paginate=lambda **_: [{"MetricAlarms": self._alarms}])

    def list_metrics(self, MetricName: str, **_: Any) -> dict[str, Any]:
        return {"Metrics": [] if MetricName in self._missing else [{}]}


def test_alarms_have_their_metrics_or_the_check_fails() -> None:
    all_alarms = alarms_of(description.stack())
    logs = MagicMock()
    logs.describe_log_streams.return_value = {"logStreams": [{}]}

    def looked(alarms: list[dict[str, Any]], *missing: str) -> str:
        return surroundings.alarms(target(cloudwatch=CloudWatch(alarms, *missing), logs=logs))

    assert f"{len(all_alarms)} alarms: " in looked(all_alarms)
    looked(all_alarms, "Repairs", "ExecutionsFailed")  # no value before something fails: not waited for
    with pytest.raises(CheckFailed, match=r"1 metrics have no value: IteratorAge"):
        looked(all_alarms, "IteratorAge")
    with pytest.raises(CheckFailed, match="SessionsCreated"):
        looked(all_alarms, "SessionsCreated")
    with pytest.raises(CheckFailed, match=f"there are {len(all_alarms) - 1} alarms"):
        looked(all_alarms[1:])
    logs.describe_log_streams.return_value = {"logStreams": []}  # nothing has called the function
    looked(all_alarms, "IteratorAge", "Errors", "Throttles")


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(
    ("statuses", "error"),
    [([200, 200, 200, 429, 429, 429], ""), ([200] * 6, "at a limit of 3"), ([429] * 6, "no wait was held")],
)
def test_the_limit_of_waits(monkeypatch: pytest.MonkeyPatch, statuses: list[int], error: str) -> None:
    functions = MagicMock()
    functions.get_function_concurrency.return_value = {"ReservedConcurrentExecutions": 10}
    answers = iter(statuses)
    monkeypatch.setattr(agents, "post_tool", lambda *_, **__: SimpleNamespace(status_code=next(answers)))
    if error:
        with pytest.raises(CheckFailed, match=error):
            waits.limit_of_waits(target(**{"lambda": functions}))
    else:
        assert "3 were answered 429" in waits.limit_of_waits(target(**{"lambda": functions}))
    limits = [each.kwargs["ReservedConcurrentExecutions"] for each in functions.put_function_concurrency.mock_calls]
    assert limits == [3, 10]  # as before, whatever came of it


@pytest.fixture
def frames() -> Iterator[tuple[str, list[str]]]:
    sent: list[str] = []

    def serving(connection: ServerConnection) -> None:
        sent.append(connection.request.path if connection.request else "")
        for frame in ('{"type": "agent_connected"}', '{"thread": "followed"}'):
            connection.send(frame)
        time.sleep(0)

    with serve(serving, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}", sent
        server.shutdown()


@pytest.mark.usefixtures("idle")
def test_a_socket_is_followed_on_corals_path(frames: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, paths = frames
    monkeypatch.setattr(agents, "call_tool", lambda *_, **__: {})
    secure = target(address=url.replace("http://", "ws://"))
    assert surroundings.sockets_through_address(secure) == "a thread was seen as frame 2"
    assert paths == ["/ws/v1/events/a%20key/session/smoke/1"]
    with pytest.raises(CheckFailed) as failed:
        surroundings.sockets_through_address(target(address="ws://127.0.0.1:1"))
    assert "a%20key" not in str(failed.value)


def test_a_check_that_is_not_there_is_refused() -> None:
    with pytest.raises(Failed, match="there is no check 'webhooks'"):
        run.Run(Nowhere(MagicMock(spec=boto3.Session)), "dev", only=["webhooks"])


def test_a_large_quota_is_not_filled() -> None:
    quotas = MagicMock()
    quotas.get_service_quota.return_value = {"Quota": {"Value": 4000.0}}
    with pytest.raises(Skipped, match="4000 vCPUs"):
        sessions.capacity(target(**{"service-quotas": quotas}))


def test_what_is_not_asked_for_is_skipped_with_the_reason() -> None:
    for check in (sessions.paths_through_address, surroundings.sockets_through_address):
        with pytest.raises(Skipped, match="run with --address"):
            check(target())


class Somehow:
    """A way of deploying that does what a test says."""

    name = "somehow"
    takes_in = False

    def __init__(self, deploy: Callable[[], list[str]]) -> None:
        self.deploy = deploy

    def outputs(self) -> Mapping[str, str]:
        return {}

    def destroy(self) -> None: ...


def test_a_stage_that_is_not_deployed_names_all_that_was_not_checked() -> None:
    def fails() -> list[str]:
        raise Failed("CREATE_FAILED")

    running = run.Run(Nowhere(MagicMock(spec=boto3.Session), QUICK), "dev", only=["webhook"], receiver=MagicMock())
    found = [(each.name, each.result, each.text) for each in running.up(Somehow(fails))]
    assert found == [
        ("deploy", "failed", "CREATE_FAILED"),
        ("webhook", "skipped", "the stage could not be deployed"),
        ("second deployment", "skipped", "the stage could not be deployed"),
    ]


def test_what_a_way_cannot_do_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "find", lambda *_: [])
    running = run.Run(Nowhere(MagicMock(spec=boto3.Session), QUICK), "dev", receiver=MagicMock())
    skipped = [each for each in running.down(Somehow(list)) if each.result == "skipped"]
    assert [each.name for each in skipped] == ["secrets over destroy and deploy"]
    assert "imports nothing" in skipped[0].text


@pytest.mark.usefixtures("idle")
def test_without_function_urls_a_wait_is_as_long_as_the_rest_api_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "call_tool", lambda *_, **__: {"status": "Timeout reached"})
    clock = iter([0.0, 25.1] * 2)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with_url = dataclasses.replace(target(), pace=Pace())
    assert "held for 25.1 s" in waits.long_wait(dataclasses.replace(with_url, mcp_url=with_url.api_url))
    with pytest.raises(CheckFailed, match=r"ended after 25\.1 s"):
        waits.long_wait(with_url)


def test_the_table_shows_every_letter_of_a_long_path() -> None:
    path = "/api/v1/local/session/" + "x" * 90
    shown = Console(width=80, record=True, file=io.StringIO())
    shown.print(table([Outcome("chalice", "names in paths", "failed", f"{path} is answered with 404", 1)]))
    assert shown.export_text().count("x") == 90


def test_each_outcome_is_told_with_its_reason_when_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    running: Any = SimpleNamespace(through=lambda *_, **__: [Outcome("any", "webhook", "failed", "no report", 180)])
    smoke.carry_out(running, [Somehow(list)], keep=True)
    told = " ".join(capsys.readouterr().out.split())
    assert "any: webhook: failed (180 s): no report" in told
    assert "The stage is left as it is" in told
