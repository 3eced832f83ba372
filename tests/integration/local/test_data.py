"""The data of a local stack in parts, each with runs of its own; `test_next_run` has the whole."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain import deliveries as asked
from chalicelib.domain.agent_environment import FOLDER
from chalicelib.reactions import deliveries
from infra.local.stack import LocalStack
from tests.agents import SLEEPER
from tests.client import Client, eventually, session, sleeper
from tests.integration.local.runs import killed, run
from tests.integration.webhooks.receivers import receiving

pytestmark = pytest.mark.xdist_group("data")


def test_records_that_were_not_carried_are_carried_by_the_next_run(tmp_path: Path) -> None:
    with run(tmp_path / "first") as stack:
        for pump in stack.pumps["atoll-local-sessions"]:
            pump._carry = lambda batch: None  # type: ignore[method-assign]
            pump._carried = lambda _: None
        path = Client(stack.url, stack.key).create(session(sleeper("a", 0.1), namespace="shop"))
        killed(stack, tmp_path / "second")
    with run(tmp_path / "second") as stack:
        Client(stack.url, stack.key).wait_for_status(path, None)


def test_what_was_on_its_way_to_a_state_machine_arrives_in_the_next_run(tmp_path: Path) -> None:
    with receiving() as receiver:
        with run(tmp_path / "first") as stack, pytest.MonkeyPatch.context() as patch:
            patch.setattr(stack._aws._bus, "_try", lambda *_: None)
            deliveries.freeze(
                stack.services, delivery_id="d", namespace="n", session_id="s", url=receiver.url, body=b"{}"
            )
            data = stack._data
            assert data is not None
            eventually(lambda: any("webhook-delivery" in str(value) for _, value in data.read("event")))
            killed(stack, tmp_path / "second")
        assert not receiver.received
        with run(tmp_path / "second"):
            eventually(lambda: receiver.received)


def test_objects_that_their_bucket_does_not_keep_any_longer_are_deleted(tmp_path: Path) -> None:
    with run(tmp_path) as stack:
        bodies = stack.services.bodies
        for key in ("history/a", "deliveries/a", "other/a"):
            bodies.put(key, b"x")
        stack._aws._objects.delete_expired(stack.services.clock.now_ms() / 1000 + 30.5 * 86_400)
        assert [bodies.find(key) for key in ("history/a", "deliveries/a", "other/a")] == [None, b"x", b"x"]
    with run(tmp_path) as stack:
        bodies = stack.services.bodies
        assert [bodies.find(key) for key in ("history/a", "deliveries/a", "other/a")] == [None, b"x", b"x"]


def test_environment_files_are_in_no_data(tmp_path: Path) -> None:
    with run(tmp_path) as stack:
        for key in (f"{FOLDER}a", "history/a"):
            stack.services.bodies.put(key, b"x")
        assert stack._data is not None
        assert [json.loads(name)[1] for name, _ in stack._data.read("object")] == ["history/a"]


def test_agents_whose_folders_have_gone_between_two_runs_go(tmp_path: Path) -> None:
    for name in ("here", "gone"):
        shutil.copytree(SLEEPER, tmp_path / name)
        file = tmp_path / name / "coral-agent.toml"
        file.write_text(file.read_text().replace('name = "sleeper"', f'name = "{name}"'))
    for expected in (["gone", "here"], ["here"]):
        settings = {"debug_agents": False}
        with LocalStack(agent_patterns=[f"{tmp_path}/*"], data=tmp_path / "data", settings=settings) as stack:
            catalog = Client(stack.url, stack.key).call("GET", "/api/v1/registry").body[0]["agents"]
            assert [agent["name"] for agent in catalog] == expected
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(tmp_path / "gone")


def test_sessions_that_run_are_closed_with_their_reports(tmp_path: Path) -> None:
    with receiving() as receiver, LocalStack(agents=[SLEEPER]) as stack:
        hook: dict[str, Any] = {"webhooks": {"sessionEnd": {"url": receiver.url}}}
        client = Client(stack.url, stack.key)
        paths = [client.create(session(sleeper("a"), namespace="n", **hook)) for _ in range(3)]
        stack.close_sessions(20)
        assert sorted(r.headers["webhook-id"] for r in receiver.received) == sorted(
            f"{path.rpartition('/')[2]}-end" for path in paths
        )


def test_the_end_does_not_wait_for_a_receiver_that_does_not_answer(tmp_path: Path) -> None:
    with LocalStack(agents=[SLEEPER], data=tmp_path) as stack:
        with receiving() as receiver:
            receiver.answer(500)
            hook: dict[str, Any] = {"webhooks": {"sessionEnd": {"url": receiver.url}}}
            path = Client(stack.url, stack.key).create(session(sleeper("a"), namespace="n", **hook))
            stack.close_sessions(20)
        delivery = asked.find(stack.services, "n", f"{path.rpartition('/')[2]}-end")
        assert (delivery.state, delivery.tries) == ("pending", 1)
