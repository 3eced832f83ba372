"""Coral's LlmProxyResolutionTest: which model an agent gets for a proxy. Where Coral answers 500, Atoll answers 400."""

from collections.abc import Sequence
from typing import Any

import pytest

from chalicelib.domain import agent_environment
from chalicelib.settings import Urls
from chalicelib.wire.llm_proxy import ModelOffer
from infra.local.stack import LocalStack
from tests.client import Answer, Client, agent, session

pytestmark = pytest.mark.xdist_group("coral")

MODEL, ANOTHER = "test model", "another model"


def offer(kind: str, *models: str) -> ModelOffer:
    """A provider of these models, or of any when none is named."""
    name = f"{kind}, {', '.join(models) or 'any model'}"
    return ModelOffer.model_validate({"name": name, "format": {"type": kind}, "models": list(models)})


OPENAI_ANY, ANTHROPIC_ANY = offer("OpenAI"), offer("Anthropic")

Proxy = tuple[str, str, list[str]]


class Resolving:
    """Creates a session with one agent that declares proxies, where some providers are configured."""

    def __init__(self, stack: LocalStack, client: Client, namespace: str) -> None:
        self._stack, self._client, self._namespace = stack, client, namespace

    def ask(self, offers: Sequence[ModelOffer], *proxies: Proxy, **wanted: tuple[str, str]) -> Answer:
        self._stack.services.model_offers.replace(offers)
        tables = [
            f'[[llm.proxies]]\nname = "{name}"\nformat.type = "{kind}"\nmodels = {models!r}'
            for name, kind, models in proxies
        ]
        head = 'edition = 4\n[agent]\nname = "modelled"\nversion = "1.0.0"\n[runtimes.executable]\npath = "true"'
        text = "\n".join([head, *tables]).encode()
        toml = {"Content-Type": "application/toml"}
        assert self._client.call("PUT", "/api/v1/registry/local/modelled/1.0.0", text, toml).status == 200
        chosen = {name: {"configurationName": of, "modelName": model} for name, (of, model) in wanted.items()}
        asked = {**agent("a", "modelled"), "proxies": chosen}
        request = session(asked, namespace=self._namespace, defer=True)
        return self._client.call("POST", "/api/v1/local/session", request)

    def found(self, offers: Sequence[ModelOffer], *proxies: Proxy, **wanted: tuple[str, str]) -> dict[str, Any]:
        """Return what the agent's process will be told, by the names of variables without ``CORAL_PROXY_``."""
        answer = self.ask(offers, *proxies, **wanted)
        assert answer.status == 200, answer
        record = self._stack.services.agents.find(answer.body["sessionId"], "a")
        assert record is not None
        assert record.proxies is not None
        environment = agent_environment.of(record, "secret", None, Urls("api", "mcp", models="here"))
        assert not any("CORAL_PROXY" in name for shown in environment.shown.values() for name in shown)
        told = environment.filed["agent"]
        for name, kind, _ in proxies:
            assert told[f"CORAL_PROXY_URL_{name}"] == f"here/llm-proxy/secret/{name}"
            assert told[f"CORAL_PROXY_FORMAT_{name}"] == kind
            assert told[f"CORAL_PROXY_MODEL_{name}"] == record.proxies[name]["modelName"]
        return {name: (proxy["configurationName"], proxy["modelName"]) for name, proxy in record.proxies.items()}


@pytest.fixture
def resolving(stack: LocalStack, client: Client, namespace: str) -> Resolving:
    return Resolving(stack, client, namespace)


#: Coral's names of them, what is configured, and what is declared.
REFUSALS: list[tuple[str, list[ModelOffer], Proxy]] = [
    ("openAINoConfigs", [], ("MAIN", "OpenAI", [])),
    ("anthropicNoConfigs", [], ("MAIN", "Anthropic", [])),
    ("openAIOnlyAnthropicConfig", [ANTHROPIC_ANY], ("MAIN", "OpenAI", [])),
    ("anthropicOnlyOpenAIConfig", [OPENAI_ANY], ("MAIN", "Anthropic", [])),
    ("openAIModelMismatch", [offer("OpenAI", "test model 123")], ("MAIN", "OpenAI", [MODEL])),
    ("anthropicModelMismatch", [offer("Anthropic", "test model 123")], ("MAIN", "Anthropic", [MODEL])),
    ("openAIWrongProvider", [offer("Anthropic", MODEL)], ("MAIN", "OpenAI", [MODEL])),
    ("anthropicWrongProvider", [offer("OpenAI", MODEL)], ("MAIN", "Anthropic", [MODEL])),
]


