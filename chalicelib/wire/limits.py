"""Limits of texts and lists on the wire, as validators: errors name size and limit."""

from typing import Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError


def at_most_bytes(limit: int) -> AfterValidator:
    """Return a validator of texts of at most so many bytes, without lone surrogates; it raises ``ValueError``."""

    def check(text: str) -> str:
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise ValueError("a lone surrogate is not text that UTF-8 can hold") from None
        if size > limit:
            raise ValueError(f"at most {limit} bytes of UTF-8 are taken, not {size}")
        return text

    return AfterValidator(check)


def characters_of(text: str) -> int:
    """Count characters as Coral does, which is written in a language of UTF-16: one above U+FFFF counts twice."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def between_characters(low: int, high: int) -> AfterValidator:
    """Take a text of ``low`` to ``high`` characters, as Coral counts them."""

    def check(text: str) -> str:
        size = characters_of(text)
        if not low <= size <= high:
            raise PydanticCustomError(
                "length", "has {size} characters: {low} to {high} are allowed", {"size": size, "low": low, "high": high}
            )
        return text

    return AfterValidator(check)


def at_most_entries(high: int) -> BeforeValidator:
    """Return a validator of lists and tables of at most ``high`` entries, which runs before those of the entries.

    It raises ``PydanticCustomError``.
    """

    def check(entries: Any) -> Any:
        if isinstance(entries, list | dict) and len(entries) > high:
            raise PydanticCustomError(
                "count", "has {count} entries: at most {high} are allowed", {"count": len(entries), "high": high}
            )
        return entries

    return BeforeValidator(check)


def _each_once(entries: list[str]) -> list[str]:
    return list(dict.fromkeys(entries))


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "must not have a NUL character: no process can receive one")
    return text


#: Drops the repetitions of a list; the first of each stays in its place.
EACH_ONCE = AfterValidator(_each_once)

#: Refuses a NUL character, which ends a text in an environment and on a command line.
WITHOUT_NUL = AfterValidator(_without_nul)
