"""What deploying and destroying a stage take: lists of plain steps, made from what is wanted and what was found."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from infra.aws import project, templates

#: What Lambda keeps unreserved in every account (Lambda quotas, "Reserved concurrency").
UNRESERVED = 100


@dataclasses.dataclass(frozen=True)
class Kept:
    """A resource that has outlived its stack."""

    logical_id: str
    type: str
    name: str
    #: What CloudFormation knows it by (its type's primary identifier).
    identifier: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Found:
    """What there is before anything is done."""

    account: str
    region: str
    partition: str
    #: Whether the stage was deployed before.
    deployed: bool
    #: How many executions Lambda runs at once in this account and region.
    concurrency: int
    #: Reserved concurrency of other functions of the account.
    reserved_elsewhere: int = 0
    #: Subnets of the default VPC in which hosts get public addresses.
    default_vpc: str = ""
    default_subnets: tuple[str, ...] = ()
    #: What an earlier stack of the stage has left; nothing while there is a stack.
    kept: tuple[Kept, ...] = ()


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a person asks for. Parameters that are not given stay what they are, or take their defaults."""

    stage: str
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TakeIn:
    """Make a stack of resources that are there already."""

    stack: str
    kept: tuple[Kept, ...]

    @property
    def title(self) -> str:
        """Say what this does."""
        names = ", ".join(f"{each.type.split('::')[2]} {each.name}" for each in self.kept)
        return f"stack {self.stack} takes in what an earlier one has left: {names}"


@dataclasses.dataclass(frozen=True)
class DeployTemplate:
    """Create or update a stack."""

    stack: str
    template: str
    parameters: Mapping[str, str]

    @property
    def title(self) -> str:
        """Say what this does."""
        given = ", ".join(f"{name}={value}" for name, value in self.parameters.items() if name != "Stage")
        return f"stack {self.stack} from infra/{self.template}.yaml{f' ({given})' if given else ''}"


@dataclasses.dataclass(frozen=True)
class DeployApp:
    """Deploy the functions and the REST API with Chalice; ``if_urls_changed``: only when they know others."""

    stage: str
    limits: Mapping[str, int | None]
    if_urls_changed: bool = False

    @property
    def title(self) -> str:
        """Say what this does."""
        if self.if_urls_changed:
            return "functions again, if the URLs of their own doors have changed"
        limits = ", ".join(f"{name} {limit or 'unlimited'}" for name, limit in self.limits.items())
        return f"functions and REST API with Chalice (reserved concurrency: {limits})"


@dataclasses.dataclass(frozen=True)
class EndRunning:
    """Stop the executions and tasks of a stage; the numbers are of when the plan was made."""

    stage: str
    executions: int
    tasks: int

    @property
    def title(self) -> str:
        """Say what this does."""
        return (
            f"stop what runs: {self.executions} executions (sessions, and deliveries that wait)"
            f" and {self.tasks} tasks of agents, as of now"
        )


@dataclasses.dataclass(frozen=True)
class DeleteApp:
    """Delete the functions and the REST API."""

    stage: str

    @property
    def title(self) -> str:
        """Say what this does."""
        names = ", ".join(f"atoll-{self.stage}" if name == "api_handler" else name for name in project.functions())
        return f"delete the REST API and the functions {names}, with their roles"


@dataclasses.dataclass(frozen=True)
class DeleteStack:
    """Delete a stack; what it retains stays."""

    stack: str
    deleted: tuple[str, ...]
    retained: tuple[str, ...]

    @property
    def title(self) -> str:
        """Say what this does."""
        return f"delete the stack {self.stack}: {', '.join(self.deleted)}"


Step = TakeIn | DeployTemplate | DeployApp | EndRunning | DeleteApp | DeleteStack


class CannotPlan(Exception):
    """What is wanted cannot be had; the message says what is missing."""


def to_deploy(wanted: Wanted, found: Found) -> list[Step]:
    """Return the steps from what was found to a running stage.

    The functions come between the two templates: the stack names them only by ARNs that are known beforehand, and the
    second template joins streams and doors to functions that must exist. The Function URL is known only then.

    Raises `CannotPlan`, `project.UnknownStage`.
    """
    parameters = {"Stage": wanted.stage, **wanted.parameters}
    if not found.deployed and "Subnets" not in parameters:
        if not found.default_subnets:
            raise CannotPlan(
                f"{found.region} has no default VPC with public subnets: name subnets for the agents with --subnets"
            )
        parameters |= {"VpcId": found.default_vpc, "Subnets": ",".join(found.default_subnets)}
    project.of_stage(wanted.stage, {}, traced=False, limits={})  # raises when there is no such stage
    limits = fitting_limits(project.reserved(wanted.stage), found)
    take_in: list[Step] = [TakeIn(f"atoll-{wanted.stage}", found.kept)] if found.kept else []
    return [
        *take_in,
        DeployTemplate(f"atoll-{wanted.stage}", "stack", parameters),
        DeployApp(wanted.stage, limits),
        DeployTemplate(f"atoll-{wanted.stage}-events", "events", {"Stage": wanted.stage}),
        DeployApp(wanted.stage, limits, if_urls_changed=True),
    ]


def fitting_limits(reserved: Mapping[str, int], found: Found) -> dict[str, int | None]:
    """Return the reserved concurrency that the account allows; ``None`` where it allows none.

    The largest, that of waiting agents, is a cap: what is left of it protects everything else.
    """
    left = found.concurrency - found.reserved_elsewhere - UNRESERVED
    limits: dict[str, int | None] = {}
    for name, limit in sorted(reserved.items(), key=lambda entry: entry[1]):
        limits[name] = min(limit, left) if left > 0 else None
        left -= limits[name] or 0
    return limits


def to_destroy(stage: str, *, executions: int, tasks: int) -> list[Step]:
    """Return the steps that delete a stage, but for what its templates retain.

    What runs is stopped once no stream starts more of it, and while it can still be stopped: neither the cluster nor
    the state machines can be deleted before.
    """
    stack, events = templates.stack(), templates.events()
    return [
        DeleteStack(f"atoll-{stage}-events", tuple(_named(events, stage, retained=False)), ()),
        EndRunning(stage, executions, tasks),
        DeleteApp(stage),
        DeleteStack(
            f"atoll-{stage}",
            tuple(_named(stack, stage, retained=False)),
            tuple(_named(stack, stage, retained=True)),
        ),
    ]


def _named(template: Mapping[str, Any], stage: str, *, retained: bool) -> Iterator[str]:
    values = {"Stage": stage, "AWS::AccountId-${AWS::Region": "…"}
    for logical_id, resource in template["Resources"].items():
        if templates.outlives_its_stack(resource) is retained:
            kind = resource["Type"].split("::")[2]
            yield f"{kind} {templates.name_of(resource, values) or logical_id}"
