"""A prototype's calls of its model: by the code of the LLM proxy, in the agent's name and on its budget."""

import json
from typing import TYPE_CHECKING

from chalicelib.agents.prototype.formats import Format, NoAnswer
from chalicelib.agents.prototype.history import Json
from chalicelib.domain.actors import Actor
from chalicelib.domain.errors import AtollError
from chalicelib.models import forwarding, prices
from chalicelib.models.calls import Caller, Reach
from chalicelib.models.requests import ModelRequest
from chalicelib.wire import strict_json
from chalicelib.wire.base import iso_from_ms
from chalicelib.wire.llm_proxy import ResolvedProxy

if TYPE_CHECKING:
    from chalicelib.services import Services

#: The largest answer (bytes).
ANSWER_BYTES = 1_000_000
_LONGEST_ERROR = 500


class NotAsked(Exception):
    """A model could not be asked, or gave no answer that is one."""


def proxy_of(actor: Actor, name: str) -> ResolvedProxy:
    """Return the model behind one of the agent's proxies; raise `BadRequest` for another name."""
    return forwarding.proxy_of(actor, name)


def context_tokens(services: "Services", proxy: ResolvedProxy) -> int | None:
    """Return for how many tokens a model has room; ``None`` where that is not known."""
    provider = services.llm_proxy.provider(proxy.configuration_name)
    day = iso_from_ms(services.clock.now_ms())[:10]
    try:
        price = prices.Prices(own={}, unknown=None).of(provider.base_url if provider else "", proxy.model_name, day)
    except prices.NotPriced:
        return None
    return price.context_tokens


def ask(services: "Services", actor: Actor, proxy_name: str, request: tuple[Format, Json], *, until_ms: int) -> Json:
    """Return what a model answers to a request in its format, as a history has it.

    Raises `NotAsked`, and what AWS raises when it is busy.
    """
    spoken, body = request
    model = proxy_of(actor, proxy_name).model_name
    raw = json.dumps({"model": model, **body}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    sent = ModelRequest("POST", spoken.path, headers=[("Content-Type", "application/json")], body=raw)
    try:
        caller = Caller.of(services, actor)
        answer = forwarding.call(services, caller, proxy_name, sent, Reach(until_ms, ANSWER_BYTES))
    except AtollError as error:
        raise NotAsked(str(error)[:_LONGEST_ERROR]) from error
    content = answer.read()
    if not 200 <= answer.status < 300:
        said = content[:_LONGEST_ERROR].decode("utf-8", "replace")
        raise NotAsked(f"the model's provider has answered {answer.status}: {said}")
    try:
        found = strict_json.loads(content)
        if not isinstance(found, dict):
            raise NoAnswer("it is no JSON object")
        return spoken.answer(found)
    except (ValueError, RecursionError, NoAnswer) as error:
        raise NotAsked(f"the model's answer cannot be read: {error}"[:_LONGEST_ERROR]) from error
