"""The registry: registering agents, removing them, and finding those of a graph."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chalicelib.domain import agent_files, errors, own_agents
from chalicelib.domain.agent_files import FILE, MAX_DEFINITION_BYTES, parse, read
from chalicelib.store.registry import RegistryAgentRecord
from chalicelib.wire.identifiers import LocalSource, RegistryAgentIdentifier, RuntimeId
from chalicelib.wire.prototype import PrototypeRuntime
from chalicelib.wire.registry import (
    OWN_FUNCTION_PREFIX,
    AgentRegistrySource,
    FunctionRuntime,
    RegistryAgent,
    RegistryAgentCatalog,
    Runtime,
)

if TYPE_CHECKING:
    from chalicelib.stores import Stores

logger = logging.getLogger(__name__)

#: How many agents, or versions, an error lists.
MOST_LISTED = 30

#: The longest name and version, in characters (`AgentName`, `AgentVersion`): nothing longer can be registered.
_MAX_KEY_BYTES = 32


def register_local(stores: "Stores", folder: Path) -> RegistryAgentRecord:
    """Register the agent whose ``coral-agent.toml`` is in a folder, replacing what has its name and version.

    Raises `BadRequest` for a file that breaks a rule, ``OSError`` for one that cannot be read.
    """
    folder = folder.resolve()
    return _register(stores, parse(read(folder), folder), base_path=str(folder))


def put(
    stores: "Stores", toml_text: str, name: str, version: str, *, base_path: str | None = None
) -> RegistryAgentRecord:
    """Register an agent under the name and version that its text must have too; repeating it changes nothing.

    Raises `BadRequest` for a text that breaks a rule, `TooLarge` for one that cannot be stored.
    """
    agent = parse(toml_text, Path(base_path) if base_path else None)
    identifier = agent.info.identifier
    if (identifier.name, identifier.version) != (name, version):
        raise errors.BadRequest(
            f"{FILE} is of agent {identifier.name} {identifier.version}, the path names {name} {version}"
        )
    return _register(stores, agent, base_path=base_path)


def delete(stores: "Stores", name: str, version: str) -> None:
    """Delete an agent, hidden from new sessions first; one that is not there is deleted already.

    Raises `Conflict` when a session that runs or is still to be executed has it, and for one of Atoll's own that nobody
    has registered another for. All sessions are read for
    that: expensive, and rare.
    """
    if not _storable(name, version) or not stores.registry.start_deleting(name, version):
        if own(stores, name, version):
            raise errors.Conflict(f"agent {name} {version} is Atoll's own: ATOLL_DEBUG_AGENTS=false leaves them out")
        return
    if session := _session_with(stores, name, version):
        stores.registry.stop_deleting(name, version)
        raise errors.Conflict(f"agent {name} {version} is in use by session {session}")
    stores.registry.remove(name, version)


def get(stores: "Stores", name: str, version: str) -> RegistryAgentRecord:
    """Read one agent; raise `NotFound` for an unknown one."""
    record = stores.registry.find(name, version) if _storable(name, version) else None
    record = record or own(stores, name, version)
    if record is None:
        raise errors.NotFound.of_registry_agent(name, version)
    return record


def own(stores: "Stores", name: str, version: str) -> RegistryAgentRecord | None:
    """Return one of the agents that are Atoll's own: they are in every registry, where no other hides them."""
    if not stores.settings.debug_agents or version != own_agents.VERSION or name not in own_agents.NAMES:
        return None
    return own_agents.record(name)


def called(stores: "Stores", record: RegistryAgentRecord) -> dict[str, str]:
    """Return what is called for an agent that runs as a function, here: a handler on one machine, where it has one."""
    function = record.definition.runtimes.function
    assert function is not None
    if _is_local(stores) and function.handler is not None and record.base_path is not None:
        return {"handler": function.handler, "folder": record.base_path}
    return {"function": function.function or ""}


def catalog(stores: "Stores") -> AgentRegistrySource:
    """List the agents and their versions, each in the order of its name."""
    versions: dict[str, list[str]] = {}
    own_ones = [(name, own_agents.VERSION) for name in own_agents.NAMES] if stores.settings.debug_agents else []
    for name, version in sorted({*stores.registry.names(), *own_ones}):
        versions.setdefault(name, []).append(version)
    return AgentRegistrySource(
        identifier=LocalSource(),
        timestamp=stores.clock.now_ms(),
        name="local",
        agents=[RegistryAgentCatalog(name=name, versions=found) for name, found in versions.items()],
    )


def check_sources(identifiers: Sequence[RegistryAgentIdentifier]) -> None:
    """Raise `BadRequest` for an agent of a registry that is not configured."""
    for identifier in identifiers:
        if identifier.registry_source_id.type != "local":
            raise errors.BadRequest(
                f"the agent {identifier.name!r} is asked for from a {identifier.registry_source_id.type} registry: "
                "only the local one is configured"
            )


def all_of(
    stores: "Stores", identifiers: Sequence[RegistryAgentIdentifier], found: Sequence[RegistryAgentRecord | None]
) -> list[RegistryAgentRecord]:
    """Return the agents that were read for these identifiers; raise `BadRequest` for the first that is not there."""
    records = []
    for identifier, read_record in zip(identifiers, found, strict=True):
        record = read_record or own(stores, identifier.name, identifier.version)
        if record is None:
            known = _registered(stores, identifier.name)
            raise errors.BadRequest(f"there is no agent {identifier.name!r} in version {identifier.version!r}: {known}")
        records.append(record)
    return records


