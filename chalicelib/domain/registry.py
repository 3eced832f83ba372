"""The registry: reading ``coral-agent.toml``, registering agents, and finding those of a graph."""

import base64
import hashlib
import json
import logging
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from chalicelib.aws.tasks import TaskRefused
from chalicelib.domain import errors
from chalicelib.domain.options import fault_of_regex
from chalicelib.store.registry import RegistryAgentRecord
from chalicelib.store.table import Item, Key, Table, read_together
from chalicelib.wire.agent_file import AgentFile
from chalicelib.wire.identifiers import LocalSource, RegistryAgentIdentifier, RuntimeId
from chalicelib.wire.registry import (
    AgentRegistrySource,
    DockerRuntime,
    ExecutableRuntime,
    RegistryAgent,
    RegistryAgentCatalog,
    RegistryAgentInfo,
    Runtimes,
)

if TYPE_CHECKING:
    from chalicelib.deployment import Deployment

logger = logging.getLogger(__name__)

FILE = "coral-agent.toml"

#: Largest definition of one agent as it is stored: an item of DynamoDB has at most 400 KB, its key and names included.
MAX_DEFINITION_BYTES = 380_000

#: What a name and a version may have at most (`AgentName`, `AgentVersion`): nothing longer can be registered.
_MAX_KEY_BYTES = 32


class CannotRun(Exception):
    """An agent of a session cannot be launched: the registry has changed since the session was created."""


def register_local(atoll: "Deployment", folder: Path) -> RegistryAgentRecord:
    """Register the agent whose ``coral-agent.toml`` is in a folder, replacing what has its name and version.

    Raises `BadRequest` for a file that breaks a rule, ``OSError`` for one that cannot be read.
    """
    folder = folder.resolve()
    return _register(atoll, parse((folder / FILE).read_text("utf-8"), folder), base_path=str(folder))


