"""The file that `atoll run` takes: a short form of a session, or the whole request of the API, as YAML or JSON.

Errors name the line. `schema` is the JSON schema of the short form, for editors; it is published in
``docs/session.schema.json``.
"""

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel

from atoll.command import USAGE
from atoll.errors import AtollError, AtollWarning, NotFound
from atoll.sending import LOOPBACK
from atoll.wire import unknown_keys
from atoll.wire.budgets import BudgetRequest, Usd
from atoll.wire.faults import rule_of
from atoll.wire.graph import AgentGraphRequest, GraphAgentRequest
from atoll.wire.identifiers import RuntimeId
from atoll.wire.limits import at_most_entries
from atoll.wire.namespaces import Annotations, Name
from atoll.wire.requests import SessionRequest
from atoll.wire.urls import CallableUrl

if TYPE_CHECKING:
    from atoll.client import Client
    from atoll.models import RegistryAgent

#: What the server takes of a request.
MOST_BYTES = 1_000_000

#: How many faults are told at once.
MOST_FAULTS = 10

ModelT = TypeVar("ModelT", bound=BaseModel)

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,9}(ms|s|m|h|d))+", re.ASCII)

#: Which runtime an agent gets that has several: a process is for this machine alone.
_PREFERRED = {True: ("function", "executable", "docker", "prototype"), False: ("function", "docker", "prototype")}

Path_ = tuple[str | int, ...]


class FileFault(AtollError):
    """A file that cannot be taken; the message names file, line and rule."""

    exit_code = USAGE

    def __init__(self, message: str, *, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def duration_ms(value: Any) -> int:
    """Read a time with units; raise ``ValueError`` for anything else."""
    text = str(value).replace(" ", "")
    if isinstance(value, bool) or not _DURATION.fullmatch(text):
        raise ValueError("a time has units: 30s, 10m, 1h30m, 2d")
    return sum(int(number) * _UNITS_MS[unit] for number, unit in re.findall(r"([0-9]+)(ms|s|m|h|d)", text))


def _budget(value: Any) -> Any:
    return value if isinstance(value, Mapping) else {"usd": value}


Duration = Annotated[
    int,
    BeforeValidator(duration_ms),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9]{1,9}(ms|s|m|h|d))+$", "examples": ["30s", "10m", "1h30m"]}),
]
Budget = Annotated[BudgetRequest, BeforeValidator(_budget, json_schema_input_type=Usd | BudgetRequest)]


class _Short(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class ShortAgent(_Short):
    """An agent of the session."""

    agent: Annotated[str, Field(description="An agent of the registry, NAME or NAME@VERSION; the latest when none.")]
    runtime: RuntimeId | None = None
    description: str | None = Field(None, description="What the other agents are told of it.")
    prompt: str | None = Field(None, description="Its system prompt.")
    options: dict[str, Any] = Field(default_factory=dict, description="Values of its options, by name.")
    budget: Budget | None = Field(None, description="US dollars that it may spend.")
    blocking: bool | None = None
    may_close: bool = Field(False, description="Whether it may close the session.")
    annotations: Annotations = Field(default_factory=dict)


class ShortSession(_Short):
    """A session."""

    namespace: Name = "default"
    agents: Annotated[dict[Name, str | ShortAgent], Field(min_length=1), at_most_entries(128)] = Field(
        description="Agents by their names in the session: an agent of the registry, or more of it."
    )
    groups: Literal["all"] | list[list[str]] = Field(
        "all", description="Which agents know each other: all of them, or lists of names."
    )
    ttl: Duration | None = Field(None, description="When the session ends in any case, such as 10m.")
    hold: Duration | None = Field(None, description="How long it can be read after its end.")
    budget: Budget | None = Field(None, description="US dollars that all agents together may spend.")
    webhook: CallableUrl | None = Field(None, description="Where its end report goes.")
    extended_report: bool = False
    budget_webhook: CallableUrl | None = Field(None, description="Where it is told that a budget is low, or reached.")
    annotations: Annotations = Field(default_factory=dict)


def schema() -> dict[str, Any]:
    """Return the JSON schema of the short form."""
    made = ShortSession.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A session of Atoll"} | {
        key: value for key, value in made.items() if key not in ("title", "description")
    }