def _registered(stores: "Stores", name: str) -> str:
    """Return the versions of an agent, or the agents that there are."""
    agents = catalog(stores).agents
    versions = next((agent.versions for agent in agents if agent.name == name), None)
    if versions is not None:
        return f"there is {', '.join(versions[:MOST_LISTED])}"
    return f"there is {', '.join(agent.name for agent in agents[:MOST_LISTED])}" if agents else "none is registered"


def warnings_of(stores: "Stores", toml_text: str, record: RegistryAgentRecord) -> Iterator[str]:
    """Yield what of an agent's file has no effect, each as a sentence."""
    if warning := agent_files.warning_of(toml_text):
        yield warning
    executable = record.definition.runtimes.executable
    if executable and record.base_path is None and _is_local(stores) and _is_relative(executable.path):
        yield f"runtimes.executable.path: {executable.path[:80]!r} is relative, and there is no folder to find it from"


def _is_relative(path: str) -> bool:
    return "/" in path and not Path(path).is_absolute()


def runtime_of(stores: "Stores", agent: RegistryAgent, runtime: RuntimeId) -> Runtime:
    """Return the runtime that a graph asks for; raise `BadRequest` when the agent or this stage does not have it."""
    identifier = agent.info.identifier
    wanted = agent.runtimes.get(runtime)
    if wanted is None:
        raise errors.BadRequest(
            f"agent {identifier.name} {identifier.version} has no runtime {runtime!r}, "
            f"only {', '.join(agent.runtimes.offered())}"
        )
    if runtime == "executable" and not _is_local(stores):
        raise errors.BadRequest(
            f"agent {identifier.name} {identifier.version} cannot run as an executable on AWS: ask for docker"
        )
    if isinstance(wanted, FunctionRuntime) and (fault := _fault_of(stores, wanted)):
        raise errors.BadRequest(f"agent {identifier.name} {identifier.version} {fault}")
    if not isinstance(wanted, PrototypeRuntime) and wanted.transport != "streamable_http":
        raise errors.BadRequest(
            f"agent {identifier.name} {identifier.version} speaks MCP over {wanted.transport} in its runtime "
            f"{runtime}: Atoll speaks streamable_http"
        )
    return wanted


def record_of(stores: "Stores", agent: RegistryAgent, *, base_path: str | None) -> RegistryAgentRecord:
    """Return what is stored of an agent; raise `BadRequest` for one that this stage cannot run, or `TooLarge`."""
    identifier = agent.info.identifier
    function = agent.runtimes.function
    anywhere = agent.runtimes.docker or agent.runtimes.prototype or (function and function.function)
    if not _is_local(stores) and not anywhere:
        raise errors.BadRequest(
            f"agent {identifier.name} {identifier.version} has only runtimes that AWS cannot run (an executable, or a "
            "function with a handler alone): add [runtimes.docker], or a function to [runtimes.function]"
        )
    if not _is_local(stores) and function and function.function and (fault := _fault_of(stores, function)):
        raise errors.BadRequest(f"agent {identifier.name} {identifier.version} {fault}")
    text = agent.model_dump_json(by_alias=True, exclude_none=True)
    fargate = agent.fargate.model_dump(exclude_none=True) if agent.fargate else None
    size = len(text.encode())
    if size > MAX_DEFINITION_BYTES:
        raise errors.TooLarge(
            f"agent {identifier.name} {identifier.version} takes {size} bytes as it is stored: "
            f"at most {MAX_DEFINITION_BYTES} are taken"
        )
    return RegistryAgentRecord(
        name=identifier.name,
        version=identifier.version,
        agent=text,
        digest=hashlib.sha256(json.dumps([text, base_path, *([fargate] if fargate else [])]).encode()).hexdigest(),
        fargate=fargate,
        registered_at_ms=stores.clock.now_ms(),
        base_path=base_path,
    )


def _register(stores: "Stores", agent: RegistryAgent, *, base_path: str | None) -> RegistryAgentRecord:
    record = record_of(stores, agent, base_path=base_path)
    stores.registry.register(record)
    return record


def _session_with(stores: "Stores", name: str, version: str) -> str | None:
    identity = f"{name} {version}"
    for session in stores.sessions.all():
        if session.status in ("pending_execution", "executed") and identity in session.registry_agents:
            return session.session_id
    return None


def _storable(name: str, version: str) -> bool:
    return all(0 < len(part.encode("utf-8", "surrogatepass")) <= _MAX_KEY_BYTES for part in (name, version))


def _fault_of(stores: "Stores", runtime: FunctionRuntime) -> str | None:
    """Return why a function cannot be called here, in words that follow an agent's name."""
    function = runtime.function or ""
    if function.startswith(OWN_FUNCTION_PREFIX):
        name = function.removeprefix(OWN_FUNCTION_PREFIX)
        return None if name in own_agents.NAMES else f"names {function}, and Atoll has no function of that name"
    if _is_local(stores):
        if runtime.handler is None:
            return 'has a Lambda function and no handler: on one machine it needs one (handler = "module:callable")'
        return None
    if not function:
        return "has only a handler, which is for one machine: on AWS it needs a function"
    settings = stores.settings
    account = f"arn:{settings.partition}:lambda:{settings.region}:{settings.account}:"
    if function.startswith("arn:") and not function.startswith(account):
        return f"names a function of another account or region ({function}): Atoll may call those of {account} alone"
    return None


def _is_local(stores: "Stores") -> bool:
    return stores.settings.stage == "local"