def put(
    atoll: "Deployment", toml_text: str, name: str, version: str, *, base_path: str | None = None
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
    return _register(atoll, agent, base_path=base_path)


def delete(atoll: "Deployment", name: str, version: str) -> None:
    """Delete an agent, hidden from new sessions first; one that is not there is deleted already.

    Raises `Conflict` when a session that runs or is still to be executed has it. That is read off all sessions: dear,
    and rare.
    """
    if not _storable(name, version) or not atoll.registry.start_deleting(name, version):
        return
    if session := _session_with(atoll, name, version):
        atoll.registry.stop_deleting(name, version)
        raise errors.Conflict(f"agent {name} {version} is in use by session {session}")
    atoll.registry.remove(name, version)


def get(atoll: "Deployment", name: str, version: str) -> RegistryAgentRecord:
    """Read one agent; `NotFound` when there is none."""
    record = atoll.registry.find(name, version) if _storable(name, version) else None
    if record is None:
        raise errors.NotFound(f"there is no agent {name!r} in version {version!r}")
    return record


def catalog(atoll: "Deployment") -> AgentRegistrySource:
    """List the agents and their versions, each in the order of its name."""
    versions: dict[str, list[str]] = {}
    for name, version in sorted(atoll.registry.names()):
        versions.setdefault(name, []).append(version)
    return AgentRegistrySource(
        identifier=LocalSource(),
        timestamp=atoll.clock.now_ms(),
        name="local",
        agents=[RegistryAgentCatalog(name=name, versions=found) for name, found in versions.items()],
    )


def keys(atoll: "Deployment", identifiers: Sequence[RegistryAgentIdentifier]) -> list[tuple[Table, Key]]:
    """Return where the agents of a graph are, to be read together with whatever else; `records` takes what was found.

    Raises `BadRequest` for an agent of a registry that is not configured.
    """
    for identifier in identifiers:
        if identifier.registry_source_id.type != "local":
            raise errors.BadRequest(
                f"the agent {identifier.name!r} is asked for from a {identifier.registry_source_id.type} registry: "
                "only the local one is configured"
            )
    return [(atoll.registry, atoll.registry.key(each.name, each.version)) for each in identifiers]


def records(identifiers: Sequence[RegistryAgentIdentifier], items: Sequence[Item | None]) -> list[RegistryAgentRecord]:
    """Turn what was read under `keys` into records; `BadRequest` names an agent that is not there."""
    found = []
    for identifier, item in zip(identifiers, items, strict=True):
        if item is None:
            raise errors.BadRequest(f"there is no agent {identifier.name!r} in version {identifier.version!r}")
        found.append(RegistryAgentRecord.from_item(item))
    return found


def find(atoll: "Deployment", identifiers: Sequence[RegistryAgentIdentifier]) -> list[RegistryAgentRecord]:
    """Read agents in the order they are named; `BadRequest` names one that is not there."""
    return records(identifiers, read_together(atoll.dynamodb, atoll.clock, keys(atoll, identifiers)))


def runtime_of(atoll: "Deployment", agent: RegistryAgent, runtime: RuntimeId) -> DockerRuntime | ExecutableRuntime:
    """Return the runtime that an agent is asked to run in; `BadRequest` when it, or this stage, cannot."""
    identifier = agent.info.identifier
    wanted = agent.runtimes.get(runtime)
    if wanted is None:
        raise errors.BadRequest(
            f"agent {identifier.name} {identifier.version} has no runtime {runtime!r}, "
            f"only {', '.join(agent.runtimes.offered())}"
        )
    if runtime == "executable" and not _is_local(atoll):
        raise errors.BadRequest(
            f"agent {identifier.name} {identifier.version} cannot run as an executable on AWS: ask for docker"
        )
    if wanted.transport != "streamable_http":
        raise errors.BadRequest(
            f"agent {identifier.name} {identifier.version} speaks MCP over {wanted.transport} in its runtime "
            f"{runtime}: Atoll speaks streamable_http"
        )
    return wanted


def task_definition(atoll: "Deployment", identifier: Mapping[str, Any], runtime: str) -> str:
    """Return the ARN of an agent's task definition, registering it if that has not been done.

    Raises `CannotRun` when the agent, or its runtime, is not in the registry any more, `TaskRefused` when ECS refuses.
    """
    record = atoll.registry.find_for_launch(identifier["name"], identifier["version"])
    if record is None:
        raise CannotRun(f"the agent {identifier['name']} {identifier['version']} is not in the registry any more")
    offered: dict[str, RuntimeId] = {each: each for each in record.definition.runtimes.offered()}
    if runtime not in offered:
        raise CannotRun(f"the agent {record.name} {record.version} has no runtime {runtime!r} any more")
    return _defined(atoll, record, offered[runtime])


def define_tasks(atoll: "Deployment", name: str, version: str) -> None:
    """Register the task definitions of an agent, so that its first launch finds them: the reaction to what it says.

    What ECS refuses is told in the log here, and by the state of each agent that is to be launched so.
    """
    record = atoll.registry.find(name, version)
    if record is None:
        return
    for runtime in record.definition.runtimes.offered():
        try:
            runtime_of(atoll, record.definition, runtime)
            _defined(atoll, record, runtime)
        except errors.BadRequest:
            continue  # nobody can ask for it here
        except TaskRefused as error:
            logger.warning("task definition refused", extra={"agent": f"{name} {version}", "reason": str(error)})


def _defined(atoll: "Deployment", record: RegistryAgentRecord, runtime: RuntimeId) -> str:
    """Return the ARN of a task definition. Two may both register one at once; both use the one that is kept first."""
    word, request = atoll.task_definitions.wanted(record, runtime)
    if known := record.task_definitions.get(word):
        return known
    return atoll.registry.keep_task_definition(record, word, atoll.task_definitions.register(request))


def parse(toml_text: str, folder: Path | None = None) -> RegistryAgent:
    """Read the text of a ``coral-agent.toml``; values kept in files are read from its folder.

    Raises `BadRequest` naming the key, and the value's length and limit where that is the fault.
    """
    try:
        document = tomllib.loads(toml_text)
    except (ValueError, RecursionError) as error:
        raise errors.BadRequest(f"{FILE} is not TOML: {error}") from error
    try:
        file = AgentFile.model_validate(_with_files(document, folder))
    except ValidationError as error:
        raise errors.BadRequest(f"{FILE}: {_describe(error)}") from error
    for name, option in file.options.items():
        pattern = getattr(getattr(option, "validation", None), "regex", None)
        if pattern is not None and (fault := fault_of_regex(pattern)):
            raise errors.BadRequest(f"{FILE}: options.{name}.validation.regex is no regular expression: {fault}")
    table = file.agent
    return RegistryAgent(
        edition=file.edition,
        info=RegistryAgentInfo(
            identifier=RegistryAgentIdentifier(
                name=table.name, version=table.version, registry_source_id=LocalSource()
            ),
            **table.model_dump(exclude={"name", "version"}),
        ),
        runtimes=Runtimes.model_validate(file.runtimes.model_dump()),
        options=file.options,
    )


def _register(atoll: "Deployment", agent: RegistryAgent, *, base_path: str | None) -> RegistryAgentRecord:
    identifier = agent.info.identifier
    if not agent.runtimes.docker and not _is_local(atoll):
        raise errors.BadRequest(
            f"agent {identifier.name} {identifier.version} has only an executable runtime, which AWS cannot run: "
            "add [runtimes.docker]"
        )
    text = agent.model_dump_json(by_alias=True, exclude_none=True)
    size = len(text.encode())
    if size > MAX_DEFINITION_BYTES:
        raise errors.TooLarge(
            f"agent {identifier.name} {identifier.version} takes {size} bytes as it is stored: "
            f"at most {MAX_DEFINITION_BYTES} are taken"
        )
    record = RegistryAgentRecord(
        name=identifier.name,
        version=identifier.version,
        agent=text,
        digest=hashlib.sha256(json.dumps([text, base_path]).encode()).hexdigest(),
        registered_at_ms=atoll.clock.now_ms(),
        base_path=base_path,
    )
    atoll.registry.register(record)
    return record


def _session_with(atoll: "Deployment", name: str, version: str) -> str | None:
    identity = f"{name} {version}"
    for session in atoll.sessions.all():
        if session.status in ("pending_execution", "executed") and identity in session.registry_agents:
            return session.session_id
    return None


def _storable(name: str, version: str) -> bool:
    return all(0 < len(part.encode("utf-8", "surrogatepass")) <= _MAX_KEY_BYTES for part in (name, version))


def _is_local(atoll: "Deployment") -> bool:
    return atoll.settings.stage == "local"


def _describe(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))} {fault['msg']}" for fault in faults[:5])


