"""The iterations of a prototype, one in each turn, and what is kept between them."""

import re
from typing import TYPE_CHECKING, Any

from chalicelib.agents.here import Here
from chalicelib.agents.prototype import history, model
from chalicelib.agents.prototype.formats import FORMATS
from chalicelib.agents.prototype.history import Json
from chalicelib.agents.prototype.tools import Toolbox
from chalicelib.domain import prototypes, waits
from chalicelib.domain.errors import AtollError, BadRequest
from chalicelib.domain.prototypes import BadPrototype
from chalicelib.wire.prototype import PrototypeRuntime
from chalicelib.wire.waits import PausedWait

if TYPE_CHECKING:
    from chalicelib.services import Services

#: How long (ms) before its end a turn begins no more calls: the rest is for the next one.
_LAST_CALLS_MS = 25_000
#: How much of the first turn (ms) is for the model, whatever servers of tools take.
_MODEL_MS = 60_000
#: The longest pause (s) behind iterations that have failed one after the other.
_LONGEST_PAUSE_S = 60
#: How large (bytes of JSON) a runtime may be that is kept with the history.
_RUNTIME_BYTES = 64_000
#: The longest result of a tool (characters) that is kept.
_RESULT_CHARACTERS = 40_000
#: How many calls of one answer are made.
_MOST_CALLS = 32

_RESOURCE = re.compile(r"<resource>(.*?)</resource>")

#: What the first message says behind its base, with and without more of the author's.
_SPECIFIC = "Your author asks you for this in particular; begin with it at once:"
_UNSPECIFIC = "You were given no task of your own: wait until another agent mentions you, and do what it needs."
_REMINDER = (
    "(These messages come from an automaton. Nobody reads what you write here: use your tools to talk with other "
    "agents, and through them with users. You will get more of these messages.)"
)


class Ended(Exception):
    """The agent cannot go on; the message says why."""


def take(services: "Services", here: Here) -> Json:
    """Take a turn and return what a function answers; raise `Ended`, and what AWS raises when it is busy."""
    until_ms = services.clock.now_ms() + services.settings.turn_limit_ms
    try:
        state = here.state or _first(services, here, until_ms - _MODEL_MS)
        return _Iteration(services, here, state, until_ms).take()
    except BadPrototype as error:
        raise Ended(str(error)) from error


def _first(services: "Services", here: Here, until_ms: int) -> Json:
    """Return the state of an agent before its first iteration: what it is, as the registry has it now."""
    wanted = here.actor.agent.registry_agent_identifier
    name, version = wanted["name"], wanted["version"]
    record = services.registry.find_for_launch(name, version)
    runtime = record.definition.runtimes.prototype if record else None
    if runtime is None:
        raise Ended(f"the agent {name} {version} is not in the registry any more, or is no prototype there")
    written = runtime.to_wire()
    if (size := history.bytes_of([written])) > _RUNTIME_BYTES:
        raise Ended(f"runtimes.prototype has {size} bytes: at most {_RUNTIME_BYTES} can be run")
    proxy = prototypes.text_of(runtime.proxy, here.turn.agent.options)
    try:
        resolved = model.proxy_of(here.actor, proxy)
    except BadRequest:
        raise Ended(f"runtimes.prototype.proxy is {proxy[:64]!r}, which is none of the agent's proxies") from None
    limit = history.limit_for(model.context_tokens(services, resolved))
    tools = Toolbox(services, here, runtime, [], until_ms)
    try:
        listed = tools.list_servers()
    finally:
        tools.close()
    return {"runtime": written, "tools": listed, "limit": limit, "messages": [], "done": 0, "failures": 0}


