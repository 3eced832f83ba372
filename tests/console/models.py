"""The models of the agents in ``cast``: a provider without a network, which takes more tokens for longer questions."""

from collections.abc import Iterator
from contextlib import contextmanager

from chalicelib.wire.llm_proxy import LlmProxyConfig
from tests.offline_models import Asked, OfflineModels, Says


@contextmanager
def offline() -> Iterator[LlmProxyConfig]:
    """Serve the models, with prices of their own; what is yielded is the configuration that names them."""
    with OfflineModels() as models:
        models.usual = _answer
        provider = {
            "name": "openai",
            "format": {"type": "OpenAI"},
            "models": ["gpt-4.1", "gpt-4.1-mini"],
            "apiKey": "of-nobody",
            "baseUrl": models.url,
        }
        prices = [
            {"model": "gpt-4.1", "input": "2", "output": "8"},
            {"model": "gpt-4.1-mini", "input": "0.4", "output": "1.6"},
        ]
        yield LlmProxyConfig.model_validate({"providers": [provider], "prices": prices})


def _answer(asked: Asked) -> Says:
    return Says(input_tokens=1_000 + len(asked.body), output_tokens=250)