def _with_files(document: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """Replace the values that a file stands for (``{type = "file", path = ...}``) by what is in it."""
    agent, options = document.get("agent"), document.get("options")
    if isinstance(agent, dict):
        places: list[tuple[dict[str, Any], str, str]] = [
            (agent, key, f"agent.{key}") for key in ("description", "summary", "readme")
        ]
        if isinstance(agent.get("license"), dict):
            places.append((agent["license"], "text", "agent.license.text"))
        for table, key, name in places:
            table.update({key: _content(table[key], name, folder)} if key in table else {})
    for name, option in options.items() if isinstance(options, dict) else ():
        if isinstance(option, dict) and "default" in option:
            option["default"] = _content(option["default"], f"options.{name}.default", folder, option.get("type"))
    return document


def _content(value: Any, name: str, folder: Path | None, kind: object = "string") -> Any:
    if isinstance(value, list):
        return [_content(entry, name, folder, kind) for entry in value]
    if not (isinstance(value, dict) and value.get("type") == "file"):
        return value
    if folder is None:
        raise errors.BadRequest(f"{FILE}: {name} names a file, and there is no folder to read it from: write it inline")
    return _read(value, name, folder, as_base64=kind in ("blob", "list[blob]") or value.get("base64") is True)


def _read(reference: dict[str, Any], name: str, folder: Path, *, as_base64: bool) -> str:
    path = reference.get("path")
    if not isinstance(path, str):
        raise errors.BadRequest(f"{FILE}: {name}.path must be text")
    try:
        file = (folder / path).resolve()
        if not file.is_relative_to(folder.resolve()):
            raise errors.BadRequest(f"{FILE}: {name}.path leads out of the agent's folder")
        if file.stat().st_size > MAX_DEFINITION_BYTES:
            raise errors.TooLarge(f"{FILE}: the file of {name} has more than {MAX_DEFINITION_BYTES} bytes")
        content = file.read_bytes()
        return base64.b64encode(content).decode() if as_base64 else content.decode(reference.get("encoding", "utf-8"))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise errors.BadRequest(f"{FILE}: the file of {name} cannot be read: {error}") from error