class _Iteration:
    """One turn: an iteration, or what is left of one."""

    def __init__(self, services: "Services", here: Here, state: Json, until_ms: int) -> None:
        self._services, self._here, self._state = services, here, state
        self._runtime = PrototypeRuntime.model_validate(state["runtime"])
        self._until_ms = until_ms
        self._tools = Toolbox(services, here, self._runtime, state["tools"], until_ms)
        options = here.turn.agent.options
        self._iterations = prototypes.integer_of(self._runtime.iterations, options, low=1)
        self._delay_ms = prototypes.integer_of(self._runtime.delay, options, low=0)
        self._texts = _texts_of(self._runtime, options)
        self._proxy = prototypes.text_of(self._runtime.proxy, options)

    def take(self) -> Json:
        try:
            pending = self._state.get("pending")
            if pending is not None:
                [*_, asked] = [each for each in self._state["messages"] if each["role"] == "assistant"]
                return self._go_on(asked["calls"], pending["made"], pending.get("wait"))
            try:
                calls = self._asked()
            except (model.NotAsked, AtollError) as error:
                return self._failed(str(error))
            return self._go_on(calls, 0, None)
        finally:
            self._tools.close()

    def _asked(self) -> list[Json]:
        """Ask the model what to do next; note what it says, and return the calls that it wants."""
        state, here = self._state, self._here
        system = _RESOURCE.sub(self._resource, self._texts["system"])
        if not any(each["role"] == "user" for each in state["messages"]):
            state["messages"].append({"role": "user", "text": "initial"})
        elif state["messages"][-1] != {"role": "user", "text": "followup"}:
            state["messages"].append({"role": "user", "text": "followup"})
        resolved = model.proxy_of(here.actor, self._proxy)
        spoken = FORMATS[self._runtime.client or resolved.format.lower()]
        request = spoken, spoken.request(system, state["messages"], self._texts, self._tools.described())
        until_ms = self._until_ms - _LAST_CALLS_MS
        answer = model.ask(self._services, here.acting(), self._proxy, request, until_ms=until_ms)
        if (size := history.bytes_of([answer])) > state["limit"] // 2:
            raise model.NotAsked(f"the model's answer has {size} bytes: at most {state['limit'] // 2} are kept")
        if answer.get("text") or answer["calls"]:
            state["messages"].append(answer)
        names = ", ".join(call["name"] for call in answer["calls"]) or "no tool"
        here.say(f"iteration {state['done'] + 1} of {self._iterations}: {names}")
        return list(answer["calls"])

    def _resource(self, found: re.Match[str]) -> str:
        return f'<resource uri="{found[1]}">\n{self._tools.resource(found[1])}\n</resource>'

    def _go_on(self, calls: list[Json], made: int, wait: Json | None) -> Json:
        """Make the calls that are left, up to one that waits or the end of the turn; ``wait`` is that of the first."""
        for call in calls[made:]:
            if wait is None and self._services.clock.now_ms() > self._until_ms - _LAST_CALLS_MS:
                return self._later({"made": made}, self._here.pause(0))
            try:
                text, failed = self._made(call, made, wait)
            except waits.Paused as paused:
                until_ms = wait["untilMs"] if wait else self._tools.until_ms(call, paused.wait)
                kept = paused.wait.model_copy(update={"deadline_ms": until_ms}).to_wire()
                later = {"made": made, "wait": {"paused": kept, "untilMs": until_ms}}
                return self._later(later, self._waits_for(paused.wait, until_ms))
            wait, made = None, made + 1
            text = history.clean(text)
            if len(text) > _RESULT_CHARACTERS:
                text = text[:_RESULT_CHARACTERS] + " … (cut)"
            result = {"role": "tool", "id": call["id"], "name": call["name"], "text": text, "failed": failed}
            self._state["messages"].append(result)
        self._state.pop("pending", None)
        self._state |= {"done": self._state["done"] + 1, "failures": 0}
        return self._next(self._delay_ms)

    def _made(self, call: Json, made: int, wait: Json | None) -> tuple[str, bool]:
        """Make a call, or go on with its wait."""
        if wait is not None:
            return self._tools.resume(PausedWait.model_validate(wait["paused"]))
        if made >= _MOST_CALLS:
            return f"not called: at most {_MOST_CALLS} calls of one answer are made", True
        return self._tools.call(call)

    def _waits_for(self, wait: PausedWait, until_ms: int) -> Json:
        left_ms = max(0, until_ms - self._services.clock.now_ms())
        filters: list[Any] = list(wait.filters)
        if not filters:
            return {"for": "message", "maxWaitMs": left_ms}
        if filters[0].type == "mentions":
            return {"for": "mention", "maxWaitMs": left_ms}
        return {"for": "agent", "agentName": filters[0].name, "maxWaitMs": left_ms}

    def _later(self, pending: Json, wait: Json) -> Json:
        """Leave the rest of the iteration to the next turn."""
        self._state["pending"] = pending
        return self._answer(wait)

    def _failed(self, error: str) -> Json:
        """An iteration is lost; the next one begins after a pause that doubles with each that fails after it."""
        state = self._state
        if self._runtime.volatile:
            raise Ended(error)
        state |= {"done": state["done"] + 1, "failures": state["failures"] + 1}
        pause_s = min(2 ** (state["failures"] - 1), _LONGEST_PAUSE_S)
        self._here.say(f"iteration {state['done']} of {self._iterations} failed: {error}")
        return self._next(max(self._delay_ms, pause_s * 1000))

    def _next(self, pause_ms: int) -> Json:
        if self._state["done"] >= self._iterations:
            return {"exit": True}
        return self._answer(self._here.pause(min(pause_ms, _LONGEST_DELAY_MS)))

    def _answer(self, wait: Json) -> Json:
        self._state["messages"] = history.shortened(self._state["messages"], self._state["limit"])
        return {"state": self._state, "wait": wait}


#: No session lasts longer.
_LONGEST_DELAY_MS = 363 * 86_400_000


def _texts_of(runtime: PrototypeRuntime, options: dict[str, Any]) -> dict[str, str]:
    """Return what the model is told, by what a history calls it."""
    prompts = runtime.prompts

    def text(string: Any) -> str:
        return "" if string is None else prototypes.text_of(string, options)

    extra, specific = text(prompts.system.extra), text(prompts.loop.initial.extra)
    task = (
        f"{_SPECIFIC}\n<specific instructions>\n{specific}\n</specific instructions>"
        if specific.strip()
        else _UNSPECIFIC
    )
    return {
        "system": "\n\n".join([text(prompts.system.base), *([extra] if extra.strip() else [])]),
        "initial": f"{text(prompts.loop.initial.base)}\n\n{task}\n\n{_REMINDER}",
        "followup": text(prompts.loop.followup),
    }
