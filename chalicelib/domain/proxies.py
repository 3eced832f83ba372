"""Which model an agent gets for each proxy that it declares: decided when its session is created (contract, C.3)."""

from collections.abc import Mapping, Sequence

from chalicelib.domain.errors import BadRequest
from chalicelib.wire.graph import GraphAgentProxyRequest
from chalicelib.wire.llm_proxy import ModelOffer, ResolvedProxy
from chalicelib.wire.registry import LlmProxy


def resolve(
    offers: Sequence[ModelOffer],
    agent: str,
    declared: Sequence[LlmProxy],
    wanted: Mapping[str, GraphAgentProxyRequest],
) -> dict[str, ResolvedProxy]:
    """Return the model of each declared proxy, by its name; wishes for others are read over.

    Raises `BadRequest` naming agent, proxy, format and models for one that nobody serves.
    """
    return {proxy.name: _resolved(offers, agent, proxy, wanted.get(proxy.name)) for proxy in declared}


def _resolved(
    offers: Sequence[ModelOffer], agent: str, proxy: LlmProxy, wish: GraphAgentProxyRequest | None
) -> ResolvedProxy:
    of_format = [offer for offer in offers if offer.format.type == proxy.format.type]
    if wish is not None:
        return _named(offers, agent, proxy, wish)
    if not of_format:
        raise _refusal(agent, proxy, f"no provider of the format {proxy.format.type} is configured")
    for offer in of_format:
        if model := next((model for model in offer.models if model in proxy.models), None):
            return _of(offer, model)
    if not proxy.models:
        raise _refusal(agent, proxy, "it names no models, so the request must choose one in its proxies")
    for offer in of_format:
        if offer.allow_any_model:
            return _of(offer, proxy.models[0])
    raise _refusal(
        agent, proxy, f"none of the {len(of_format)} providers of the format {proxy.format.type} serves such a model"
    )


def _named(offers: Sequence[ModelOffer], agent: str, proxy: LlmProxy, wish: GraphAgentProxyRequest) -> ResolvedProxy:
    """Return what a request chose; the models that the agent declares do not matter then."""
    offer = next((offer for offer in offers if offer.name == wish.configuration_name), None)
    if offer is None:
        raise _refusal(agent, proxy, f"no provider {wish.configuration_name[:128]!r} is configured")
    if offer.format.type != proxy.format.type:
        raise _refusal(agent, proxy, f"the provider {offer.name!r} speaks the format {offer.format.type}")
    if not (offer.allow_any_model or wish.model_name in offer.models):
        raise _refusal(agent, proxy, f"the provider {offer.name!r} does not serve the model {wish.model_name!r}")
    return _of(offer, wish.model_name)


def _of(offer: ModelOffer, model: str) -> ResolvedProxy:
    return ResolvedProxy(configuration_name=offer.name, model_name=model, format=offer.format.type)


def _refusal(agent: str, proxy: LlmProxy, why: str) -> BadRequest:
    models = f" (models {', '.join(map(repr, proxy.models))})" if proxy.models else ""
    return BadRequest(
        f"the agent {agent!r} needs a model of the format {proxy.format.type} "
        f"for its proxy {proxy.name!r}{models}: {why}"
    )
