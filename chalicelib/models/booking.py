"""What is known of a call of a model before it begins and once it has ended: the one place for its costs and its event.

Before it begins, the most that it can cost is held on the budgets of its agent, if there are any. A call that has begun
ends exactly once, however that comes, and is booked:

- answered whole: by the usage that its provider told; without that, by all that was held. An error costs nothing,
  unless it tells a usage.
- answered in part, or sent and not answered: by what was told, and where nothing was by what was seen: the input as it
  was counted from the request, the output by its bytes, since a token has one at least.
- never sent: not at all.

A process that dies in between leaves the hold to the reconciler, which books it whole.
"""

import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import Any

from ulid import ULID

from chalicelib.aws.errors import is_transient
from chalicelib.domain import budgets
from chalicelib.domain.budgets import Reservation
from chalicelib.models import bounds, formats, prices
from chalicelib.models.bounds import Bound
from chalicelib.models.calls import ModelCall
from chalicelib.models.prices import Price, TokenUsage
from chalicelib.store.log import Full, Sealed
from chalicelib.wire.base import iso_from_ms
from chalicelib.wire.events import LlmProxyCall
from chalicelib.wire.llm_proxy import LlmProxyConfig, TokenPrice

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a call that was answered."""

    status: int
    #: What the provider said of the usage, as it said it.
    usage: dict[str, Any]
    #: Whether the answer came to its end.
    complete: bool = True
    #: How many bytes of text were seen of one that did not.
    seen_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Held:
    """What is held for a call, and what it is counted by."""

    reservation: Reservation
    price: Price
    bound: Bound


class Booking:
    """One call that has begun."""

    def __init__(self, call: ModelCall, held: Held | None) -> None:
        self._call = call
        self._held = held
        self._lock = threading.Lock()
        self._ended = False

    def answered(self, outcome: Outcome) -> None:
        """End a call that its provider has answered, be it with an error."""
        if self._ends():
            if self._held is not None:
                self._settle(self._held, _used(self._held, outcome))
            self._written("is not in the log", lambda: self._tell(outcome))

    def failed(self, *, was_sent: bool) -> None:
        """End a call without an answer; ``was_sent`` when its provider may have begun to work on it."""
        if self._ends() and (held := self._held) is not None:
            if was_sent:
                self._settle(held, TokenUsage(held.bound.input_tokens, 0))
            else:
                self._written("is still held for", lambda: budgets.release(self._call.services, held.reservation))

    def _ends(self) -> bool:
        """Return whether it ends now: who reads a stream and who closes it may do so at the same time."""
        with self._lock:
            ends, self._ended = not self._ended, True
        return ends

    def _settle(self, held: Held, used: TokenUsage | None) -> None:
        """Book what was used; ``None`` is all that was held."""
        bound = held.bound
        spent = bound.micro_usd if used is None else held.price.micro_usd(used)
        tokens = {
            "input_tokens": bound.input_tokens if used is None else used.all_input,
            "output_tokens": bound.output_tokens if used is None else used.output,
        }
        self._written(
            "is still held for",
            lambda: budgets.settle(self._call.services, held.reservation, spent_micro_usd=spent, **tokens),
        )

    def _tell(self, outcome: Outcome) -> None:
        """Put the event into the session's log."""
        call, usage = self._call, formats.usage_in(outcome.usage)

        def event_at(stamp_ms: int) -> dict[str, Any]:
            return LlmProxyCall(
                timestamp=stamp_ms,
                agent_name=call.actor.name,
                model_name=call.proxy.model_name,
                provider_request_name=call.proxy_name,
                status_code=outcome.status,
                usage=usage,
            ).to_wire()

        expires_at = call.actor.agent.expires_at
        call.services.log.append(call.actor.session_id, event_at, expires_at=expires_at, reserve=True)

    def _written(self, what: str, write: Callable[[], Any]) -> None:
        """Make a write. The provider has answered: that is handed on, even if this fails."""
        try:
            write()
        except (Full, Sealed) as error:
            logger.warning("call of a model %s", what, extra={**self._call.actor.ids, "reason": str(error)})
        except Exception as error:
            if not is_transient(error):
                raise
            about = {**self._call.actor.ids, "reason": f"AWS is busy: {type(error).__name__}"}
            logger.warning("call of a model %s", what, extra=about)


def _used(held: Held, outcome: Outcome) -> TokenUsage | None:
    told = TokenUsage.of(outcome.usage)
    if not 200 <= outcome.status < 300:
        return told or TokenUsage(0, 0)
    if outcome.complete:
        return told
    seen = min(outcome.seen_bytes, held.bound.output_tokens)
    if told is None or not told.all_input:
        return TokenUsage(held.bound.input_tokens, max(seen, told.output if told else 0))
    return told._replace(output=max(seen, told.output))


def begin(call: ModelCall) -> Booking:
    """Begin a call: hold the most that it can cost, where its agent has a budget.

    Raises `NotPriced` when that cannot be said, and what `budgets.reserve` raises.
    """
    budget, body, sent = call.caller.budget, call.prepared.json, call.prepared.body
    if budget is None or body is None or sent is None or not budget.levels_of(call.actor.name):
        return Booking(call, None)
    day = iso_from_ms(call.services.clock.now_ms())[:10]
    price = _price_of(call.config, call.provider.base_url, call.proxy.model_name, day)
    bound = bounds.of_request(price, call.proxy.model_name, call.prepared.path, body, sent)
    reservation = budgets.reserve(
        call.services,
        call.actor,
        budget,
        hold_id=str(ULID()),
        upper_micro_usd=bound.micro_usd,
        model=call.proxy.model_key,
    )
    return Booking(call, Held(reservation, price.asked(body), bound))


def _price_of(config: LlmProxyConfig, base_url: str, model: str, day: str) -> Price:
    own = next((each for each in config.prices if each.model == model), None)
    unknown = config.unknown_model_price
    return prices.Prices(
        own={model: _own(own, own.output_tokens)} if own else {}, unknown=_own(unknown, None) if unknown else None
    ).of(base_url, model, day)


def _own(price: TokenPrice, output_tokens: int | None) -> Price:
    return prices.own(price.input, price.output, output_tokens)