class SessionFile:
    """A file that was read, and where what is in it stands."""

    def __init__(self, name: str, text: str) -> None:
        """Read a text; raises `FileFault` for what is neither YAML nor JSON."""
        self._name = name
        self.content, self._root = self._loaded(text)

    @classmethod
    def read(cls, path: Path) -> "SessionFile":
        """Read a file, or standard input for ``-``; raises `FileFault`."""
        name = "standard input" if str(path) == "-" else str(path)
        try:
            with open(0 if str(path) == "-" else path, "rb", closefd=str(path) != "-") as opened:
                content = opened.read(MOST_BYTES + 1)
        except OSError as error:
            raise FileFault(f"{name}: {error.strerror}") from error
        if len(content) > MOST_BYTES:
            raise FileFault(f"{name}: it has more than {MOST_BYTES} bytes")
        try:
            return cls(name, content.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise FileFault(f"{name}: it is not UTF-8: {error.reason} at byte {error.start}") from error

    def _loaded(self, text: str) -> tuple[Any, yaml.Node | None]:
        try:
            # JSON may be indented with tabs, which YAML refuses; then there are no lines.
            known = json.loads(text) if text.lstrip().startswith("{") else None
        except ValueError:
            known = None
        try:
            root = yaml.compose(text, yaml.SafeLoader)
            if root is not None:
                self._check_keys(root)
            return (yaml.safe_load(text) if known is None else known), root
        except yaml.YAMLError as error:
            if known is not None:
                return known, None
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or error
            raise FileFault(f"{self._name}{f':{mark.line + 1}' if mark else ''}: {problem}") from error

    def _check_keys(self, root: yaml.Node) -> None:
        """Raise `FileFault` for a key that comes twice: the earlier one would be of no effect."""
        waiting, seen = [root], set()
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                waiting += node.value
            if isinstance(node, yaml.MappingNode):
                keys: set[str] = set()
                for key, value in node.value:
                    if str(key.value) in keys:
                        raise FileFault(f"{self._name}:{key.start_mark.line + 1}: {key.value} comes twice")
                    keys.add(str(key.value))
                    waiting.append(value)

    def fault(self, path: Sequence[str | int], message: str) -> FileFault:
        """Return an error about a part of the file."""
        node, line, known = self._root, None if self._root is None else self._root.start_mark.line, []
        for part in path:
            found = _inside(node, part)
            if found is not None:
                key, node = found
                line = key.start_mark.line
                known.append(str(part))
            elif isinstance(node, yaml.MappingNode) and part is path[-1] and isinstance(part, str):
                known.append(part)  # what is missing
        where = f":{line + 1}" if line is not None else ""
        text = f"{self._name}{where}: {'.'.join(known)}{': ' if known else ''}{message}"
        return FileFault(text, line=0 if line is None else line + 1)

    def request(self, client: "Client") -> SessionRequest:
        """Return the request that the file stands for, with agents as the server's registry has them.

        Raises `FileFault`.
        """
        if isinstance(self.content, dict) and "agentGraphRequest" in self.content:
            whole = self._valid(SessionRequest)
            # Here, since what is sent has no key that is not known.
            if warning := unknown_keys.warning_of(self.content, whole):
                warnings.warn(f"{self._name}: {warning}", AtollWarning, stacklevel=2)
            return whole
        return _Request(self, self._valid(ShortSession), client).made()

    def _valid(self, kind: type[ModelT]) -> ModelT:
        try:
            return kind.model_validate(self.content)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False)
            found = sorted((self._of(fault) for fault in _told(faults)), key=lambda each: each.line)
            raise FileFault("\n  ".join(map(str, found[:MOST_FAULTS]))) from error

    def _of(self, fault: Mapping[str, Any]) -> FileFault:
        message = rule_of(fault)
        if fault["type"] == "extra_forbidden":
            message = "there is no such key here"
        return self.fault(fault["loc"], message)


