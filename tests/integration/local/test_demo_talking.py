"""The demo's third scene, played: a prototype and a function talk, and a client reads what that cost."""

import io

import pytest
from rich.console import Console

from chalicelib.store.turns import Claim, TurnRecord, Turns
from chalicelib.wire.llm_proxy import LlmProxyConfig
from infra.local.demo import spending, talking
from infra.local.demo.__main__ import AGENTS, ASKER, Client, follow_talk
from infra.local.demo.screen import Lines
from infra.local.stack import LocalStack
from tests.offline_models import OfflineModels

pytestmark = pytest.mark.xdist_group("agents")


def test_a_prototype_and_a_function_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    claim_turn, claimed = Turns.claim, set()

    def counted(store: Turns, turn: TurnRecord, claim: Claim) -> TurnRecord | None:
        claimed.add((turn.name, turn.turn))
        return claim_turn(store, turn, claim)

    monkeypatch.setattr(Turns, "claim", counted)
    out = io.StringIO()
    screen = Lines(Console(file=out, width=200))
    with OfflineModels() as models:
        models.usual = talking.think
        config = LlmProxyConfig.model_validate(spending.llm_proxy(models.url))
        with (
            LocalStack(agents=[AGENTS / "echo", ASKER], llm_proxy=config, on_output=screen.overhear) as stack,
            Client(stack.url, stack.key) as client,
        ):
            talk = follow_talk(client, screen)

    assert [check.name for check in talk.checks() if not check.passed] == []
    assert len(models.asked) == talking.CALLS
    assert "4 calls, 4,000 tokens in, 400 out: $0.060000 of the budget of $10.000000" in out.getvalue()
    assert talk.costs is not None
    taken = {name: sum(each == name for each, _ in claimed) for name in talk.costs.turns}
    assert talk.costs.turns["echo"] == taken["echo"] == 4
    # An answer that comes between a wait's beginning and its first look ends no turn, which no client can see.
    assert talk.costs.turns["asker"] - taken["asker"] in (0, 1)
