"""A fault is said in our words alone, wherever pydantic has found it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from chalicelib.api.errors import describe
from chalicelib.domain import agent_files
from chalicelib.domain.errors import BadRequest
from chalicelib.wire import llm_proxy
from chalicelib.wire.llm_proxy import ConfigFault

ROOT = Path(__file__).parents[3]

PROVIDER = """
[[llm-proxy.providers]]
name = "one"
format.type = "OpenAI"
apiKey = "x"
baseUrl = "nowhere"
"""


class Wrong(BaseModel):
    """What is never right."""

    name: str

    @field_validator("name")
    @classmethod
    def _refuse(cls, value: str) -> str:
        raise ValueError("there is no such name")


def body() -> None:
    try:
        Wrong(name="x")
    except ValidationError as error:
        raise BadRequest(describe(error)) from error


def agent_file() -> None:
    agent_files.parse("edition = 4\n[agent]\nname = 'x'\nversion = '1'\n", None)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (body, "name: there is no such name"),
        (agent_file, "agent.version must be a semantic version"),
        (lambda: llm_proxy.parse(PROVIDER, {}), "llm-proxy: providers.0.baseUrl "),
    ],
)
def test_a_fault_is_said_without_the_words_of_a_library(where: Callable[[], None], said: str) -> None:
    with pytest.raises((BadRequest, ConfigFault)) as caught:
        where()
    assert said in str(caught.value)
    assert "Value error" not in str(caught.value)


def test_the_words_of_a_library_are_taken_off_in_one_place() -> None:
    rooms = (*(ROOT / "chalicelib").rglob("*.py"), *(ROOT / "atoll").rglob("*.py"), *(ROOT / "infra").rglob("*.py"))
    named = {each.name for each in rooms if '["msg"]' in each.read_text() or "['msg']" in each.read_text()}
    assert named == {"faults.py"}
