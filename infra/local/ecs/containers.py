"""Containers as processes of this machine, for the tasks of `infra.local.ecs.tasks`.

A container whose image is ``executable`` is a process, with its command and working directory; any other image is run
by the docker command line where an engine answers.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable

from chalicelib.aws.task_overrides import EXECUTABLE, OPTIONS_CONTAINER, OPTIONS_DIRECTORY
from infra.local.ecs.option_files import OptionFiles
from infra.local.ecs.processes import Child, Reaper
from infra.local.ecs.tasks import CannotStart, Container, Task
from infra.local.logs.output import AgentOutput, SecretsUnknown, TakeLine
from infra.local.scheduler import Scheduler

#: How long a process may take to end after SIGTERM, in s (30 on AWS).
GRACE_S = 2.0

#: How long the answer to "is there a docker engine?" is cached, in s.
ENGINE_ANSWER_S = 10.0


class Process:
    """The process of a container."""

    def __init__(self, child: Child, scheduler: Scheduler) -> None:
        self._child = child
        self._scheduler = scheduler

    def end(self) -> None:
        """Send SIGTERM, and SIGKILL after the grace."""
        self._child.signal(signal.SIGTERM)
        self._scheduler.after(int(GRACE_S * 1000), self._child.signal, signal.SIGKILL)


class Processes:
    """The processes of all containers."""

    start_ms = 0

    def __init__(self, scheduler: Scheduler, *, output: AgentOutput) -> None:
        """
        Parameters
        ----------
        output
            Takes what the containers write.
        """
        self._scheduler = scheduler
        self._output = output
        #: What takes the lines of each container of a task, by the task's ARN and the container's name.
        self._takers: dict[str, dict[str, TakeLine]] = {}
        self._lock = threading.Lock()
        self._children: set[Child] = set()
        self._files: dict[str, OptionFiles] = {}
        self._reaper = Reaper()
        self._engine: tuple[float, bool] = (0.0, False)

    def close(self) -> None:
        """End every process and wait for it; those that ignore SIGTERM are killed after the grace period."""
        with self._lock:
            children = list(self._children)
        for number, grace_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
            for child in children:
                child.signal(number)
            deadline = time.monotonic() + grace_s
            children = [child for child in children if not child.join(max(0.0, deadline - time.monotonic()))]
        self._reaper.close()
        with self._lock:
            files = list(self._files.values())
            self._files.clear()
        for each in files:
            each.remove()

    def prepare(self, task: Task) -> None:
        """Fetch a task's option files, as a container does on AWS, and look for docker where it is needed.

        Raises `CannotStart` when fetching fails, no docker engine answers, or the secrets in its output are not known.
        """
        containers = [container for container in task.containers if container.name != OPTIONS_CONTAINER]
        for container in task.containers:
            if container.name == OPTIONS_CONTAINER:
                self._fetch_options(task, container)
        foreign = next((container for container in containers if container.image != EXECUTABLE), None)
        if foreign is not None and not self._engine_answers():
            raise _cannot_start(foreign, "no docker engine answers on this machine")
        takers = {container.name: self._taker(container) for container in containers}
        with self._lock:
            self._takers[task.arn] = takers

    def start(self, task: Task, container: Container, exited: Callable[[int], None]) -> Process:
        """Start the process of a container; raise `CannotStart` when its program cannot be run."""
        command, variables = self._command(task, container)

        def ended(code: int) -> None:
            with self._lock:
                self._children.discard(child)
            exited(code)

        try:
            with self._lock:
                child = Child(
                    command,
                    variables=variables,
                    directory=container.directory if container.image == EXECUTABLE else None,
                    reaper=self._reaper,
                    on_line=self._takers[task.arn][container.name],
                    on_exit=ended,
                )
                self._children.add(child)
        except OSError as error:
            raise _cannot_start(container, _reason(error, container)) from error
        return Process(child, self._scheduler)

    def clean(self, task: Task) -> None:
        """Remove a task's files."""
        with self._lock:
            self._takers.pop(task.arn, None)
            files = self._files.pop(task.arn, None)
        if files is not None:
            files.remove()

    def _taker(self, container: Container) -> TakeLine:
        try:
            return self._output.of(container.label, container.environment)
        except SecretsUnknown as error:
            raise _cannot_start(container, str(error)) from error

    def _fetch_options(self, task: Task, container: Container) -> None:
        container.status = "STOPPED"
        try:
            files = OptionFiles(container.environment)
        except OSError as error:
            container.exit_code = 1
            raise CannotStart(container, str(error), f"container {container.name}: {error}") from error
        container.exit_code = 0
        with self._lock:
            self._files[task.arn] = files

    def _command(self, task: Task, container: Container) -> tuple[list[str], dict[str, str]]:
        files = self._files.get(task.arn)
        if container.image == EXECUTABLE:
            if not container.command:
                raise _cannot_start(container, "the container has no command")
            return container.command, files.located(container.environment) if files else container.environment
        # The variables reach docker in its environment, not in its arguments, which others can see.
        names = [argument for name in container.environment for argument in ("--env", name)]
        mounts = ["--volume", f"{files.folder}:{OPTIONS_DIRECTORY}:ro"] if files else []
        command = ["docker", "run", "--rm", "--network", "host", *mounts, *names]
        return [*command, container.image, *container.command], container.environment

    def _engine_answers(self) -> bool:
        asked_at, answers = self._engine
        if not asked_at or time.monotonic() - asked_at > ENGINE_ANSWER_S:
            try:
                answers = (
                    subprocess.run(["docker", "info"], capture_output=True, timeout=5, check=False).returncode == 0
                )
            except (OSError, subprocess.TimeoutExpired):
                answers = False
            self._engine = (time.monotonic(), answers)
        return answers


def _cannot_start(container: Container, why: str) -> CannotStart:
    return CannotStart(container, f"CannotStartContainerError: {why}")


def _reason(error: OSError, container: Container) -> str:
    if isinstance(error, FileNotFoundError):
        if container.directory is not None and error.filename == container.directory:
            return f"no such working directory: {container.directory}"
        return f"no such program: {container.command[0]}"
    if isinstance(error, PermissionError):
        return f"not an executable program: {container.command[0]}"
    return str(error)
