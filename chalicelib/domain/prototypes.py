"""Prototype agents: what their files may say, and the texts and numbers that it comes to with an agent's options."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from chalicelib.wire import prototype as wire
from chalicelib.wire.limits import characters_of
from chalicelib.wire.options import AgentOption

#: Types of options that an integer may be.
INTEGERS = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")

#: How many parts a composition may have, those of its parts among them.
MAX_PARTS = 32

_PROXY_CHARACTERS = (1, 32)
_URL_CHARACTERS = (1, 256)
_AUTH_CHARACTERS = (1, 1_024)
_SYSTEM_BASE_BYTES, _SYSTEM_EXTRA_BYTES = 6 * 1024, 3 * 1024
_INITIAL_BASE_BYTES, _INITIAL_EXTRA_BYTES = 6 * 1024, 3 * 1024
_FOLLOWUP_BYTES = 4 * 1024


class BadPrototype(Exception):
    """What is wrong with a prototype agent, in words that name the key and the rule, and no value of an option."""


# Loading


#: Where a file has texts, and references to them, that may be written plainly.
_STRINGS = (
    ("proxy",),
    ("prompts", "system", "base"),
    ("prompts", "system", "extra"),
    ("prompts", "loop", "initial", "base"),
    ("prompts", "loop", "initial", "extra"),
    ("prompts", "loop", "followup"),
)
#: Types of references to texts, which are read when the file is.
_REFERENCES = ("string", "file", "url", "constant")


def write_out(table: dict[str, Any], content: Callable[[Any, str], Any]) -> None:
    """Replace what a file's ``[runtimes.prototype]`` writes plainly by the forms that the registry has.

    Parameters
    ----------
    content
        Returns the text that a reference stands for; it is given the reference, and what that is called.
    """
    at = "runtimes.prototype"
    for key in ("iterations", "delay"):
        if type(table.get(key)) is int:
            table[key] = {"type": "inline", "value": table[key]}
    for *path, key in _STRINGS:
        parent: Any = table
        for name in path:
            parent = parent.get(name) if isinstance(parent, dict) else None
        _write_out(parent, key, ".".join([at, *path]), content)
    servers = table.get("tools")
    for number, server in enumerate(servers if isinstance(servers, list) else ()):
        _write_out(server, "url", f"{at}.tools.{number}", content)
        for key in ("token", "header"):
            auth = server.get("auth") if isinstance(server, dict) else None
            _write_out(auth, key, f"{at}.tools.{number}.auth", content)


def _write_out(table: Any, key: str, at: str, content: Callable[[Any, str], Any]) -> None:
    if isinstance(table, dict) and key in table:
        table[key] = _written_out(table[key], f"{at}.{key}", content)


def _written_out(value: Any, name: str, content: Callable[[Any, str], Any]) -> Any:
    """Return the form of a text; what is no text is left to who reads the forms."""
    if isinstance(value, str):
        return {"type": "inline", "value": value}
    if not isinstance(value, dict):
        return value
    kind, parts = value.get("type"), value.get("parts")
    if kind in _REFERENCES:
        return {"type": "inline", "value": content(value, name)}
    if kind == "composed_string" and isinstance(parts, list):
        return {
            **value,
            "parts": [_written_out(part, f"{name}.parts.{number}", content) for number, part in enumerate(parts)],
        }
    if kind == "composed_url" and isinstance(parts, list):
        for number, part in enumerate(parts):
            _write_out(part, "value", f"{name}.parts.{number}", content)
    return value


def check(runtime: wire.PrototypeRuntime, options: Mapping[str, AgentOption]) -> None:
    """Check lengths, numbers and the options that are named; raise `BadPrototype` for the first fault."""
    at = "runtimes.prototype"
    _check_integer(f"{at}.iterations", runtime.iterations, options, low=1)
    _check_integer(f"{at}.delay", runtime.delay, options, low=0)
    _check_characters(f"{at}.proxy", runtime.proxy, options, _PROXY_CHARACTERS)
    system, loop = runtime.prompts.system, runtime.prompts.loop
    _check_bytes(f"{at}.prompts.system.base", system.base, options, _SYSTEM_BASE_BYTES)
    _check_bytes(f"{at}.prompts.system.extra", system.extra, options, _SYSTEM_EXTRA_BYTES)
    _check_bytes(f"{at}.prompts.loop.initial.base", loop.initial.base, options, _INITIAL_BASE_BYTES)
    _check_bytes(f"{at}.prompts.loop.initial.extra", loop.initial.extra, options, _INITIAL_EXTRA_BYTES)
    _check_bytes(f"{at}.prompts.loop.followup", loop.followup, options, _FOLLOWUP_BYTES)
    for number, server in enumerate(runtime.tools):
        _check_characters(f"{at}.tools.{number}.url", server.url, options, _URL_CHARACTERS)
        if isinstance(server.auth, wire.BearerAuth):
            _check_characters(f"{at}.tools.{number}.auth.token", server.auth.token, options, _AUTH_CHARACTERS)
        elif isinstance(server.auth, wire.HeaderAuth):
            _check_characters(f"{at}.tools.{number}.auth.header", server.auth.header, options, _AUTH_CHARACTERS)


def _check_integer(at: str, integer: Any, options: Mapping[str, AgentOption], *, low: int) -> None:
    if isinstance(integer, wire.OptionInteger):
        _check_option(at, integer.name, options, INTEGERS)
    elif integer.value < low:
        raise BadPrototype(f"{at} is {integer.value}: it must be at least {low}")


def _check_option(at: str, name: str, options: Mapping[str, AgentOption], types: tuple[str, ...]) -> None:
    option = options.get(name)
    if option is None:
        raise BadPrototype(f"{at} names the option {name[:80]!r}, which is not defined")
    if option.type not in types:
        raise BadPrototype(
            f"{at} names the option {name[:80]!r} of type {option.type}: it must be {' or '.join(types)}"
        )


def _check_characters(at: str, string: Any, options: Mapping[str, AgentOption], bounds: tuple[int, int]) -> None:
    text = _fixed(at, string, options)
    low, high = bounds
    if text is not None and not low <= characters_of(text) <= high:
        raise BadPrototype(f"{at} has {characters_of(text)} characters: {low} to {high} are allowed")


def _check_bytes(at: str, string: Any, options: Mapping[str, AgentOption], high: int) -> None:
    text = None if string is None else _fixed(at, string, options)
    if text is not None and len(text.encode()) > high:
        raise BadPrototype(f"{at} has {len(text.encode())} bytes: at most {high} are allowed")


def _fixed(at: str, string: Any, options: Mapping[str, AgentOption]) -> str | None:
    """Return the text that a string stands for; ``None`` when an option is among its parts."""
    if (count := _parts_in(string)) > MAX_PARTS:
        raise BadPrototype(f"{at} has {count} parts: at most {MAX_PARTS} are allowed")
    names = list(_options_in(string))
    for name in names:
        _check_option(at, name, options, ("string",))
    return None if names else text_of(string, {})


def _parts_in(string: Any) -> int:
    return sum(1 + _parts_in(getattr(part, "value", part)) for part in getattr(string, "parts", ()))


def _options_in(string: Any) -> Iterator[str]:
    if isinstance(string, wire.OptionString):
        yield string.name
    for part in getattr(string, "parts", ()):
        yield from _options_in(getattr(part, "value", part))


# Running


def text_of(string: Any, options: Mapping[str, Any]) -> str:
    """Return the text that a string stands for, with the values of the agent's options.

    Raises `BadPrototype` for an option without a value, and for a part of a URL that would lead elsewhere.
    """
    match string:
        case wire.InlineString():
            return string.value
        case wire.OptionString():
            return str(_value_of(string.name, options))
        case wire.ComposedString():
            return string.separator.join(text_of(part, options) for part in string.parts)
        case wire.ComposedUrl():
            return _url_of(string, options)
    raise TypeError(f"{type(string).__name__} is no text of a prototype")


def integer_of(integer: Any, options: Mapping[str, Any], *, low: int) -> int:
    """Return the number that an integer stands for; raise `BadPrototype` without a value, and below ``low``."""
    if isinstance(integer, wire.InlineInteger):
        return integer.value
    value = int(_value_of(integer.name, options))
    if value < low:
        raise BadPrototype(f"the option {integer.name!r} is below {low}")
    return value


def _value_of(name: str, options: Mapping[str, Any]) -> Any:
    if options.get(name) is None:
        raise BadPrototype(f"the option {name!r} has no value")
    return options[name]


def _url_of(url: wire.ComposedUrl, options: Mapping[str, Any]) -> str:
    try:
        parts = urlsplit(url.base)
    except ValueError as error:
        raise BadPrototype(f"the base of a composed URL is none: {error}") from None
    path, query = parts.path, [parts.query] if parts.query else []
    for part in url.parts:
        text = text_of(part.value, options)
        if isinstance(part, wire.QueryParameter):
            query.append(urlencode([(part.name, text)], quote_via=quote))
            continue
        segments = text.split("/")
        if {".", ".."} & set(segments):
            raise BadPrototype("a path_segment of a composed URL must not be . or ..")
        path = f"{path.rstrip('/')}/{'/'.join(quote(segment, safe='') for segment in segments).lstrip('/')}"
    return urlunsplit((parts.scheme, parts.netloc, path, "&".join(query), parts.fragment))
