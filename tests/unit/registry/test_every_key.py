"""``examples/every-key``: the one file that shows every key of ``coral-agent.toml``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from chalicelib.domain import agent_files
from chalicelib.wire.agent_file import AgentFile
from chalicelib.wire.options import AgentOption

FOLDER = Path(__file__).parents[3] / "examples/every-key"
TEXT = agent_files.read(FOLDER)

#: What cannot stand beside another key, and is shown in a comment.
IN_COMMENTS = {"License.text": '{ type = "text", text = '}


def models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation, those of their fields among them."""
    seen: set[int] = set()
    pending = [annotation]
    while pending:
        found = pending.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, type) and issubclass(found, BaseModel):
            yield found
            pending += [field.annotation for field in found.model_fields.values()]
        else:
            pending += get_args(found)


def name_of(model: type[BaseModel]) -> str:
    """A model's name: that of what it is a form of, where there is one for each type of option."""
    names = [each.__name__.partition("[") for each in model.__mro__]
    return next((generic for generic, bracket, _ in names if bracket), model.__name__)


def keys_there_are() -> set[str]:
    return {f"{name_of(model)}.{key}" for model in models_of(AgentFile) for key in model.model_fields}


def keys_set(value: Any) -> Iterator[str]:
    """The keys that a file has set, of it and of all that is in it."""
    if isinstance(value, BaseModel):
        yield from (f"{name_of(type(value))}.{key}" for key in value.model_fields_set)
        value = {key: getattr(value, key) for key in value.model_fields_set}
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from keys_set(entry)


def read() -> AgentFile:
    """The file as its models have it."""
    return AgentFile.model_validate(agent_files._resolved(agent_files._loaded(TEXT), FOLDER))


def test_it_is_right_and_has_no_key_without_effect() -> None:
    assert agent_files.parse(TEXT, FOLDER).runtimes.offered() == ["executable", "docker", "function", "prototype"]
    assert agent_files.warning_of(TEXT) is None


def test_it_has_every_key() -> None:
    assert keys_there_are() - set(keys_set(read())) == set(IN_COMMENTS)


@pytest.mark.parametrize("shown", IN_COMMENTS.values())
def test_what_excludes_another_key_is_shown_beside_it(shown: str) -> None:
    assert shown in TEXT


def test_it_names_every_type_of_option() -> None:
    options = [model for model in models_of(AgentOption) if "default" in model.model_fields]
    types_ = {get_args(option.model_fields["type"].annotation)[0] for option in options}
    assert len(types_) == 25
    assert {kind for kind in types_ if kind.removeprefix("list[").removesuffix("]") not in TEXT} == set()


def test_it_shows_every_kind_of_reference() -> None:
    assert {kind for kind in ("string", "file", "constant") if f'{{ type = "{kind}", ' not in TEXT} == set()
