"""Namespaces on the wire."""

from typing import Annotated

from pydantic import AfterValidator, Field

from .base import WireModel

#: Atoll's limits of names and annotations (Coral states none). They keep every event under EventBridge's 256 KB.
MAX_NAME_BYTES = 128
MAX_ANNOTATIONS = 50
MAX_ANNOTATION_KEY_BYTES = 128
MAX_ANNOTATION_VALUE_BYTES = 1024


def _name(value: str) -> str:
    size = len(value.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= MAX_NAME_BYTES:
        raise ValueError(f"a name has 1 to {MAX_NAME_BYTES} bytes of UTF-8, not {size}")
    if any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) <= 0xDFFF for letter in value):
        raise ValueError("a name has no control characters and no lone surrogates")
    return value


def _annotations(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MAX_ANNOTATIONS:
        raise ValueError(f"there are at most {MAX_ANNOTATIONS} annotations, not {len(value)}")
    for key, text in value.items():
        for what, part, limit in (("key", key, MAX_ANNOTATION_KEY_BYTES), ("value", text, MAX_ANNOTATION_VALUE_BYTES)):
            try:
                size = len(part.encode())
            except UnicodeEncodeError:
                raise ValueError(f"the {what} of an annotation has no lone surrogates") from None
            if size > limit:
                raise ValueError(
                    f"the {what} of the annotation {key[:40]!r} has {size} bytes of UTF-8, at most {limit}"
                )
    return value


#: The name of a namespace or of an agent in its session.
Name = Annotated[str, AfterValidator(_name)]

#: Free text by key.
Annotations = Annotated[dict[str, str], AfterValidator(_annotations)]


class SessionNamespaceRequest(WireModel):
    """A namespace to be created."""

    name: Name
    delete_on_last_session_exit: bool = True
    annotations: Annotations = Field(default_factory=dict)


class SessionNamespaceStateBase(WireModel):
    """What a namespace is."""

    name: str
    delete_on_last_session_exit: bool
    annotations: dict[str, str]
