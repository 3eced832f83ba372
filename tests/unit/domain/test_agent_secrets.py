"""Agent secrets: the names in them, and that no other text is accepted."""

import json

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import agent_secrets
from chalicelib.wire import base64url

NAMES = st.text(min_size=1, max_size=64).filter(
    lambda text: text.encode("utf-8", "ignore") == text.encode("utf-8", "replace")
)


@given(NAMES, NAMES, NAMES)
def test_a_secret_names_its_agent(namespace: str, session_id: str, agent: str) -> None:
    secret = agent_secrets.mint("key", namespace, session_id, agent)
    assert agent_secrets.parse(secret) == (namespace, session_id, agent)
    assert agent_secrets.matches(secret, agent_secrets.hash_of(secret))


def test_a_launch_that_is_tried_again_hands_out_the_same_secret() -> None:
    assert agent_secrets.mint("key", "ns", "s1", "a") == agent_secrets.mint("key", "ns", "s1", "a")


def test_another_key_session_or_agent_has_another_secret() -> None:
    secrets = {
        agent_secrets.mint(key, "ns", session, agent) for key in "kq" for session in ("s1", "s2") for agent in "ab"
    }
    assert len(secrets) == 8


def test_a_forged_proof_does_not_match() -> None:
    secret = agent_secrets.mint("key", "ns", "s1", "a")
    forged = agent_secrets.mint("guess", "ns", "s1", "a")
    assert agent_secrets.parse(forged) == agent_secrets.parse(secret)
    assert not agent_secrets.matches(forged, agent_secrets.hash_of(secret))
    assert not agent_secrets.matches(secret, None)


@given(st.text(max_size=200))
def test_any_other_text_is_no_secret(text: str) -> None:
    assert agent_secrets.parse(text) is None


def test_text_that_is_nearly_a_secret_is_refused() -> None:
    for text in ("", ".", "e30.x", "WyJhIl0.x", "WzEsMiwzXQ.x", "WyIiLCIiLCIiXQ.x", "a" * 5000 + ".x", "é.x"):
        assert agent_secrets.parse(text) is None


def test_names_that_no_text_can_hold_are_no_secret() -> None:
    identity = base64url.encoded(json.dumps(["ns", "\ud800", "a"]).encode())
    assert agent_secrets.parse(f"{identity}.{'0' * 64}") is None
    assert not agent_secrets.is_minted(f"{identity}.{'0' * 64}", "key")
