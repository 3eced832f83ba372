"""Plays Fargate: each task that Atoll runs becomes a process with the environment of the recorded ``RunTask``.

ministack answers and records ``RunTask`` but runs nothing without Docker, and puts no events on the bus.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from infra.local.ecs.environment_files import S3EnvironmentFiles
from infra.local.event_bridge.transformer import transformed

ROOT = Path(__file__).parents[2]


class Containers:
    """The tasks of one cluster, from ``with`` on."""

    def __init__(self, client: Callable[[str], Any], cluster: str, reachable: dict[str, str]) -> None:
        """``reachable`` says where what a real container would call by name is found on this machine."""
        self._ecs, self._events, self._functions = client("ecs"), client("events"), client("lambda")
        self._environment_files = S3EnvironmentFiles(lambda: client("s3"))
        self._cluster = cluster
        self._reachable = reachable
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, closed with the processes that write to it
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="containers", daemon=True)
        #: Descriptions of all tasks that were started, by ``startedBy``.
        self.tasks: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for process in self._running.values():
            process.kill()
            process.wait()
        self._log.close()

    def output(self) -> str:
        """Return what all containers have printed so far."""
        self._log.seek(0)
        return self._log.read().decode()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            for arn in self._ecs.list_tasks(cluster=self._cluster)["taskArns"]:
                if arn not in self._running:
                    self._try(self._describe(arn))
            for arn, process in list(self._running.items()):
                self._look_after(arn, process)

    def _try(self, task: dict[str, Any]) -> None:
        """Start a task; one whose environment file is gone ends without a start, as in ECS."""
        try:
            self._start(task)
        except OSError as error:
            reason = f"ResourceInitializationError: failed to download env files: {error}"
            self._ecs.stop_task(cluster=self._cluster, task=task["taskArn"], reason=reason)
            self._report({**_stopped(task, reason), "containers": [{"name": "agent", "lastStatus": "STOPPED"}]})

    def _start(self, task: dict[str, Any]) -> None:
        self.tasks[task["startedBy"]] = task
        override = next(each for each in task["overrides"]["containerOverrides"] if each["name"] == "agent")
        variables = {each["name"]: each["value"] for each in override["environment"]}
        for file in override.get("environmentFiles", []):
            variables = self._environment_files.variables(file["value"]) | variables
        environment = {name: self._here(value) for name, value in variables.items()}
        image = next(each["image"] for each in task["containers"] if each["name"] == "agent")
        agent = image.split("/")[-1].split(":")[0]
        self._running[task["taskArn"]] = subprocess.Popen(
            [sys.executable, str(ROOT / "agents/run.py"), agent],
            env={"PATH": os.environ["PATH"], **environment},
            stdout=self._log,
            stderr=self._log,
        )

    def _here(self, value: str) -> str:
        for there, here in self._reachable.items():
            value = value.replace(there, here)
        return value

    def _look_after(self, arn: str, process: subprocess.Popen[bytes]) -> None:
        task = self._describe(arn)
        if task["lastStatus"] == "STOPPED" and process.poll() is None:
            process.terminate()
            process.wait(10)
        code = process.poll()
        if code is None:
            return
        del self._running[arn]
        if task["lastStatus"] != "STOPPED":
            self._ecs.stop_task(cluster=self._cluster, task=arn, reason="Essential container in task exited")
        self._report_the_end(task, code)

    def _describe(self, arn: str) -> dict[str, Any]:
        return dict(self._ecs.describe_tasks(cluster=self._cluster, tasks=[arn])["tasks"][0])

    def _report_the_end(self, task: dict[str, Any], code: int) -> None:
        containers = [{"name": "agent", "lastStatus": "STOPPED", "exitCode": code}]
        stopped = _stopped(task, "Essential container in task exited")
        self._report({**stopped, "startedAt": task["startedAt"].isoformat(), "containers": containers})

    def _report(self, task: dict[str, Any]) -> None:
        """Send the event that ECS would put on the default bus, where only AWS may put events of `aws.` sources."""
        event = json.dumps(
            {
                "id": str(uuid.uuid4()),
                "source": "aws.ecs",
                "detail-type": "ECS Task State Change",
                "account": task["taskArn"].split(":")[4],
                "region": task["taskArn"].split(":")[3],
                "time": task["stoppedAt"],
                "resources": [task["taskArn"]],
                "detail": task,
            }
        )
        rule = self._events.describe_rule(Name=f"{self._cluster}-task-stopped")
        assert self._events.test_event_pattern(EventPattern=rule["EventPattern"], Event=event)["Result"]
        for target in self._events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
            passed_on = transformed(target["InputTransformer"], json.loads(event))
            self._functions.invoke(FunctionName=target["Arn"], InvocationType="Event", Payload=json.dumps(passed_on))


def _stopped(task: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return what ECS says of a task that has stopped now, but for its containers and when it started, if it did."""
    return {
        "taskArn": task["taskArn"],
        "clusterArn": task["clusterArn"],
        "startedBy": task["startedBy"],
        "lastStatus": "STOPPED",
        "desiredStatus": "STOPPED",
        "stoppedAt": datetime.now(UTC).isoformat(),
        "stoppedReason": reason,
    }
