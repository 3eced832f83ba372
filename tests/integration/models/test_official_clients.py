"""The official clients of OpenAI and Anthropic through the LLM proxy of a local stack."""

import time
from collections.abc import Iterator

import pytest
from anthropic import Anthropic
from anthropic import APIStatusError as AnthropicError
from openai import APIError, APIStatusError, OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

from tests.client import eventually
from tests.offline_models import TEXT, HangUp, OfflineModels, Says, overloaded

pytestmark = pytest.mark.xdist_group("models")

ASKED: ChatCompletionUserMessageParam = {"role": "user", "content": "Who are you?"}


@pytest.fixture
def openai(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/MAIN/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic(url: str) -> Iterator[Anthropic]:
    with Anthropic(base_url=f"{url}/CLAUDE", api_key="any", max_retries=0) as client:
        yield client


def test_openai_buffered(openai: OpenAI, provider: OfflineModels) -> None:
    answer = openai.chat.completions.create(model="whatever", messages=[ASKED])
    assert answer.choices[0].message.content == TEXT
    assert answer.usage is not None
    assert answer.usage.total_tokens == 20
    assert provider.asked[0].json["model"] == "large"


def test_openai_streamed(openai: OpenAI) -> None:
    pieces = []
    for chunk in openai.chat.completions.create(model="large", messages=[ASKED], stream=True):
        pieces += [choice.delta.content or "" for choice in chunk.choices]
    assert "".join(pieces) == TEXT


def test_openais_other_apis(openai: OpenAI) -> None:
    assert openai.responses.create(model="large", input="hi").output_text == TEXT
    events = openai.responses.create(model="large", input="hi", stream=True)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
    assert openai.embeddings.create(model="large", input="hi", encoding_format="float").data[0].embedding == [0.0, 1.0]
    assert [model.id for model in openai.models.list()] == ["model"]


def test_anthropic_buffered(anthropic: Anthropic, provider: OfflineModels) -> None:
    answer = anthropic.messages.create(model="whatever", max_tokens=10, messages=[ASKED])  # type: ignore[list-item]
    assert answer.content[0].type == "text"
    assert answer.content[0].text == TEXT
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (15, 5)
    assert provider.asked[0].json["model"] == "claude"


def test_anthropic_streamed(anthropic: Anthropic) -> None:
    with anthropic.messages.stream(model="claude", max_tokens=10, messages=[ASKED]) as stream:  # type: ignore[list-item]
        assert "".join(stream.text_stream) == TEXT
        assert stream.get_final_message().usage.output_tokens == 5


def test_errors_are_raised_as_the_providers_own(openai: OpenAI, anthropic: Anthropic, provider: OfflineModels) -> None:
    provider.next(overloaded())
    with pytest.raises(AnthropicError, match="Overloaded") as overload:
        anthropic.messages.create(model="claude", max_tokens=10, messages=[ASKED])  # type: ignore[list-item]
    assert overload.value.status_code == 529
    with pytest.raises(APIStatusError, match="Unknown proxy name") as unknown:
        openai.with_options(base_url=str(openai.base_url).replace("MAIN", "NONE")).models.list()
    assert unknown.value.status_code == 400


def test_a_stream_that_breaks_off_is_an_error_to_both(
    openai: OpenAI, anthropic: Anthropic, provider: OfflineModels
) -> None:
    def break_off(number: int) -> None:
        if number == 1:
            raise HangUp

    provider.next(Says(before=break_off), Says(before=break_off))
    chunks = openai.chat.completions.create(model="large", messages=[ASKED], stream=True)
    assert [next(chunks).choices[0].delta.content for _ in range(2)] == ["", "Hello"]
    with pytest.raises(APIError, match="broke off"):
        next(chunks)
    with (
        pytest.raises(AnthropicError, match="broke off"),
        anthropic.messages.stream(model="claude", max_tokens=10, messages=[ASKED]) as stream,  # type: ignore[list-item]
    ):
        list(stream.text_stream)


def test_a_stream_is_one(openai: OpenAI, provider: OfflineModels) -> None:
    """Each piece is there while the provider has not sent the next one."""
    seen: list[str] = []
    sent_at_s: list[float] = []
    late_s: list[float] = []

    def wait(number: int) -> None:
        eventually(lambda: len(seen) == number, what=f"piece {number} has come")
        sent_at_s.append(time.monotonic())

    provider.next(Says(pieces=("a", "b", "c", "d"), before=wait))
    for chunk in openai.chat.completions.create(model="large", messages=[ASKED], stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            late_s.append(time.monotonic() - sent_at_s[-1])
            seen.append(chunk.choices[0].delta.content)
    assert seen == ["a", " b", " c", " d"]
    assert min(late_s) < 0.02
