"""What differs from the local stack where its engines run on a world's clock: time, the lives of containers, errors."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from infra.local.ecs.definitions import MotoDefinitions
from infra.local.ecs.environment_files import S3EnvironmentFiles
from infra.local.ecs.tasks import CannotStart, Container, Task, Tasks
from infra.local.environment import ACCOUNT, REGION

if TYPE_CHECKING:
    from tests.faults.platform import World

#: How long a task takes to start and to stop, and an event of it to reach the bus.
START_MS = 50
STOP_MS = 30
EVENT_MS = 5

#: The exit code of a process that SIGTERM has ended, as a container has it.
TERMINATED = 143


def refused(operation: str, code: str, status: int = 400) -> ClientError:
    """Return the error that an AWS client raises."""
    return ClientError(
        {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        operation,
    )


class Timer:
    """Something that is to happen in a world (`infra.local.scheduler.Timer`)."""

    def __init__(self, what: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._what = what
        self._arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not happen: the clock does not wait for it."""
        self.cancelled = True

    def fire(self) -> None:
        """Let it happen."""
        self._what(*self._arguments)


class WorldScheduler:
    """The scheduler of a world (`infra.local.scheduler.Scheduler`)."""

    def __init__(self, world: "World") -> None:
        self._world = world

    @property
    def now_ms(self) -> int:
        return self._world.now_ms

    def run(self, what: Callable[..., Any], *arguments: Any) -> None:
        self._world.at(self._world.now_ms, what, *arguments)

    def after(self, delay_ms: int, what: Callable[..., Any], *arguments: Any) -> Timer:
        return self._world.after(delay_ms, what, *arguments)

    def at(self, time_ms: int, what: Callable[..., Any], *arguments: Any) -> Timer:
        return self._world.at(time_ms, what, *arguments)


class Life:
    """A container that lives for a set time."""

    def __init__(self, world: "World", exited: Callable[[int], None]) -> None:
        self._world = world
        self._exited = exited
        self._over = False

    def end(self) -> None:
        self._world.after(STOP_MS, self.exit, TERMINATED)

    def exit(self, code: int) -> None:
        """Exit, once."""
        if not self._over:
            self._over = True
            self._exited(code)


class Ecs(Tasks):
    """The tasks of a world: the local stack's, whose containers live for a set time."""

    start_ms = START_MS

    def __init__(self, world: "World", definitions: MotoDefinitions) -> None:
        super().__init__(
            ACCOUNT,
            REGION,
            WorldScheduler(world),
            containers=self,
            definitions=_Definitions(world, definitions),
            environment_files=_EnvironmentFiles(world),
            put_event=self._report,
        )
        self._world = world
        self._lives: dict[str, Life] = {}
        self._unreported: set[str] = set()
        #: Whether no event arrives at all.
        self.silent = False
        #: All tasks that ever were, by their ARNs, those that ECS has forgotten too.
        self.tasks: dict[str, Task] = {}
        #: How long the agent of a name lives, in ms; one that is not here lives until it is stopped.
        self.lives_ms: dict[str, int] = {}
        #: Says of a request with a new client token why there is no room for its task now, if there is none.
        self.full: Callable[[dict[str, Any]], str | None] = lambda _: None
        #: Why the next tasks of the agent of a name fail to start.
        self.failures: dict[str, list[str]] = {}
        self._refusals: dict[str, dict[str, Any]] = {}

    def run_task(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make a task. The first answer to a client token is the answer to it from then on, a refusal too.

        That is what AWS does (ECS API reference, "Ensuring idempotency").
        """
        token = request.get("clientToken", "")
        if token in self._refusals:
            return self._refusals[token]
        if token not in self._tokens and (reason := self.full(request)) is not None:
            self._refusals[token] = answer = {"tasks": [], "failures": [{"reason": reason}]}
            return answer
        answer = super().run_task(request)
        for each in answer["tasks"]:
            self.tasks.setdefault(each["taskArn"], self._tasks[each["taskArn"]])
        return answer

    def running(self) -> list[Task]:
        """Return the tasks that have not stopped."""
        return [task for task in self.tasks.values() if task.last_status != "STOPPED"]

    def end(self, task: Task, *, exit_code: int = 1, silently: bool = False) -> None:
        """Let a task exit by itself, and the events of that arrive unless they are to be lost."""
        if silently:
            self._unreported.add(task.arn)
        if task.last_status != "STOPPED":
            self._lives[task.arn].exit(exit_code)

    def start_now(self, task: Task) -> None:
        """Start a task at once."""
        self._start(task)

    def event(self, task: Task) -> dict[str, Any]:
        """Return the `Task State Change` event of a task as it is."""
        entry = self.event_of(task)
        return {
            "source": entry["Source"],
            "detail-type": entry["DetailType"],
            "detail": json.loads(entry["Detail"]),
        }

    def _report(self, entry: dict[str, Any]) -> None:
        if not self.silent and entry["Resources"][0] not in self._unreported:
            self._world.after(EVENT_MS, self._world.events.put_events, {"Entries": [entry]})

    # How containers run (`infra.local.ecs.tasks.Containers`).

    def prepare(self, task: Task) -> None:
        """Fail to pull an image, for as often as a test wants it."""
        reasons = self.failures.get(variables(task).get("CORAL_AGENT_ID", ""))
        if reasons:
            raise CannotStart(task.containers[0], reasons.pop(0))

    def start(self, task: Task, container: Container, exited: Callable[[int], None]) -> Life:
        life = self._lives[task.arn] = Life(self._world, exited)
        life_ms = self.lives_ms.get(container.environment.get("CORAL_AGENT_ID", ""))
        if life_ms is not None:
            self._world.after(life_ms, life.exit, 0)
        return life

    def clean(self, task: Task) -> None:
        """Nothing is left."""


class _Definitions:
    """moto's clusters and task definitions, looked up by ECS itself: no call of a handler."""

    def __init__(self, world: "World", definitions: MotoDefinitions) -> None:
        self._world = world
        self._definitions = definitions

    def cluster(self, name: str) -> str:
        return str(self._world.outside(lambda: self._definitions.cluster(name)))

    def task_definition(self, name: str) -> dict[str, Any]:
        return dict(self._world.outside(lambda: self._definitions.task_definition(name)))


class _EnvironmentFiles:
    """moto's S3, read by ECS itself: no call of a handler."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._files = S3EnvironmentFiles(lambda: world.services.client("s3"))

    def variables(self, arn: str) -> dict[str, str]:
        return dict(self._world.outside(lambda: self._files.variables(arn)))


def variables(task: Task) -> dict[str, str]:
    """Return the environment of a task's agent."""
    return task.containers[0].environment
