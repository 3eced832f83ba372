"""Reading ``coral-agent.toml``: the file that says what an agent is, how it runs and which options it has."""

import base64
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chalicelib.domain import errors, prototypes
from chalicelib.domain.options import MAX_UNROLLED_TOGETHER, fault_of_default, fault_of_regex, unrolled
from chalicelib.wire import bounded_toml, prototype, unknown_keys
from chalicelib.wire.agent_file import AgentFile
from chalicelib.wire.faults import rule_of
from chalicelib.wire.identifiers import LocalSource, RegistryAgentIdentifier
from chalicelib.wire.limits import characters_of
from chalicelib.wire.options import AgentOption, AgentOptionDisplay
from chalicelib.wire.registry import (
    RegistryAgent,
    RegistryAgentInfo,
    RegistryAgentLlm,
    RegistryAgentMarketplace,
    Runtimes,
)

FILE = "coral-agent.toml"

#: Largest definition of one agent as it is stored: an item of DynamoDB has at most 400 KB, its key and names included.
MAX_DEFINITION_BYTES = 380_000

#: Longest ``coral-agent.toml``, in bytes; what is larger is referred to, and read from the agent's folder.
MAX_FILE_BYTES = 256 * 1024

#: Keys of ``[agent]`` whose texts may stand elsewhere.
_TEXTS = ("description", "summary", "readme")

#: How many of the files that it refers to are watched for changes.
MOST_REFERRED = 1_000

#: What a reference of the type ``constant`` may name: Coral's names, and Atoll's own texts for the prompts.
CONSTANTS = {
    "CORAL_INSTRUCTION_RESOURCE_URI": "coral://instruction",
    "CORAL_STATE_RESOURCE_URI": "coral://state",
    "PROTOTYPE_DEFAULT_SYSTEM_PROMPT": prototype.SYSTEM_PROMPT,
    "PROTOTYPE_DEFAULT_LOOP_INITIAL_BASE_PROMPT": prototype.INITIAL_PROMPT,
    "PROTOTYPE_DEFAULT_LOOP_FOLLOWUP_PROMPT": prototype.FOLLOWUP_PROMPT,
}


def read(folder: Path) -> str:
    """Return the text of the ``coral-agent.toml`` in a folder.

    Raises `BadRequest` for what is no text in UTF-8, `TooLarge`, and ``OSError`` when it cannot be read.
    """
    with (folder / FILE).open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise errors.TooLarge(f"{FILE} has more than {MAX_FILE_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise errors.BadRequest(f"{FILE} is not UTF-8: {error}") from error


def referred_files(toml_text: str, folder: Path) -> list[Path]:
    """Return the files that a ``coral-agent.toml`` refers to, `MOST_REFERRED` at most; none when it is not TOML."""
    try:
        document = _loaded(toml_text)
    except errors.BadRequest:
        return []
    return [folder / path for path in itertools.islice(dict.fromkeys(_referred_paths(document)), MOST_REFERRED)]


def parse(toml_text: str, folder: Path | None = None) -> RegistryAgent:
    """Read the text of a ``coral-agent.toml``; values kept in files are read from its folder.

    Raises `BadRequest` naming the key, and the value's length and limit where that is the fault, and `TooLarge`.
    """
    if len(toml_text.encode()) > MAX_FILE_BYTES:
        raise errors.TooLarge(f"{FILE} has {len(toml_text.encode())} bytes: at most {MAX_FILE_BYTES} are taken")
    document = _loaded(toml_text)
    try:
        file = AgentFile.model_validate(_resolved(document, folder))
    except ValidationError as error:
        raise errors.BadRequest(f"{FILE}: {_describe(error)}") from error
    _check_regexes(file)
    for name, option in file.options.items():
        _check_display(name, option.display)
        if fault := fault_of_default(option):
            raise errors.BadRequest(f"{FILE}: options.{name}.default {fault}")
    if file.runtimes.prototype:
        _check_prototype(file.runtimes.prototype, file.options)
    table = file.agent
    agent = RegistryAgent(
        edition=file.edition,
        info=RegistryAgentInfo(
            identifier=RegistryAgentIdentifier(
                name=table.name, version=table.version, registry_source_id=LocalSource()
            ),
            **table.model_dump(exclude={"name", "version"}),
        ),
        runtimes=Runtimes.model_validate(file.runtimes.model_dump()),  # which passes over what is Atoll's own
        options=file.options,
        llm=RegistryAgentLlm.model_validate(file.llm.model_dump()) if file.llm else None,
        marketplace=RegistryAgentMarketplace.model_validate(file.marketplace.model_dump())
        if file.marketplace
        else None,
    )
    return agent.on(file.runtimes.docker.fargate if file.runtimes.docker else None)


def warning_of(toml_text: str) -> str | None:
    """Return a sentence about the keys of a file that are not known; ``None`` when all are. The file passes `parse`."""
    document = _loaded(toml_text)
    try:
        whole = _without_references(document)
        return unknown_keys.warning_of(whole, AgentFile.model_validate(whole))
    except ValidationError:  # of what stands in files, which are not read for this
        return None


def _without_references(document: dict[str, Any]) -> dict[str, Any]:
    """Return a file without the texts that may stand elsewhere: what is in them says nothing of keys."""
    agent, options = document.get("agent"), document.get("options")
    whole = dict(document)
    if isinstance(agent, dict):
        whole["agent"] = {key: "-" if key in _TEXTS else value for key, value in agent.items()}
    if isinstance(options, dict):
        whole["options"] = {
            name: {key: value for key, value in option.items() if key != "default"}
            for name, option in options.items()
            if isinstance(option, dict)
        }
    return whole


def _check_prototype(runtime: prototype.PrototypeRuntime, options: dict[str, AgentOption]) -> None:
    try:
        prototypes.check(runtime, options)
    except prototypes.BadPrototype as error:
        raise errors.BadRequest(f"{FILE}: {error}") from error


def _check_regexes(file: AgentFile) -> None:
    steps = 0
    for name, option in file.options.items():
        pattern = getattr(getattr(option, "validation", None), "regex", None)
        if pattern is None:
            continue
        where = f"{FILE}: options.{name}.validation.regex"
        steps += unrolled(pattern)
        if fault := fault_of_regex(pattern):
            raise errors.BadRequest(f"{where} is no regular expression: {fault}")
        if steps > MAX_UNROLLED_TOGETHER:
            raise errors.BadRequest(f"{where}: all expressions unroll to more than {MAX_UNROLLED_TOGETHER} steps")


def _loaded(toml_text: str) -> dict[str, Any]:
    try:
        return bounded_toml.loads(toml_text.removeprefix("\ufeff"))
    except ValueError as error:
        raise errors.BadRequest(f"{FILE} is not TOML: {error}") from error


def _referred_paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value.get("type") == "file" and isinstance(value.get("path"), str):
        yield value["path"]
    elif isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _referred_paths(entry)


def _check_display(option: str, display: AgentOptionDisplay | None) -> None:
    """Check the lengths of what a form shows; here, since agents that were stored before are still to be read."""
    for key, high in (("label", 64), ("description", 1_024), ("group", 64)):
        text = getattr(display, key, None)
        if text is not None and not 1 <= characters_of(text) <= high:
            raise errors.BadRequest(
                f"{FILE}: options.{option}.display.{key} has {characters_of(text)} characters: 1 to {high} are allowed"
            )


def _describe(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))} {rule_of(fault)}" for fault in faults[:5])


