"""Reading ``coral-agent.toml``: the file that says what an agent is, how it runs and which options it has."""

import base64
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chalicelib.domain import errors
from chalicelib.domain.options import fault_of_regex
from chalicelib.wire.agent_file import AgentFile
from chalicelib.wire.identifiers import LocalSource, RegistryAgentIdentifier
from chalicelib.wire.registry import RegistryAgent, RegistryAgentInfo, Runtimes

FILE = "coral-agent.toml"

#: Largest definition of one agent as it is stored: an item of DynamoDB has at most 400 KB, its key and names included.
MAX_DEFINITION_BYTES = 380_000


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
