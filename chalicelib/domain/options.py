"""Options of an agent: checked when its session is created, stored apart, passed to its process at launch.

No error and no ``repr`` of this module carries a value: it may be a secret.
"""

import base64
import dataclasses
import io
import json
import re
import struct
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from pydantic import TypeAdapter

from chalicelib.aws.task_overrides import MAX_LINE_BYTES, MAX_OVERRIDES_BYTES, OPTIONS_DIRECTORY, fault_of_line
from chalicelib.domain.errors import BadRequest, TooLarge
from chalicelib.wire.options import (
    BlobAgentOptionValidation,
    NumberValidation,
    OptionValue,
    StringAgentOptionValidation,
    ValidationFileSize,
    shortest_f32,
)

if TYPE_CHECKING:
    from mypy_boto3_ecs.type_defs import TaskOverrideTypeDef

    from chalicelib.wire.registry import RegistryAgent

#: Largest option values of one agent as they are stored: an item of DynamoDB has at most 400 KB.
MAX_STORED_BYTES = 380_000

#: How long all values of one agent may be matched against its regular expressions: these are its author's, the values
#: the caller's, and the two may be made for each other. A full graph of 128 agents stays below API Gateway's 29 s.
REGEX_TIMEOUT_S = 0.2

#: What a regular expression may be compiled to: some 30 ms and 20 MB; and all of one agent together.
MAX_UNROLLED = 20_000
MAX_UNROLLED_TOGETHER = 100_000

_COUNTED_REPEAT = re.compile(r"(.|\s)\{\s*([0-9]+)")

_RECURSION = re.compile(r"\(\?(?:R|[+-]?[0-9]|&|P>)")

_SIZE_OF_INTEGER = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "u8": 1, "u16": 2, "u32": 4, "u64": 8}

_value_adapter: TypeAdapter[Any] = TypeAdapter(OptionValue)


@dataclasses.dataclass(frozen=True)
class ResolvedOption:
    """The value of an option, and how it is passed to the agent's process."""

    type: str
    #: In its natural Python type (`chalicelib.wire.options`); a list of them for a ``list[...]``.
    value: Any = dataclasses.field(repr=False)
    transport: str = "env"
    base64: bool = False
    #: Whether it is hidden in what the agent prints.
    secret: bool = False

    @property
    def entries(self) -> list[Any]:
        """The value, or the values of a list."""
        return self.value if self.is_list else [self.value]

    @property
    def is_list(self) -> bool:
        """Whether it is a ``list[...]``."""
        return self.type.startswith("list[")

    @property
    def scalar(self) -> str:
        """Its type, or that of its entries."""
        return self.type[5:-1] if self.is_list else self.type


