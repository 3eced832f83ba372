"""The APIs of models, as a prototype speaks them: one request with tools that must be used, and its answer."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from chalicelib.agents.prototype.history import Json, clean

#: How long an answer of Anthropic's may be, in tokens: the least that any of its models has.
ANTHROPIC_TOKENS = 4_096


class NoAnswer(Exception):
    """What a model has answered is not of its API."""


class Format(ABC):
    """One API."""

    def __init__(self, path: str) -> None:
        #: Behind the provider's URL.
        self.path = path

    @abstractmethod
    def request(self, system: str, messages: Sequence[Json], texts: Mapping[str, str], tools: Sequence[Json]) -> Json:
        """Return a request's body, but for its model.

        Parameters
        ----------
        texts
            What the user says, by the names that a history has for it.
        tools
            Each with ``name``, ``description`` and ``schema``.
        """

    @abstractmethod
    def answer(self, body: Json) -> Json:
        """Return the assistant's message as a history has it; raise `NoAnswer`."""


class _OpenAI(Format):
    def request(self, system: str, messages: Sequence[Json], texts: Mapping[str, str], tools: Sequence[Json]) -> Json:
        said: list[Json] = [{"role": "system", "content": system}]
        for each in messages:
            if each["role"] == "user":
                said.append({"role": "user", "content": texts[each["text"]]})
            elif each["role"] == "tool":
                said.append({"role": "tool", "tool_call_id": each["id"], "content": each["text"]})
            else:
                said.append(self._assistant(each))
        described = [
            {
                "type": "function",
                "function": {"name": tool["name"], "description": tool["description"], "parameters": tool["schema"]},
            }
            for tool in tools
        ]
        return {"messages": said, "tools": described, "tool_choice": "required"}

    def _assistant(self, message: Json) -> Json:
        calls = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)},
            }
            for call in message["calls"]
        ]
        return {"role": "assistant", "content": message.get("text"), **({"tool_calls": calls} if calls else {})}

    def answer(self, body: Json) -> Json:
        try:
            message = body["choices"][0]["message"]
            calls = [
                _call(number, each.get("id"), each["function"]["name"], each["function"].get("arguments") or "{}")
                for number, each in enumerate(message.get("tool_calls") or [])
            ]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise NoAnswer("it has no message in its choices") from error
        return _message(message.get("content"), calls)


class _Anthropic(Format):
    def request(self, system: str, messages: Sequence[Json], texts: Mapping[str, str], tools: Sequence[Json]) -> Json:
        said: list[Json] = []
        for each in messages:
            role = "assistant" if each["role"] == "assistant" else "user"
            parts = self._parts(each, texts)
            if said and said[-1]["role"] == role:  # results and what the user says next are one message
                said[-1]["content"] += parts
            elif parts:
                said.append({"role": role, "content": parts})
        described = [
            {"name": tool["name"], "description": tool["description"], "input_schema": tool["schema"]} for tool in tools
        ]
        forced = {"type": "any"}
        return {
            "system": system,
            "messages": said,
            "tools": described,
            "tool_choice": forced,
            "max_tokens": ANTHROPIC_TOKENS,
        }

    def _parts(self, message: Json, texts: Mapping[str, str]) -> list[Json]:
        if message["role"] == "user":
            return [{"type": "text", "text": texts[message["text"]]}]
        if message["role"] == "tool":
            result = {"type": "tool_result", "tool_use_id": message["id"], "content": message["text"]}
            return [{**result, "is_error": True} if message["failed"] else result]
        text = [{"type": "text", "text": message["text"]}] if message.get("text") else []
        return text + [
            {"type": "tool_use", "id": call["id"], "name": call["name"], "input": call["arguments"]}
            for call in message["calls"]
        ]

    def answer(self, body: Json) -> Json:
        try:
            parts = body["content"]
            texts = [part["text"] for part in parts if part["type"] == "text"]
            calls = [
                _call(number, part.get("id"), part["name"], part.get("input"))
                for number, part in enumerate(part for part in parts if part["type"] == "tool_use")
            ]
            return _message("\n".join(texts), calls)
        except (KeyError, TypeError, AttributeError) as error:
            raise NoAnswer("it has no content that is a list of blocks") from error


def _message(text: object, calls: list[Json]) -> Json:
    said = {"text": clean(text)} if isinstance(text, str) and text.strip() else {}
    return {"role": "assistant", **said, "calls": calls}


def _call(number: int, call_id: object, name: object, arguments: object) -> Json:
    """Return a call; one whose arguments are no object is kept with what is wrong with it."""
    call = {"id": clean(str(call_id or f"call_{number}"))[:256], "name": clean(str(name))[:256], "arguments": {}}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            return {**call, "fault": f"the arguments are no JSON: {str(error)[:200]}"}
    if not isinstance(arguments, dict):
        return {**call, "fault": "the arguments are no JSON object"}
    return {**call, "arguments": json.loads(clean(json.dumps(arguments, ensure_ascii=False)))}


#: By what a prototype's ``client`` may be.
FORMATS: Mapping[str, Format] = {
    "openai": _OpenAI("v1/chat/completions"),
    "openrouter": _OpenAI("api/v1/chat/completions"),
    "anthropic": _Anthropic("v1/messages"),
}
