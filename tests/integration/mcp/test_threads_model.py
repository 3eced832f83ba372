"""Threads against a model: for any calls of agents in any order, the store behaves like a simple model."""

import dataclasses
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from chalicelib.domain import actors, errors, threads, waits
from tests.mcp_world import SESSION, TestClock, World

NAMES = ["ann", "bob", "cem"]
names = st.sampled_from(NAMES)
places = st.integers(0, 2)


@dataclasses.dataclass
class Model:
    """A thread as it should be."""

    participants: set[str]
    texts: list[str] = dataclasses.field(default_factory=list)
    summary: str | None = None


class Threads(RuleBasedStateMachine):
    """Agents who try everything."""

    here: World

    @initialize()
    def begin(self) -> None:
        self.session = str(uuid.uuid4())
        self.here.session(*NAMES, session_id=self.session)
        self.ids: list[str] = []
        self.models: list[Model] = []
        self.sent = 0

    def _actor(self, name: str) -> actors.Actor:
        return self.here.actor(name, self.session)

    def _tried(self, call: Any, *arguments: Any) -> type[Exception] | None:
        self.here.services.clock.sleep(0.001)
        try:
            call(self.here.services, *arguments)
        except errors.AtollError as error:
            return type(error)
        return None

    @rule(creator=names, others=st.sets(names, max_size=2))
    def create(self, creator: str, others: set[str]) -> None:
        if len(self.ids) < 3:
            self.here.services.clock.sleep(0.001)
            self.ids.append(threads.create(self.here.services, self._actor(creator), "t", sorted(others)).id)
            self.models.append(Model({creator, *others}))

    @rule(place=places, sender=names, mentions=st.sets(names, max_size=2))
    def send(self, place: int, sender: str, mentions: set[str]) -> None:
        if place >= len(self.ids):
            return
        model, text = self.models[place], str(self.sent)
        self.sent += 1
        failed = self._tried(threads.send, self._actor(sender), self.ids[place], text, sorted(mentions))
        if sender in mentions or model.summary is not None:
            assert failed is errors.BadRequest
        elif not mentions <= model.participants:
            assert failed is errors.NotFound
        else:
            assert failed is None
            model.texts.append(text)

    @rule(place=places, requester=names, name=names)
    def add(self, place: int, requester: str, name: str) -> None:
        if place < len(self.ids):
            model = self.models[place]
            allowed = requester in model.participants and name not in model.participants
            failed = self._tried(threads.add_participant, self._actor(requester), self.ids[place], name)
            assert failed is (None if allowed else errors.BadRequest)
            if allowed:
                model.participants.add(name)

    @rule(place=places, requester=names, name=names)
    def remove(self, place: int, requester: str, name: str) -> None:
        if place < len(self.ids):
            model = self.models[place]
            allowed = {requester, name} <= model.participants
            failed = self._tried(threads.remove_participant, self._actor(requester), self.ids[place], name)
            assert failed is (None if allowed else errors.BadRequest)
            if allowed:
                model.participants.remove(name)

    @rule(place=places, name=names)
    def close(self, place: int, name: str) -> None:
        if place < len(self.ids):
            model = self.models[place]
            allowed = model.summary is None
            failed = self._tried(threads.close, self._actor(name), self.ids[place], f"by {name}")
            assert failed is (None if allowed else errors.BadRequest)
            if allowed:
                model.summary = f"by {name}"

    @rule(name=names)
    def hear(self, name: str) -> None:
        """A wait from the beginning gives the first message that the agent may read, in the order of sending."""
        got = waits.for_message(self.here.services, self._actor(name), waits.Terms(from_ms=0, deadline_ms=0))
        heard = [m for m in self.models if m.summary is None and name in m.participants]
        own = {
            entry.event["message"]["id"]: entry
            for entry in self.here.services.log.read(self.session)
            if entry.event["type"] == "thread_message_sent" and entry.event["message"]["senderName"] == name
        }
        mine = {entry.event["message"]["text"] for entry in own.values()}
        wanted = sorted((text for model in heard for text in model.texts if text not in mine), key=int)
        assert (got.message.text if got.message else None) == (wanted[0] if wanted else None)

    @invariant()
    def views_agree(self) -> None:
        views = {view.id: view for view in threads.views(self.here.services, self.session)}
        assert sorted(views) == sorted(self.ids)
        for thread, model in zip(self.ids, self.models, strict=True):
            view = views[thread]
            assert set(view.participants) == model.participants
            assert [message.text for message in view.messages] == ([] if model.summary is not None else model.texts)
            assert view.state.to_wire().get("summary") == model.summary