@dataclasses.dataclass(frozen=True)
class ResolvedOptions:
    """All options of an agent's process, by name. False when it has no options."""

    by_name: Mapping[str, ResolvedOption]

    def __len__(self) -> int:
        return len(self.by_name)

    @property
    def secret(self) -> bool:
        """Whether one of them is secret: then all are encrypted where they are stored."""
        return any(option.secret for option in self.by_name.values())

    def to_json(self) -> str:
        """Return what is stored of them."""
        return json.dumps(
            {
                name: {
                    **_value_adapter.validate_python({"type": option.type, "value": option.value}).to_wire(),
                    "transport": option.transport,
                    "base64": option.base64,
                    "secret": option.secret,
                }
                for name, option in self.by_name.items()
            },
            separators=(",", ":"),
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(
            {
                name: ResolvedOption(
                    type=stored["type"],
                    value=_value_adapter.validate_python(stored).value,
                    transport=stored["transport"],
                    base64=stored["base64"],
                    # Of an option that was stored before this was noted it is not known: better hidden than shown.
                    secret=stored.get("secret", True),
                )
                for name, stored in json.loads(text).items()
            }
        )


def resolve(agent: "RegistryAgent", agent_name: str, values: Mapping[str, OptionValue]) -> ResolvedOptions:
    """Match the values of a request with an agent's options; a default fills an option without a value.

    As in Coral, a list without a default is empty, and anything else without one is not passed to the process.

    Raises `BadRequest` naming the agent, the option and the rule for an unknown option, a wrong type, a value that
    fails its validation, and a required option that is missing; `TooLarge` for more than can be stored.
    """
    for name in values:
        if name not in agent.options:
            raise BadRequest(f"the agent {agent_name!r} has no option {name!r}")
    resolved = {}
    matching = _Matching()
    for name, option in agent.options.items():
        value = _chosen(option, values.get(name))
        fault = value if isinstance(value, str) else None
        if isinstance(value, ResolvedOption):
            resolved[name] = value
            fault = next(_faults(option, value, matching), None)
        if fault:
            raise BadRequest(f"the option {name!r} of the agent {agent_name!r} {fault}")
    options = ResolvedOptions(resolved)
    size = len(options.to_json().encode())
    if size > MAX_STORED_BYTES:
        raise TooLarge(
            f"the options of the agent {agent_name!r} take {size} bytes as they are stored: "
            f"at most {MAX_STORED_BYTES} are taken"
        )
    return options


def _chosen(option: Any, sent: Any | None) -> ResolvedOption | str | None:
    """Return the value to use, ``None`` without value and default, or a sentence about what is wrong with the value."""
    if sent is not None and sent.type != option.type:
        return f"must be of type {option.type}, not {sent.type}"
    value = sent.value if sent is not None else option.default
    if value is None and option.required:
        return "is required"
    if value is None and option.type.startswith("list["):
        value = []
    if value is None:
        return None
    return ResolvedOption(
        option.type, value, option.transport, getattr(option, "base64", False), getattr(option, "secret", False)
    )


def fault_of_default(option: Any) -> str | None:
    """Return what is wrong with the default of an option by its own validation; ``None`` when nothing is."""
    value = _chosen(option, None) if option.default is not None else None
    return next(_faults(option, value, _Matching()), None) if isinstance(value, ResolvedOption) else None


def _faults(option: Any, value: ResolvedOption, matching: "_Matching") -> Iterator[str]:
    validation = getattr(option, "validation", None)
    secret = getattr(option, "secret", False)
    in_environment = value.transport == "env" and not value.base64
    for index, entry in enumerate(value.entries):
        prefix = f"must, in its entry {index}, " if value.is_list else "must "
        if isinstance(entry, str) and in_environment and "\0" in entry:
            yield f"{prefix}not have a NUL character: the environment of a process cannot carry one"
        rules: Iterator[str] = iter(())
        if isinstance(validation, StringAgentOptionValidation):
            rules = _string_rules(validation, entry, matching)
        elif isinstance(validation, BlobAgentOptionValidation):
            rules = _blob_rules(validation, entry)
        elif isinstance(validation, NumberValidation):
            rules = _number_rules(validation, entry, shortest_f32 if value.scalar == "f32" else str)
        for rule in rules:
            yield prefix + rule
        variants = getattr(validation, "variants", None)
        if variants and entry not in variants:
            write = shortest_f32 if value.scalar == "f32" else repr
            # The variants of a secret would disclose what it may be.
            yield prefix + ("be one of its variants" if secret else f"be one of {', '.join(map(write, variants))}")


def _number_rules(validation: NumberValidation[Any], number: float, write: Callable[[Any], str]) -> Iterator[str]:
    if validation.min is not None and number < validation.min:
        yield f"be at least {write(validation.min)}"
    if validation.max is not None and number > validation.max:
        yield f"be at most {write(validation.max)}"


def _string_rules(validation: StringAgentOptionValidation, text: str, matching: "_Matching") -> Iterator[str]:
    size = len(text.encode())
    if validation.min_length is not None and size < validation.min_length:
        yield f"have at least {validation.min_length} bytes of UTF-8"
    elif validation.max_length is not None and size > validation.max_length:
        yield f"have at most {validation.max_length} bytes of UTF-8"
    elif validation.regex is not None:
        yield from matching.rules(validation.regex, text)


def fault_of_regex(pattern: str) -> str | None:
    """Return what is wrong with a regular expression; ``None`` when it can be compiled.

    Coral's are Java's. The dialect here (`regex`, version 1) has their possessive quantifiers, atomic groups, nested
    and intersected sets and properties; an expression that uses what it lacks is refused when the agent is registered.
    """
    import regex

    if unrolled(pattern) > MAX_UNROLLED:
        return f"its counted repeats unroll to more than {MAX_UNROLLED} steps"
    if _RECURSION.search(pattern):
        return "it calls itself"  # which Java's do not, and which takes memory faster than the time limit can see
    try:
        _compiled(pattern)
    except (regex.error, *_NOT_COMPILED) as error:
        return str(error)
    return None


#: What `regex` raises beside its own error: the last of them for flags that exclude each other.
_NOT_COMPILED = (RecursionError, OverflowError, MemoryError, ValueError)


def _compiled(pattern: str) -> Any:
    """Compile a regular expression, which is not kept: `regex` keeps 500, and each may have megabytes."""
    import regex

    return regex.compile(pattern, regex.V1, cache_pattern=False)


def unrolled(pattern: str) -> int:
    """Return at most how many steps an expression compiles to: a repeat of ``{m,n}`` is written out ``m`` times.

    A repeat of anything but a single character multiplies what is inside it: without parsing, that may be everything.
    """
    steps, times = len(pattern), 1
    for repeat in _COUNTED_REPEAT.finditer(pattern):
        least = int(repeat[2])
        if re.fullmatch(r"[\w.\]]", repeat[1]):
            steps += least
        else:
            times *= max(least, 1)
    return steps * times


class _Matching:
    """Matches values against regular expressions, all of them in `REGEX_TIMEOUT_S`."""

    def __init__(self) -> None:
        self._left_s = REGEX_TIMEOUT_S
        #: The last expression, compiled: the values of an option follow each other.
        self._last: tuple[str, Any] | None = None

    def rules(self, pattern: str, text: str) -> Iterator[str]:
        """Yield the rule when a text breaks it, or when that cannot be found out in time."""
        import regex

        started_s = time.monotonic()
        try:
            if self._left_s <= 0:
                raise TimeoutError
            if self._last is None or self._last[0] != pattern:
                self._last = pattern, _compiled(pattern)
            matched = self._last[1].fullmatch(text, timeout=self._left_s)
        except TimeoutError:
            yield f"match {pattern!r}: to find out took longer than {REGEX_TIMEOUT_S} s for the values of this agent"
        except (regex.error, *_NOT_COMPILED):
            yield f"match {pattern!r}, which is no regular expression that can be matched"
        else:
            if matched is None:
                yield f"match {pattern!r}"
        self._left_s -= time.monotonic() - started_s


def _blob_rules(validation: BlobAgentOptionValidation, blob: bytes) -> Iterator[str]:
    if validation.min_size is not None and len(blob) < validation.min_size.byte_count:
        yield f"have at least {_size_text(validation.min_size)}"
    if validation.max_size is not None and len(blob) > validation.max_size.byte_count:
        yield f"have at most {_size_text(validation.max_size)}"


def _size_text(size: ValidationFileSize) -> str:
    return f"{size.byte_count} bytes ({size})"


def environment(options: ResolvedOptions, *, directory: str = OPTIONS_DIRECTORY) -> dict[str, str]:
    """Return the variables of an agent's process; those of `files` are paths under ``directory``.

    Coral's own variables go over these where an option has the name of one.
    """
    return {
        name: ":".join(f"{directory}/{path}" for path in _paths(name, option))
        if option.transport == "fs"
        else ",".join(_text(option, entry) for entry in option.entries)
        for name, option in options.by_name.items()
    }


def plain(options: ResolvedOptions) -> dict[str, Any]:
    """Return the values as JSON has them, for an agent that runs as a function; what is binary is in base64."""
    return {
        name: [_plain(option, entry) for entry in option.value] if option.is_list else _plain(option, option.value)
        for name, option in options.by_name.items()
    }


def _plain(option: ResolvedOption, entry: Any) -> Any:
    if isinstance(entry, bytes):
        return base64.b64encode(entry).decode()
    return float(shortest_f32(entry)) if option.scalar == "f32" else entry


def files(options: ResolvedOptions) -> dict[str, bytes]:
    """Return the files of the options with transport ``fs``: what is in each, by its path under the directory."""
    return {
        path: _content(option, entry)
        for name, option in options.by_name.items()
        if option.transport == "fs"
        for path, entry in zip(_paths(name, option), option.entries, strict=True)
    }


def secret_texts(options: ResolvedOptions) -> Iterator[str]:
    """Yield the values of secret options in each form in which an agent has them; only texts can be secret."""
    for option in options.by_name.values():
        if option.secret and option.scalar == "string":
            written = [_text(option, entry) for entry in option.entries]
            yield from [*option.entries, *written, ",".join(written)]


def archive(options: ResolvedOptions) -> str:
    """Return the files as a tar archive in base64: what the container that runs before the agent's unpacks."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path, blob in files(options).items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(blob), 0o444
            tar.addfile(entry, io.BytesIO(blob))
    return base64.b64encode(content.getvalue()).decode()


def check_overrides_size(agent_name: str, whole: "TaskOverrideTypeDef") -> None:
    """Raise `BadRequest`, with the size, the limit and the biggest entries, for more than ECS takes."""
    size = len(json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode())
    if size <= MAX_OVERRIDES_BYTES:
        return
    shown = whole["containerOverrides"][0]["environment"]
    sizes = {variable["name"]: len(variable["value"].encode()) for variable in shown}
    biggest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:5]
    raise BadRequest(
        f"the environment of the agent {agent_name!r} takes {size} bytes, ECS allows {MAX_OVERRIDES_BYTES}; "
        f"the biggest: {', '.join(f'{name} ({sizes[name]} bytes)' for name in biggest)}. "
        f"A value without line breaks of up to {MAX_LINE_BYTES} bytes does not count, and the transport fs takes an "
        "option out of the environment"
    )


def check_secrets_travel(agent_name: str, options: ResolvedOptions, variables: Mapping[str, str]) -> None:
    """Raise `BadRequest` for a secret option that an environment file does not carry, as everybody would see it."""
    for name, option in options.by_name.items():
        fault = fault_of_line(name, variables[name])
        if option.secret and option.transport == "env" and variables[name] and fault:
            raise BadRequest(
                f"the option {name!r} of the agent {agent_name!r} is secret and {fault}, so it cannot travel to a "
                "container in its environment: declare it with the transport fs, or with base64 = true against breaks"
            )


def _paths(name: str, option: ResolvedOption) -> Sequence[str]:
    return [f"{name}/{index}" for index in range(len(option.entries))]


def _text(option: ResolvedOption, entry: Any) -> str:
    if isinstance(entry, bytes):
        return base64.b64encode(entry).decode()
    if isinstance(entry, bool):
        return "1" if entry else "0"
    if isinstance(entry, str):
        return base64.b64encode(entry.encode()).decode() if option.base64 else entry
    return shortest_f32(entry) if option.scalar == "f32" else str(entry)


def _content(option: ResolvedOption, entry: Any) -> bytes:
    if isinstance(entry, bytes):
        return entry
    if isinstance(entry, bool):
        return b"\x01" if entry else b"\x00"
    if isinstance(entry, str):
        return entry.encode()
    if option.scalar in _SIZE_OF_INTEGER:
        return int(entry).to_bytes(_SIZE_OF_INTEGER[option.scalar], "big", signed=option.scalar.startswith("i"))
    return struct.pack(">f" if option.scalar == "f32" else ">d", entry)
