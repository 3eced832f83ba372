"""The table ``[llm-proxy]`` of Coral's configuration: what is taken, what is refused, and that no fault shows a key."""

from decimal import Decimal
from typing import Any

import pytest

from chalicelib.wire.llm_proxy import NOTHING, ConfigFault, LlmProxyConfig, parse

PROVIDER = """
[[llm-proxy.providers]]
name = "one"
format.type = "OpenAI"
apiKey = "${KEY}"
baseUrl = "https://api.example"
"""


def test_all_of_it_is_read_and_kept() -> None:
    text = """
    [network]
    bindPort = 5555
    [llm-proxy]
    retryMaxAttempts = 3
    retryBaseDelay = "1s"
    retryDelayExponent = 1.5
    retryMaxDelay = "PT10S"
    maxRequestSize = "1MiB"
    maxResponseSize = "2 MB"
    maxStreamSize = 4096
    sendSessionHeaders = true
    unknownModelPrice = { input = 10, output = "30.5" }
    [[llm-proxy.providers]]
    name = "one"
    format.type = "OpenAI"
    models = ["large", "small", "large"]
    apiKey = "sk-${KEY}"
    baseUrl = "https://${HOST}/base"
    timeout = "1m 30s"
    [[llm-proxy.providers]]
    name = "two"
    format.type = "Anthropic"
    apiKey = "k"
    baseUrl = "https://b.example"
    [[llm-proxy.prices]]
    model = "large"
    input = 0.1
    output = 0.30
    """
    config = parse(text, {"KEY": "secret", "HOST": "a.example"})
    assert (config.retry_max_attempts, config.retry_base_delay, config.retry_max_delay) == (3, 1_000, 10_000)
    assert (config.retry_delay_exponent, config.send_session_headers) == (1.5, True)
    assert (config.max_request_size, config.max_response_size, config.max_stream_size) == (2**20, 2_000_000, 4_096)
    one, two = config.providers
    assert (one.api_key.get_secret_value(), one.base_url) == ("sk-secret", "https://a.example/base")
    assert (one.timeout, two.timeout) == (90_000, 600_000)
    assert (one.models, one.allow_any_model, two.allow_any_model) == (["large", "small"], False, True)
    # Exactly as it is written: no binary fraction in between.
    assert (config.prices[0].input, config.prices[0].output) == (Decimal("0.1"), Decimal("0.30"))
    assert config.unknown_model_price is not None
    assert config.unknown_model_price.output == Decimal("30.5")
    assert LlmProxyConfig.of_text(config.to_text()) == config
    assert [offer.name for offer in config.offers] == ["one", "two"]


def test_a_key_is_neither_in_a_repr_nor_in_an_offer() -> None:
    config = parse(PROVIDER, {"KEY": "hunter22"})
    assert "hunter22" not in repr(config) + repr(config.offers) + str([offer.to_wire() for offer in config.offers])
    assert "hunter22" in config.to_text()


def test_without_the_table_nothing_is_configured() -> None:
    assert parse("", {}) == LlmProxyConfig() == LlmProxyConfig.of_text(NOTHING)
    assert LlmProxyConfig().max_request_size == 20 * 2**20


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"apiKey": '"${NOT_SET}"'}, "NOT_SET"),
        ({"apiKey": '"hunter22\\n"'}, "apiKey"),
        ({"apiKey": '"hunter22\N{SNOWMAN}"'}, "apiKey"),
        ({"apiKey": '""'}, "apiKey"),
        ({"apiKye": '"hunter22"'}, "apiKye"),
        ({"baseUrl": '"ftp://hunter22"'}, "baseUrl"),
        ({"baseUrl": '"https://hunter22:x@host"'}, "baseUrl"),
        ({"baseUrl": '"https://host/?a=hunter22"'}, "query"),
        ({"format.type": '"openai"'}, "format"),
        ({"timeout": "600"}, "unit"),
        ({"timeout": '"ten minutes"'}, "timeout"),
        ({"timeout": '"1h"'}, "timeout"),
        ({"timeout": '""'}, "timeout"),
        ({"models": '[""]'}, "models"),
        ({"models": '["a\\tb"]'}, "models"),
        ({"name": '""'}, "name"),
    ],
)
def test_a_fault_of_a_provider_is_named_without_its_key(changed: dict[str, str], said: str) -> None:
    table = {
        "name": '"one"',
        "format.type": '"OpenAI"',
        "apiKey": '"hunter22"',
        "baseUrl": '"https://api.example"',
        **changed,
    }
    text = "[[llm-proxy.providers]]\n" + "\n".join(f"{name} = {value}" for name, value in table.items())
    with pytest.raises(ConfigFault) as refused:
        parse(text, {})
    assert said in str(refused.value)
    assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[llm-proxy]\nmaxRequestSize = '20 parsecs'", "20 parsecs"),
        ("[llm-proxy]\nmaxRequestSize = '1TB'", "1TB"),
        ("[llm-proxy]\nmaxRequestSize = 0", "maxRequestSize"),
        ("[llm-proxy]\nretryMaxAttempts = 11", "retryMaxAttempts"),
        ("[llm-proxy]\nretryDelayExponent = nan", "retryDelayExponent"),
        ("[llm-proxy]\nretries = 1", "retries"),
        (PROVIDER + PROVIDER, "two providers for one"),
        ("llm-proxy = 1", "llm-proxy"),
        ("a = ", "TOML"),
        ("a." * 40 + "a = 1", "nested"),
        ("#" * 60_001, "60001 bytes"),
        *(
            (f"[[llm-proxy.prices]]\nmodel = 'm'\noutput = 1\ninput = {price}", "prices.0.input")
            for price in ("-1", "nan", "inf", "1e9", "true", "'1.'", "0.1234567", "1000000")
        ),
    ],
)
def test_a_fault_names_the_key_and_the_rule(text: str, said: str) -> None:
    with pytest.raises(ConfigFault, match=said):
        parse(text, {"KEY": "k"})


@pytest.mark.parametrize(
    ("written", "ms"), [("500ms", 500), ("1.5s", 1_500), ("10m", 600_000), ("PT1M30S", 90_000), ("1m30s", 90_000)]
)
def test_a_time_is_read_in_corals_forms(written: str, ms: int) -> None:
    config: Any = parse(f"[llm-proxy]\nretryMaxDelay = '{written}'", {})
    assert config.retry_max_delay == ms