@pytest.mark.parametrize(
    ("offers", "proxy"),
    [
        pytest.param(offers, proxy, id=name, marks=pytest.mark.coral(f"LlmProxyResolutionTest.{name}"))
        for name, offers, proxy in REFUSALS
    ],
)
def test_what_nobody_serves_is_refused(resolving: Resolving, offers: list[ModelOffer], proxy: Proxy) -> None:
    answer = resolving.ask(offers, proxy)
    assert answer.status == 400
    name, kind, models = proxy
    for part in ("'a'", repr(name), kind, *map(repr, models)):
        assert part in answer.body["message"]


@pytest.mark.coral("LlmProxyResolutionTest.testAnyModel")
def test_any_model(resolving: Resolving) -> None:
    for kind, any_of_it in (("OpenAI", OPENAI_ANY), ("Anthropic", ANTHROPIC_ANY)):
        assert resolving.found([any_of_it], ("MAIN", kind, [MODEL])) == {"MAIN": (any_of_it.name, MODEL)}


@pytest.mark.coral("LlmProxyResolutionTest.testMultipleProxies")
def test_multiple_proxies(resolving: Resolving) -> None:
    proxies = ("ONE", "OpenAI", [MODEL]), ("TWO", "Anthropic", [MODEL])
    found = resolving.found([OPENAI_ANY, ANTHROPIC_ANY], *proxies)
    assert found == {"ONE": (OPENAI_ANY.name, MODEL), "TWO": (ANTHROPIC_ANY.name, MODEL)}


@pytest.mark.coral("LlmProxyResolutionTest.testPrioritizeSpecificModel")
def test_prioritize_specific_model(resolving: Resolving) -> None:
    """One that names the model comes before one that serves any, whatever their order."""
    specific = offer("OpenAI", ANOTHER, MODEL)
    found = resolving.found([OPENAI_ANY, specific], ("MAIN", "OpenAI", [MODEL]))
    assert found == {"MAIN": (specific.name, MODEL)}
    # Of several that it has, the first in the provider's own order.
    found = resolving.found([OPENAI_ANY, specific], ("MAIN", "OpenAI", [MODEL, ANOTHER]))
    assert found == {"MAIN": (specific.name, ANOTHER)}


@pytest.mark.coral("LlmProxyResolutionTest.testAnyModelFallback")
def test_any_model_fallback(resolving: Resolving) -> None:
    """Then it is the first that the agent declares."""
    found = resolving.found([OPENAI_ANY, offer("OpenAI", "x")], ("MAIN", "OpenAI", [MODEL, ANOTHER]))
    assert found == {"MAIN": (OPENAI_ANY.name, MODEL)}
    # Without a model of its own nothing can be chosen for it.
    assert resolving.ask([OPENAI_ANY], ("MAIN", "OpenAI", [])).status == 400


@pytest.mark.coral("LlmProxyResolutionTest.testResolutionOverride")
def test_resolution_override(resolving: Resolving) -> None:
    """The request chooses, and what it says of a proxy that is not declared is read over."""
    wanted = {"MAIN": (OPENAI_ANY.name, "override model"), "OTHER": ("nobody", "nothing")}
    offers = [OPENAI_ANY, offer("OpenAI", MODEL)]
    for models in ([MODEL], []):
        found = resolving.found(offers, ("MAIN", "OpenAI", models), **wanted)
        assert found == {"MAIN": (OPENAI_ANY.name, "override model")}


@pytest.mark.parametrize(
    ("chosen", "model"),
    [
        pytest.param(ANTHROPIC_ANY, MODEL, marks=pytest.mark.coral("LlmProxyResolutionTest.testOverrideBadFormat")),
        pytest.param(
            offer("OpenAI", ANOTHER), MODEL, marks=pytest.mark.coral("LlmProxyResolutionTest.testOverrideBadModel")
        ),
        pytest.param(offer("OpenAI", "not there"), MODEL),
    ],
)
def test_a_choice_that_cannot_be_is_refused(resolving: Resolving, chosen: ModelOffer, model: str) -> None:
    offers = [OPENAI_ANY, ANTHROPIC_ANY, offer("OpenAI", ANOTHER)]
    answer = resolving.ask(offers, ("MAIN", "OpenAI", [MODEL]), MAIN=(chosen.name, model))
    assert answer.status == 400
    assert repr(chosen.name) in answer.body["message"]
