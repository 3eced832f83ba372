"""The smoke test of a stage, run against an emulator as far as that goes: what it says, and that it can fail."""

import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import boto3
import pytest
import typer

from infra.deploy import app, description
from infra.local.demo import receiver as local
from infra.local.ecs.option_files import OptionFiles
from infra.smoke import __main__ as smoke
from infra.smoke import ways
from infra.smoke.outcomes import Outcome
from infra.smoke.place import Pace, Place, Receiver
from infra.smoke.run import Run
from infra.smoke.ways import ChaliceWay, PackagedWay
from tests import packaged
from tests.e2e.conftest import _let_webhooks_reach_this_machine, as_ministack_takes_it
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
    "limits of concurrency": "ministack lets in as many waits as come",
}
PLAYED = "Chalice is played here, and ministack takes no REST API from it"


class Emulator(Place):
    """ministack."""

    def __init__(self, aws: Ministack) -> None:
        super().__init__(boto3.Session(), Pace(long_wait_s=2, task_s=30, metrics_s=1, look_s=0.05))
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
        _let_webhooks_reach_this_machine(self._aws)
        if self._containers is None:
            outputs = self.outputs()
            urls = [outputs["McpUrl"].rstrip("/"), outputs["EndpointURL"].rstrip("/")]
            self._containers = AnyContainers(self._aws.client, STACK, {url: self._place.reach(url) for url in urls})
            self._containers.__enter__()
        return changes

    def destroy(self) -> None:
        if self._containers is not None:
            print(self._containers.output())
            self._containers.__exit__()
        super().destroy()


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


def results(outcomes: list[Outcome]) -> dict[str, str]:
    return {each.name: each.result for each in outcomes}


def test_the_packaged_way(aws: Ministack, place: Emulator, tmp_path: Path) -> None:
    run = Run(place, STAGE, receiver=loopback)
    run.refuse_what_is_there()
    way = Packaged(place, aws)
    outcomes = smoke.carry_out(run, [way], keep=False)
    smoke.finish(outcomes, tmp_path / "junit.xml", STAGE)
    assert ET.parse(tmp_path / "junit.xml").getroot().get("failures") == "0"
