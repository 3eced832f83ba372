"""Plans deploying and destroying a stage: lists of plain steps, made from the wanted and the existing state."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from infra.deploy import Failed, description
from infra.deploy.app import App

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
    """The state of the stage and its account before a deployment."""

    account: str
    region: str
    partition: str
    #: The outputs of the stage's stack; none before it was deployed.
    outputs: Mapping[str, str]
    #: How many executions Lambda runs at once in this account and region.
    concurrency: int
    #: Reserved concurrency of other functions of the account.
    reserved_elsewhere: int = 0
    #: Subnets of the default VPC in which hosts get public addresses.
    default_vpc: str = ""
    default_subnets: tuple[str, ...] = ()
    #: Resources that an earlier stack of the stage has kept; none while there is a stack.
    kept: tuple[Kept, ...] = ()
    #: The stage's functions and REST API, however far their deployment got.
    app: App = dataclasses.field(default_factory=App)
    #: Whether the stage has an address.
    address: bool = False
    #: Whether its agents reach their endpoint by a Function URL, as it is deployed.
    function_urls: bool = True


@dataclasses.dataclass(frozen=True)
class DeployStack:
    """Create or update a stack, or make it of resources that are there already."""

    stack: str
    template: str
    parameters: Mapping[str, str]
    kept: tuple[Kept, ...] = ()

    @property
    def title(self) -> str:
        if self.kept:
            names = ", ".join(f"{each.type.split('::')[2]} {each.name}" for each in self.kept)
            return f"stack {self.stack} imports what an earlier one has kept: {names}"
        parameters = ", ".join(f"{name}={value}" for name, value in self.parameters.items() if name != "Stage")
        source = ".chalice" if self.template == "roles" else f"infra/templates/{self.template}.yaml"
        return f"stack {self.stack} from {source}{f' ({parameters})' if parameters else ''}"


@dataclasses.dataclass(frozen=True)
class DeployApp:
    """Deploy the functions and the REST API with Chalice, from what there is of them."""

    limits: Mapping[str, int | None]
    there: App
    #: After how many days a session ends that names no TTL, and the longest that one may name.
    session_days: int = 0
    max_session_days: int = 0

    @property
    def title(self) -> str:
        limits = ", ".join(f"{name} {limit or 'unlimited'}" for name, limit in self.limits.items())
        return (
            f"functions and REST API with Chalice (reserved concurrency: {limits}; a session without a TTL ends after "
            f"{self.session_days} days, none may live longer than {self.max_session_days})"
        )

    def changes(self) -> list[str]:
        """Return what Chalice makes, updates and deletes. It does not compare what it updates, but sends all anew."""
        wanted = [f"function {name}" for name in description.functions()]
        wanted.append(f"REST API {self.there.apis[0]}" if self.there.apis else "REST API")
        there = self.there.named()
        made = [f"{'~' if name in there else '+'} {name}" for name in wanted]
        return made + [f"- {name}" for name in there if name not in wanted]


@dataclasses.dataclass(frozen=True)
class EndRunning:
    """Stop the executions and tasks of a stage; the numbers are of when the plan was made."""

    executions: int
    tasks: int

    @property
    def title(self) -> str:
        return (
            f"stop what runs: {self.executions} executions (sessions, and deliveries that wait)"
            f" and {self.tasks} tasks of agents, as of now"
        )


@dataclasses.dataclass(frozen=True)
class DeleteApp:
    """Delete the functions and the REST API."""

    there: App

    @property
    def title(self) -> str:
        return f"delete with Chalice: {', '.join(self.there.named()) or 'nothing, as there are no functions'}"


@dataclasses.dataclass(frozen=True)
class DeleteStack:
    """Delete a stack; what it retains stays."""

    stack: str
    deleted: tuple[str, ...]
    retained: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"delete the stack {self.stack}: {', '.join(self.deleted)}"


Step = DeployStack | DeployApp | EndRunning | DeleteApp | DeleteStack


def to_deploy(
    stage: str, asked: Mapping[str, str], found: Found, address: Mapping[str, str] | None = None
) -> list[Step]:
    """Return the steps from what was found to a running stage.

    ``asked`` are parameters; one that is left out keeps its value, or takes its default. The functions come between
    the two templates: the stack names them only by ARNs that are known beforehand, and the second template joins
    streams and URLs to functions that must exist. ``address`` are the parameters of an address that is asked for; a
    stage that has one keeps it.

    Raises `Failed` for an unknown stage, without a subnet for its agents, for a domain without its certificate, for an
    address in China or GovCloud, or for a default TTL above the longest.
    """
    parameters = {"Stage": stage, **{name: value for name, value in asked.items() if name != "FunctionUrls"}}
    function_urls = asked.get("FunctionUrls", "on" if found.function_urls else "off")
    reserved = description.reserved(stage)
    if function_urls == "off" or found.region in description.regions_without_function_urls():
        reserved.pop("mcp", None)  # the REST API's function does its work
        reserved.pop("models", None)  # nobody reaches it
    limits = fitting_limits(reserved, found)
    if not found.outputs and "Subnets" not in parameters:
        if not found.default_subnets:
            raise Failed(f"{found.region} has no default VPC with public subnets: name the agents' with --subnets")
        parameters |= {"VpcId": found.default_vpc, "Subnets": ",".join(found.default_subnets)}
    steps: list[Step] = [
        DeployStack(f"atoll-{stage}", "stack", parameters),
        DeployStack(f"atoll-{stage}-roles", "roles", {}),
        DeployApp(limits, found.app, *_session_days({**found.outputs, **asked})),
        DeployStack(f"atoll-{stage}-events", "events", {"Stage": stage, "FunctionUrls": function_urls}),
    ]
    if address is not None and found.partition != "aws":
        raise Failed(f"CloudFormation has none of CloudFront's functions in {found.partition}: leave --address out")
    if found.address or address is not None:
        steps.append(_address(stage, address or {}))
    take_in = DeployStack(f"atoll-{stage}", "stack", {"Stage": stage}, found.kept)
    return [take_in, *steps] if found.kept else steps


def _session_days(given: Mapping[str, str]) -> tuple[int, int]:
    """Return the default TTL and the longest, in days; raise `Failed` when sessions would outlive the longest."""
    parameters = description.stack()["Parameters"]
    names = ("SessionDays", "MaxSessionDays")
    usual, longest = (int(given.get(name, parameters[name]["Default"])) for name in names)
    if usual > longest:
        raise Failed(f"sessions cannot end after {usual} days when none may live longer than {longest}")
    return usual, longest


def _address(stage: str, asked: Mapping[str, str]) -> DeployStack:
    if ("DomainName" in asked) != ("CertificateArn" in asked):
        raise Failed("--domain and --certificate go together: CloudFront takes a domain only with its certificate")
    return DeployStack(f"atoll-{stage}-address", "address", {"Stage": stage, **asked})


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


def to_destroy(stage: str, found: Found, *, executions: int, tasks: int) -> list[Step]:
    """Return the steps that delete a stage, but for what its templates retain.

    What runs is stopped once no stream starts more of it, and while it can still be stopped: neither the cluster nor
    the state machines can be deleted before.
    """

    names = {"Stage": stage, "AWS::AccountId": found.account, "AWS::Region": found.region}

    def delete(stack: str, template: Mapping[str, Any]) -> DeleteStack:
        gone, kept = (tuple(_named(template, names, retained=retained)) for retained in (False, True))
        return DeleteStack(stack, gone, kept)

    return [
        delete(f"atoll-{stage}-address", description.address()),
        delete(f"atoll-{stage}-events", description.events()),
        EndRunning(executions, tasks),
        DeleteApp(found.app),
        delete(f"atoll-{stage}-roles", description.roles(stage)),
        delete(f"atoll-{stage}", description.stack()),
    ]


def _named(template: Mapping[str, Any], names: Mapping[str, str], *, retained: bool) -> Iterator[str]:
    for logical_id, resource in template["Resources"].items():
        if description.outlives_its_stack(resource) is retained:
            kind = resource["Type"].split("::")[2]
            yield f"{kind} {description.name_of(resource, names) or logical_id}"