def _resolved(document: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """Replace string references (``{type = "file", path = ...}``, say) by the texts that they stand for."""
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
    runtimes = document.get("runtimes")
    if isinstance(runtimes, dict) and isinstance(runtimes.get("prototype"), dict):
        prototypes.write_out(runtimes["prototype"], lambda value, name: _content(value, name, folder))
    return document


def _content(value: Any, name: str, folder: Path | None, kind: object = "string") -> Any:
    if isinstance(value, list):
        return [_content(entry, name, folder, kind) for entry in value]
    if not (isinstance(value, dict) and "type" in value):
        return value
    content = _referred(value, name, folder)
    as_base64 = value.get("base64", kind in ("blob", "list[blob]"))
    if not isinstance(as_base64, bool):
        raise errors.BadRequest(f"{FILE}: {name}.base64 must be true or false")
    if as_base64:
        return base64.b64encode(content).decode()
    try:
        # As in Coral, bytes that are not of the encoding become U+FFFD.
        return content.decode(value.get("encoding", "utf-8") if value["type"] == "file" else "utf-8", "replace")
    except (LookupError, TypeError) as error:
        raise errors.BadRequest(f"{FILE}: {name}.encoding: {error}") from error


def _referred(reference: dict[str, Any], name: str, folder: Path | None) -> bytes:
    """Return what a reference stands for, as bytes."""
    kind = reference["type"]
    if kind == "string":
        return _text(reference, "value", name).encode()
    if kind == "constant":
        constant = _text(reference, "name", name)
        if constant not in CONSTANTS:
            raise errors.BadRequest(f"{FILE}: {name}.name: there is no constant {constant[:80]!r}")
        return CONSTANTS[constant].encode()
    if kind == "url":
        # Registering is a request, and a request calls DynamoDB alone.
        raise errors.BadRequest(f"{FILE}: {name} names a URL, which is not fetched here: write its text inline")
    if kind != "file":
        raise errors.BadRequest(f"{FILE}: {name}.type must be string, file or constant")
    if folder is None:
        raise errors.BadRequest(f"{FILE}: {name} names a file, and there is no folder to read it from: write it inline")
    return _read(_text(reference, "path", name), name, folder)


def _text(reference: dict[str, Any], key: str, name: str) -> str:
    text = reference.get(key)
    if not isinstance(text, str):
        raise errors.BadRequest(f"{FILE}: {name}.{key} must be text")
    return text


def _read(path: str, name: str, folder: Path) -> bytes:
    try:
        file = (folder / path).resolve()
        if not file.is_relative_to(folder.resolve()):
            raise errors.BadRequest(f"{FILE}: {name}.path leads out of the agent's folder")
        if file.stat().st_size > MAX_DEFINITION_BYTES:
            raise errors.TooLarge(f"{FILE}: the file of {name} has more than {MAX_DEFINITION_BYTES} bytes")
        return file.read_bytes()
    except (OSError, ValueError) as error:
        raise errors.BadRequest(f"{FILE}: the file of {name} cannot be read: {error}") from error