def _told(faults: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out what says the other of two forms is not it: an agent that is a table is no text."""
    inner = [fault for fault in faults if "ShortAgent" in fault["loc"] and fault["type"] != "model_type"]
    covered = {fault["loc"][:2] for fault in inner}
    return [fault for fault in faults if fault["loc"][:2] not in covered or fault in inner]


def _inside(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """Return where a part of a node begins, and the part."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if str(key.value) == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


class _Request:
    """Makes the whole request out of the short form."""

    def __init__(self, file: SessionFile, short: ShortSession, client: "Client") -> None:
        self._file = file
        self._short = short
        self._client = client
        self._known: dict[tuple[str, str], RegistryAgent] = {}
        self._versions: dict[str, list[str]] | None = None

    def made(self) -> SessionRequest:
        """Return the request."""
        short = self._short
        agents = [self._agent(name, wanted) for name, wanted in short.agents.items()]
        settings: dict[str, Any] = {"extendedEndReport": short.extended_report}
        if short.ttl is not None:
            settings["ttl"] = short.ttl
        if short.hold:
            settings["persistenceMode"] = {"mode": "hold_after_exit", "duration": short.hold}
        hooks = {"sessionEnd": short.webhook, "budgetReached": short.budget_webhook}
        if given := {name: {"url": url} for name, url in hooks.items() if url}:
            settings["webhooks"] = given
        graph = AgentGraphRequest(agents=agents, groups=list(self._groups()), budget=short.budget)
        return SessionRequest.model_validate(
            {
                "agentGraphRequest": graph,
                "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": short.namespace}},
                "execution": {"mode": "immediate", "runtimeSettings": settings},
                "annotations": short.annotations,
            }
        )

    def _groups(self) -> Iterator[list[str]]:
        if self._short.groups == "all":
            yield list(self._short.agents)
            return
        for number, group in enumerate(self._short.groups):
            for place, name in enumerate(group):
                if name not in self._short.agents:
                    raise self._file.fault(("groups", number, place), f"there is no agent {name!r}")
            yield group

    def _agent(self, name: str, wanted: str | ShortAgent) -> GraphAgentRequest:
        asked = ShortAgent(agent=wanted) if isinstance(wanted, str) else wanted
        where: Path_ = ("agents", name) if isinstance(wanted, str) else ("agents", name, "agent")
        kind, version = self._identity(where, asked.agent)
        found = self._found(where, kind, version)
        return self._validated(
            name,
            {
                "id": {"name": kind, "version": version, "registrySourceId": {"type": "local"}},
                "name": name,
                "description": asked.description,
                "options": {key: self._option(name, key, value, found) for key, value in asked.options.items()},
                "systemPrompt": asked.prompt,
                "blocking": asked.blocking,
                "plugins": [{"type": "close_session_tool"}] if asked.may_close else [],
                "provider": {"type": "local", "runtime": asked.runtime or self._runtime(where, found)},
                "annotations": asked.annotations,
                "budget": asked.budget,
            },
        )

    def _validated(self, name: str, agent: dict[str, Any]) -> GraphAgentRequest:
        try:
            return GraphAgentRequest.model_validate(agent)
        except ValidationError as error:
            # No value is in these messages: it may be a secret.
            first = error.errors(include_url=False, include_input=False)[0]
            message = rule_of(first)
            raise self._file.fault(("agents", name, *first["loc"]), message) from error

    def _identity(self, where: Path_, text: str) -> tuple[str, str]:
        name, _, version = text.partition("@")
        if version:
            return name, version
        if self._versions is None:
            self._versions = {agent.name: agent.versions for agent in self._client.registry()}
        if name not in self._versions:
            known = ", ".join(sorted(self._versions)) or "there is none"
            raise self._file.fault(where, f"there is no agent {name!r} in the registry: {known}")
        return name, max(self._versions[name], key=_order)

    def _found(self, where: Path_, name: str, version: str) -> "RegistryAgent":
        if (name, version) not in self._known:
            try:
                self._known[name, version] = self._client.registry_agent(name, version).registry_agent
            except NotFound as error:
                raise self._file.fault(where, str(error)) from error
        return self._known[name, version]

    def _runtime(self, where: Path_, agent: "RegistryAgent") -> str:
        offered = agent.runtimes.offered()
        here = any(f"//{host}" in self._client.place.url.replace("[", "").replace("]", "") for host in LOOPBACK)
        for runtime in _PREFERRED[here]:
            if runtime in offered:
                return runtime
        raise self._file.fault(where, f"it runs as {' or '.join(offered)} alone, which is for one machine")

    def _option(self, name: str, key: str, value: Any, agent: "RegistryAgent") -> dict[str, Any]:
        option = agent.options.get(key)
        if option is None:
            known = ", ".join(sorted(agent.options)) or "it has none"
            identity = agent.info.identifier
            raise self._file.fault(
                ("agents", name, "options", key), f"{identity.name} {identity.version} has no such option: {known}"
            )
        kind = option.type
        listed = value if isinstance(value, list) or not kind.startswith("list[") else [value]
        # Text is what is meant where text is asked for: YAML reads 1.0 as a number.
        if kind == "string" and not isinstance(value, str | list | dict | bool):
            listed = str(value)
        return {"type": kind, "value": listed}


def _order(version: str) -> tuple[list[int], bool, str]:
    """Return what sorts semantic versions: a pre-release is before its release."""
    core, _, rest = version.partition("-")
    return [int(part) if part.isdigit() else 0 for part in core.partition("+")[0].split(".")], not rest, rest