def test_threads_are_what_the_model_says(here: World) -> None:
    class OnMoto(Threads):
        pass

    OnMoto.here = here
    with here.on(TestClock()):
        run_state_machine_as_test(OnMoto, settings=settings(max_examples=12, stateful_step_count=15))


def test_fifty_senders_at_once_lose_nothing_and_leave_no_hole(here: World) -> None:
    thread = here.thread("ann", "bob", "cem")

    def send(number: int) -> str:
        return threads.send(here.services, here.actor(NAMES[number % 3]), thread, str(number), []).id

    with ThreadPoolExecutor(50) as pool:
        acknowledged = list(pool.map(send, range(100)))
    entries = list(here.services.log.read(SESSION))
    assert [entry.position for entry in entries] == list(range(1, len(entries) + 1))
    sent = [entry.event["message"] for entry in entries if entry.event["type"] == "thread_message_sent"]
    assert sorted(message["id"] for message in sent) == sorted(acknowledged)
    stamps = [message["timestamp"] for message in sent]
    assert stamps == sorted(set(stamps))
    (view,) = threads.views(here.services, SESSION)
    assert [message.id for message in view.messages] == [message["id"] for message in sent]


def test_everybody_who_waits_is_woken_by_what_is_for_them(here: World) -> None:
    thread = here.thread("ann", "bob", "cem")
    woken: Counter[str] = Counter()
    ready = threading.Barrier(7)

    def wait(name: str) -> None:
        ready.wait()
        answer = here.tool(name, "coral_wait_for_mention", currentUnixTime=0, maxWaitMs=10_000)
        woken[f"{name} {answer['message']['text']}"] += 1

    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(wait, name) for name in ("bob", "cem") for _ in range(3)]
        ready.wait()
        here.send("ann", thread, "hi bob", "bob")
        here.send("ann", thread, "hi cem", "cem")
        for one in waiting:
            one.result(15)
    assert woken == {"bob hi bob": 3, "cem hi cem": 3}


def test_an_update_whose_answer_was_lost_is_made_once_and_reported(here: World) -> None:
    """The SDK repeats a call that got no answer: the second time its condition fails, by its own doing."""
    thread = here.thread("ann", "bob")
    update_item = here.services.dynamodb.update_item

    def twice(**request: Any) -> Any:
        update_item(**request)
        return update_item(**request)

    with patch.object(here.services.dynamodb, "update_item", twice):
        sent = threads.send(here.services, here.actor("ann"), thread, "once", [])
        threads.add_participant(here.services, here.actor("ann"), thread, "cem")
        threads.remove_participant(here.services, here.actor("ann"), thread, "bob")
        (view,) = threads.views(here.services, SESSION)
        threads.close(here.services, here.actor("ann"), thread, "done")
    assert (view.participants, [message.id for message in view.messages]) == (["ann", "cem"], [sent.id])
    told = [entry.event["type"] for entry in here.services.log.read(SESSION)][2:]
    assert [kind for kind in told if kind != "void"] == [
        "thread_message_sent",
        "thread_participant_added",
        "thread_participant_removed",
        "thread_closed",
    ]


def test_one_of_many_additions_of_the_same_agent_succeeds(here: World) -> None:
    thread = here.thread("ann", "bob")

    def add(number: int) -> bool:
        try:
            threads.add_participant(here.services, here.actor(["ann", "bob"][number % 2]), thread, "cem")
        except errors.BadRequest:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(add, range(8))) == 1
    told = [entry.event for entry in here.services.log.read(SESSION)]
    assert sum(event["type"] == "thread_participant_added" for event in told) == 1
