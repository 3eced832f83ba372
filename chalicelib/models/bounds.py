"""The most that a request to a language model can cost: what an agent's budget reserves before the call.

Input is counted from the request by a bound that holds for text: a token stands for at least one byte. What a request
only names (files, earlier answers) is counted as all that the model takes. What has a price beside its tokens (speech,
tools that the provider runs, batches) is refused. A bound can be too low where a provider adds to a request what nobody
sees; the call is then booked as it was used.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.models.prices import MAX_TOKENS, NotPriced, Price

#: What providers put before a request with tools, and for each tool of their own making that the agent runs.
HIDDEN_TOKENS = 1_000
#: The most that an image takes: Qwen's models have the largest, but for how gpt-4o-mini counts (the providers' pages).
IMAGE_TOKENS = 16_384
IMAGE_TOKENS_OF = {"claude-": 5_000, "gpt-": 10_000, "gpt-4o-mini": 50_000}
#: What a model takes of which that is not known, and the longest output that any known model has.
CONTEXT_TOKENS = 1_000_000
OUTPUT_TOKENS = 128_000
#: The longest outputs of older models, by the beginning of their names (the providers' pages of models).
OUTPUT_TOKENS_OF = {
    "gpt-3.5-turbo": 4_096,
    "gpt-4-turbo": 4_096,
    "gpt-4.1": 32_768,
    "gpt-4o": 16_384,
    "chatgpt-4o": 16_384,
}
#: The most answers that one request may ask for.
MAX_ANSWERS = 128

#: The ends of the paths whose calls are paid by tokens, and those that are free.
_PRICED = ("chat/completions", "completions", "responses", "messages", "embeddings")
_FREE = ("messages/count_tokens",)

#: Types of parts that are in the request as text.
_TEXT = frozenset(
    {
        "custom_tool_call",
        "custom_tool_call_output",
        "function",
        "function_call",
        "function_call_output",
        "input_text",
        "message",
        "output_text",
        "reasoning",
        "reasoning_text",
        "redacted_thinking",
        "refusal",
        "search_result",
        "summary_text",
        "text",
        "thinking",
        "tool_result",
        "tool_use",
    }
)
_IMAGES = frozenset({"image", "image_url", "input_image"})
#: Tools that the agent runs itself; of those of a provider's making, the beginning of the type.
_OWN_TOOLS = frozenset({"function", "custom", "local_shell", "apply_patch"})
_RUN_BY_AGENTS = ("bash_", "text_editor_", "computer_", "memory_")
#: What a request may have that stands for what is elsewhere.
_BY_NAME = ("previous_response_id", "conversation", "prompt")
#: What has a price beside its tokens.
_REFUSED = {
    "audio": "speech",
    "background": "an answer in the background",
    "container": "code that the provider runs",
    "mcp_servers": "tools that the provider calls",
    "web_search_options": "a search of the provider's",
}


@dataclasses.dataclass(frozen=True)
class Bound:
    """The most that a call can use and cost."""

    input_tokens: int
    output_tokens: int
    micro_usd: int


def of_request(price: Price, model: str, path: str, body: Mapping[str, Any], raw: bytes) -> Bound:
    """Return the most that a POST can cost.

    Parameters
    ----------
    path
        What comes behind the proxy's name.
    body, raw
        The body, and the bytes that it was read from by `strict_json`: a key that is there twice could be read in two
        ways.

    Raises `NotPriced` for what is paid otherwise than by tokens.
    """
    path = path.strip("/")
    if any(path == end or path.endswith(f"/{end}") for end in _FREE):
        return Bound(0, 0, 0)
    if not any(path == end or path.endswith(f"/{end}") for end in _PRICED):
        raise NotPriced(f"no price is known of calls of {path[-100:]!r}: an agent with a budget cannot make them")
    _check(body)
    asked = price.asked(body)
    input_tokens = _input_tokens(asked, model, body, len(raw))
    output_tokens = 0 if path.endswith("embeddings") else _output_tokens(asked, model, path, body, input_tokens)
    # A cache of an hour is asked for by these two letters, or by an escape for one of them.
    hour = b"1h" in raw or b"\\u" in raw
    return Bound(input_tokens, output_tokens, asked.bound_micro_usd(input_tokens, output_tokens, hour=hour))


def _check(body: Mapping[str, Any]) -> None:
    for key, what in _REFUSED.items():
        if body.get(key) not in (None, False):
            raise NotPriced(f"{key}: {what} has a price beside its tokens; an agent with a budget cannot use it")
    if any(each != "text" for each in _list(body.get("modalities"))):
        raise NotPriced("modalities: an agent with a budget can only ask for text")
    for tool in _list(body.get("tools")):
        kind = tool.get("type", "custom") if isinstance(tool, Mapping) else None
        if not isinstance(kind, str) or not (kind in _OWN_TOOLS or kind.startswith(_RUN_BY_AGENTS)):
            raise NotPriced(
                f"tools: {kind!r:.60} is run by the provider and has a price of its own; an agent with a budget cannot "
                "use it"
            )


def _input_tokens(price: Price, model: str, body: Mapping[str, Any], body_bytes: int) -> int:
    context_tokens = price.context_tokens or CONTEXT_TOKENS
    tokens, everything = body_bytes + HIDDEN_TOKENS, _names_more(body)
    tokens += HIDDEN_TOKENS * sum(_is_providers(tool) for tool in _list(body.get("tools")))
    for part in _parts(body):
        kind = part.get("type", "message")
        if kind == "input_audio":
            raise NotPriced("input_audio: speech has a price of its own; an agent with a budget cannot use it")
        if isinstance(kind, str) and kind in _IMAGES:
            tokens += _by_beginning(IMAGE_TOKENS_OF, model, IMAGE_TOKENS) - _inline_bytes(part)
        elif not isinstance(kind, str) or kind not in _TEXT:
            everything = True
            tokens -= _inline_bytes(part)
    return max(tokens, context_tokens) if everything else tokens


def _names_more(body: Mapping[str, Any]) -> bool:
    return any(isinstance(body.get(key), str | Mapping) for key in _BY_NAME if not _is_text_prompt(key, body))


def _is_text_prompt(key: str, body: Mapping[str, Any]) -> bool:
    """Return whether a ``prompt`` is the text itself, as older calls have it, and not the name of a stored one."""
    return key == "prompt" and isinstance(body.get(key), str)


def _is_providers(tool: object) -> bool:
    return isinstance(tool, Mapping) and str(tool.get("type", "")).startswith(_RUN_BY_AGENTS)


def _parts(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield messages, items and parts of the input, however they are nested."""
    left: list[Any] = [body.get("messages"), body.get("input"), body.get("system")]
    while left:
        each = left.pop()
        if isinstance(each, list):
            left += [part for part in each if isinstance(part, list | Mapping)]
        elif isinstance(each, Mapping):
            yield each
            left += [each.get("content"), each.get("output")]


