"""The demo's second scene, played: a process calls its model until its budget is at its end, and is stopped."""

import io

import pytest
from rich.console import Console

from chalicelib.wire.llm_proxy import LlmProxyConfig
from infra.local.demo import spending
from infra.local.demo.__main__ import THINKER, Client, follow_spending
from infra.local.demo.receiver import receiving
from infra.local.demo.screen import Lines
from infra.local.stack import LocalStack
from tests.offline_models import OfflineModels, Says

pytestmark = pytest.mark.xdist_group("agents")


def test_a_budget_is_spent_to_its_end_and_its_agent_stopped() -> None:
    out = io.StringIO()
    screen = Lines(Console(file=out, width=200))
    with receiving() as news, OfflineModels() as models:
        models.usual = Says(input_tokens=spending.INPUT_TOKENS, output_tokens=spending.OUTPUT_TOKENS)
        config = LlmProxyConfig.model_validate(spending.llm_proxy(models.url))
        with (
            LocalStack(agents=[THINKER], llm_proxy=config, on_output=screen.overhear) as stack,
            Client(stack.url, stack.key) as client,
        ):
            seen = follow_spending(client, news, stack.webhook_secret, screen)

    assert [check.name for check in seen.checks() if not check.passed] == []
    assert len(models.asked) == spending.CALLS  # the seventh never left
    assert "thought 7 was refused with 402" in out.getvalue()
