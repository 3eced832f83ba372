"""The smoke test of a stage, run against an emulator as far as that goes: what it says, and that it can fail."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import boto3
import pytest
import typer

from infra.deploy import Failed, app, description
from infra.local.demo import receiver as local
from infra.local.ecs.option_files import OptionFiles
from infra.smoke import command as smoke
from infra.smoke import sessions, ways
from infra.smoke.checks import CHECKS
from infra.smoke.outcomes import Outcome
from infra.smoke.place import Pace, Place, Receiver
from infra.smoke.run import Run
from infra.smoke.ways import ChaliceWay, PackagedWay
from tests import packaged
from tests.e2e.conftest import as_ministack_takes_it, let_webhooks_reach_this_machine
from tests.e2e.containers import Containers
from tests.e2e.ministack import Ministack
from tests.e2e.test_deploy import PlayedChalice
from tests.environments import NotInstallable

pytestmark = pytest.mark.xdist_group("package")

STAGE = packaged.STAGE
STACK = f"atoll-{STAGE}"

LACKS = {
    "sockets": "ministack has no WebSocket APIs",
    "metrics": "ministack has no alarms on sums, and no metrics",
    "encoded slashes": "ministack decodes a path before it looks for the route",
    "quotas": "ministack has no Service Quotas",
    "limits of concurrency": "ministack lets in as many waits as come",
}
PLAYED = "Chalice is played here, and ministack takes no REST API from it"


class Emulator(Place):
    """ministack."""

    def __init__(self, aws: Ministack) -> None:
        super().__init__(boto3.Session(), Pace(long_wait_s=2, task_s=90, metrics_s=1, look_s=0.05))
        self._aws = aws

    def lacks(self, way: str) -> Mapping[str, str]:
        return LACKS | ({"REST API": PLAYED} if way == "chalice" else {})

    def reach(self, url: str) -> str:
        host = url.removeprefix("https://").split(".")[0]
        if ".lambda-url." in url:
            return f"{self._aws.url}/_aws/lambda-url/{host}"
        return f"{self._aws.url}/restapis/{host}/{STAGE}/_user_request_"

    def adapted(self, template: dict[str, Any]) -> dict[str, Any]:
        return as_ministack_takes_it(template)


class Packaged(PackagedWay):
    """The way of pipelines, with the package that other tests have made; what runs in it is played."""

    def __init__(self, place: Emulator, aws: Ministack) -> None:
        super().__init__(place, STAGE, {})
        self._aws = aws
        self._containers: AnyContainers | None = None

    def packaged(self) -> Path:
        return packaged.folder() / "template.json"

    def deploy(self) -> list[str]:
        changes = super().deploy()
        let_webhooks_reach_this_machine(self._aws)
        if self._containers is None:
            outputs = self.outputs()
            urls = [outputs["McpUrl"].rstrip("/"), outputs["EndpointURL"].rstrip("/")]
            self._containers = AnyContainers(self._aws.client, STACK, {url: self._place.reach(url) for url in urls})
            self._containers.__enter__()
        return changes

    def destroy(self) -> None:
        self.stop()
        super().destroy()

    def stop(self) -> None:
        """End the containers."""
        if self._containers is not None:
            print(self._containers.output())
            self._containers.__exit__()
            self._containers = None


class AnyContainers(Containers):
    """Runs the command of any agent whose image has Python."""

    def _start(self, task: dict[str, Any]) -> None:
        arn = task["taskDefinitionArn"]
        definition = self._ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        [main] = [each for each in definition["containerDefinitions"] if each["name"] == "agent"]
        variables: dict[str, dict[str, str]] = {}
        for override in task["overrides"]["containerOverrides"]:
            found = {each["name"]: each["value"] for each in override.get("environment", [])}
            for file in override.get("environmentFiles", []):
                found = self._environment_files.variables(file["value"]) | found
            variables[override["name"]] = {name: self._here(value) for name, value in found.items()}
        files = OptionFiles(variables.get("options", {}))
        self._running[task["taskArn"]] = subprocess.Popen(
            [sys.executable, *main["command"][1:]],
            env=files.located(variables["agent"]),
            stdout=self._log,
            stderr=self._log,
        )


@dataclasses.dataclass
class Loopback:
    """A receiver on this machine."""

    url: str
    deliveries: list[local.Delivery]

    def next(self, within_s: float) -> local.Delivery | None:
        deadline = time.monotonic() + within_s
        while not self.deliveries and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        return self.deliveries[0] if self.deliveries else None


@contextmanager
def loopback() -> Iterator[Receiver]:
    with local.receiving() as receiver:
        yield Loopback(receiver.url, receiver.deliveries)


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    try:
        running = Ministack()
    except NotInstallable as error:
        pytest.skip(f"ministack cannot be installed here: {error}")
    with running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def place(aws: Ministack) -> Emulator:
    return Emulator(aws)


#: What a run against ministack shows, but for what Chalice's way lacks.
SKIPPED = {
    "a slash in a path",
    "names in paths, through CloudFront",
    "capacity refused and granted",
    "429 beyond the limit of waits",
    "sockets",
    "sockets, through CloudFront",
    "alarms have their metrics",
}


@pytest.fixture(scope="module")
def package(place: Emulator, aws: Ministack) -> Iterator[Packaged]:
    way = Packaged(place, aws)
    yield way
    way.stop()


@pytest.fixture(scope="module")
def run(place: Emulator) -> Run:
    return Run(place, STAGE, receiver=loopback)


@pytest.fixture(scope="module")
def outcomes(run: Run, package: Packaged) -> list[Outcome]:
    run.refuse_what_is_there()
    return list(run.up(package))


def named(outcomes: list[Outcome], result: str) -> set[str]:
    return {each.name for each in outcomes if each.result == result}


def test_a_packaged_stage_passes_as_far_as_the_emulator_goes(outcomes: list[Outcome], tmp_path: Path) -> None:
    smoke.finish(outcomes, tmp_path / "junit.xml", STAGE)
    assert named(outcomes, "failed") == set()
    assert named(outcomes, "skipped") == SKIPPED
    assert all(len(each.text) > 20 for each in outcomes if each.result == "skipped")
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("failures"), suite.get("skipped")) == ("0", str(len(SKIPPED)))
    assert len(suite.findall("testcase")) == len(outcomes) == len(CHECKS) + 2


def test_a_stage_that_is_there_is_not_touched(outcomes: list[Outcome], run: Run) -> None:
    with pytest.raises(Failed, match="a run would delete it with its data"):
        run.refuse_what_is_there()


def test_a_broken_stage_fails_its_checks(
    outcomes: list[Outcome], run: Run, package: Packaged, aws: Ministack, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, sqs = aws.client("logs"), aws.client("sqs")
    group = f"/aws/lambda/{STACK}-reconcile"
    refusal = {"timestamp": int(time.time() * 1000), "message": "AccessDeniedException: not authorized to perform"}
    logs.create_log_stream(logGroupName=group, logStreamName="broken")
    logs.put_log_events(logGroupName=group, logStreamName="broken", logEvents=[refusal])
    queue = sqs.get_queue_url(QueueName=f"{STACK}-dead-letters")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="given up")
    monkeypatch.setattr(sessions, "NAMES", ("smoke a b",))
    monkeypatch.setattr(sessions, "quote", lambda name, safe: quote(name.replace(" ", "+"), safe=safe))

    broken = {"names in paths", "permissions of the functions", "dead letters"}
    found = list(run.checked(package, [check for check in CHECKS if check.name in broken]))

    assert named(found, "failed") == broken, found
    with pytest.raises(typer.Exit) as exited:
        smoke.finish(found, Path(os.devnull), STAGE)
    assert exited.value.exit_code == 1


def test_what_a_destroyed_stage_leaves_is_listed_and_deleted(
    outcomes: list[Outcome], run: Run, package: Packaged, aws: Ministack
) -> None:
    down = run.down(package)
    assert next(down).result == "passed"
    late = "/aws/lambda/atoll-dev-reconcile"  # of an invocation after the deletion
    aws.client("logs").create_log_group(logGroupName=late)
    found = [*down]
    assert {each.name: each.result for each in found} == {
        "what a destroyed stage leaves": "failed",
        "secrets over destroy and deploy": "skipped",
        "leftovers": "passed",
    }
    assert f"1 should be gone: log group {late}" in found[0].text
    run.refuse_what_is_there()


def test_the_way_of_chalice(
    place: Emulator, run: Run, aws: Ministack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trusted = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [trusted]})
    aws.client("iam").create_role(RoleName="any", AssumeRolePolicyDocument=trust)  # of the played functions
    stack, events = description.stack, description.events
    monkeypatch.setattr(description, "stack", lambda: as_ministack_takes_it(stack()))
    monkeypatch.setattr(description, "events", lambda: as_ministack_takes_it(events()))
    monkeypatch.setattr(app, "chalice", PlayedChalice(aws))
    monkeypatch.setattr(ways, "BUILD", tmp_path)
    found = smoke.carry_out(run, [ChaliceWay(place, STAGE, {}, None)], keep=False)
    assert named(found, "failed") == set(), found
    assert named(found, "passed") == {
        "deploy", "dead letters", "second deployment", "destroy", "what a destroyed stage leaves",
        "secrets over destroy and deploy", "leftovers",
    }  # fmt: skip