def _inline_bytes(part: Mapping[str, Any]) -> int:
    """Return how much of the body an image or a file takes that is in it."""
    places = [part, *(part.get(key) for key in ("image_url", "source", "file"))]
    found = [
        len(place[key])
        for place in places
        if isinstance(place, Mapping)
        for key in ("data", "url", "image_url", "file_data")
        if isinstance(place.get(key), str)
    ]
    return max(found, default=0)


def _output_tokens(price: Price, model: str, path: str, body: Mapping[str, Any], input_tokens: int) -> int:
    keys = ("max_output_tokens",) if path.endswith("responses") else ("max_tokens", "max_completion_tokens")
    named = [body.get(key) for key in keys]
    limits = [limit for limit in named if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0]
    longest = price.output_tokens or min(
        price.context_tokens or OUTPUT_TOKENS, _by_beginning(OUTPUT_TOKENS_OF, model, OUTPUT_TOKENS)
    )
    tokens = min(max(limits), MAX_TOKENS) if limits else longest
    answers = max(_answers(body, "n"), _answers(body, "best_of"))
    prompts = body.get("prompt")
    several = sum(isinstance(each, str | list) for each in prompts) if isinstance(prompts, list) else 1
    # Of a prediction, what turns out wrong is paid as output too.
    guessed = input_tokens if body.get("prediction") else 0
    return (tokens + guessed) * answers * max(1, several)


def _answers(body: Mapping[str, Any], key: str) -> int:
    value = body.get(key)
    if value is None:
        return 1
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_ANSWERS:
        raise NotPriced(f"{key}: an agent with a budget can ask for 1 to {MAX_ANSWERS} answers, not {value!r:.40}")
    return value


def _by_beginning(known: Mapping[str, int], model: str, otherwise: int) -> int:
    """Return what is known of a model by the beginning of its name, without what a gateway puts before it."""
    name = model.lower().rpartition("/")[2]
    fitting = [beginning for beginning in known if name.startswith(beginning)]
    return known[max(fitting, key=len)] if fitting else otherwise


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
