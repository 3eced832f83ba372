"""An agent's start time on its item: a late event neither creates the item nor moves a known time."""

import pytest

from tests.mcp_world import SESSION, World

KNOWN_MS, LATE_MS = 1_800_000_000_000, 1_800_000_009_000


@pytest.fixture
def here(_deployment: World) -> World:
    """A deployment whose one session has the agents ``ann`` and ``bob``."""
    _deployment.clear()
    _deployment.session("ann", "bob")
    return _deployment


def test_a_late_start_makes_no_item_of_an_agent_that_is_gone(here: World) -> None:
    assert not here.services.agents.note_start(SESSION, "gone", now_ms=LATE_MS)
    assert here.services.agents.find(SESSION, "gone") is None
    assert [agent.name for agent in here.services.agents.of_session(SESSION)] == ["ann", "bob"]


def test_a_late_start_moves_no_known_one(here: World) -> None:
    assert here.services.agents.note_start(SESSION, "ann", now_ms=KNOWN_MS)
    assert not here.services.agents.note_start(SESSION, "ann", now_ms=LATE_MS)
    agent = here.services.agents.find(SESSION, "ann")
    assert agent is not None
    assert agent.started_at_ms == KNOWN_MS


def test_a_launch_that_is_noted_late_moves_no_known_start(here: World) -> None:
    """An ECS event reports the task's start before RunTask's answer is stored."""
    here.clear()
    here.session("ann", task_arn="arn", started_at_ms=KNOWN_MS)
    assert here.services.agents.start(SESSION, "ann", task_arn="arn", now_ms=LATE_MS)
    agent = here.services.agents.find(SESSION, "ann")
    assert agent is not None
    assert agent.started_at_ms == KNOWN_MS


def test_what_happens_late_to_an_agent_that_is_gone_makes_no_item(here: World) -> None:
    assert not here.services.agents.stop(SESSION, "gone", now_ms=LATE_MS, reason="late")
    assert not here.services.agents.connect(SESSION, "gone", now_ms=LATE_MS)
    assert here.services.agents.find(SESSION, "gone") is None


def test_a_launch_is_raised_by_one_who_has_its_number(here: World) -> None:
    agents = here.services.agents
    [running, _] = agents.of_session(SESSION)
    assert not agents.launch_anew(running), "it runs"
    assert agents.relaunch(running, task_arn="first", now_ms=LATE_MS)
    [waiting, _] = agents.of_session(SESSION)
    assert agents.launch_anew(waiting)
    assert not agents.launch_anew(waiting), "another launch has raised it"
    assert agents.of_session(SESSION)[0].launch == 2


def test_the_launch_of_an_agent_of_an_earlier_version_is_raised(here: World) -> None:
    agents = here.services.agents
    [agent, _] = agents.of_session(SESSION)
    earlier = "REMOVE #launch, #failedTaskArns SET #status = :waiting"
    agents._changed(SESSION, "ann", earlier, when="attribute_exists(#item)", values={":waiting": "waiting"})
    assert agents.launch_anew(agent)
    assert agents.start(SESSION, "ann", task_arn="first", now_ms=LATE_MS)
    assert agents.relaunch(agent, task_arn="first", now_ms=LATE_MS)
    [now, _] = agents.of_session(SESSION)
    assert (now.launch, now.failed_task_arns) == (2, ["first"])


def test_an_agent_waits_again_once_for_each_task_that_never_started(here: World) -> None:
    agents = here.services.agents
    agent = agents.find(SESSION, "ann")
    assert agent is not None
    assert agents.relaunch(agent, task_arn="first", now_ms=LATE_MS)
    assert not agents.relaunch(agent, task_arn="first", now_ms=LATE_MS), "the event came twice"
    assert not agents.start(SESSION, "ann", task_arn="first", now_ms=LATE_MS), "its launch is noted late"
    assert agents.start(SESSION, "ann", task_arn="second", now_ms=LATE_MS)
    assert not agents.relaunch(agent, task_arn="third", now_ms=LATE_MS), "it runs in another"
    assert agents.stop(SESSION, "ann", now_ms=LATE_MS, reason="done")
    assert not agents.relaunch(agent, task_arn="second", now_ms=LATE_MS)
    now = agents.find(SESSION, "ann")
    assert now is not None
    assert (now.status, now.launch, now.failed_task_arns) == ("stopped", 1, ["first"])
