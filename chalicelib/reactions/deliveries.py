"""Delivering webhooks: a body frozen once, POSTed until a receiver takes it."""

import dataclasses
import hashlib
import io
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import IO

from chalicelib.aws.http import AddressRefused, Answer, CallFailed
from chalicelib.domain import webhooks
from chalicelib.reactions.signatures import WebhookSecrets, signed_headers
from chalicelib.services import Services
from chalicelib.store.deliveries import AttemptRecord, DeliveryRecord, DeliveryState
from chalicelib.store.webhooks import EndpointRecord
from chalicelib.wire.base import iso_from_ms

#: Largest body that lives in the item (DynamoDB takes 400 KB with everything else); larger ones are in S3.
MAX_ITEM_BODY_BYTES = 300_000
#: How long a receiver may take for everything, from the resolving of its name to the end of its answer.
TIMEOUT_S = 10.0
#: How much of an answer is kept.
MAX_ANSWER_BYTES = 1024
#: Longest ``Retry-After`` that is obeyed, as long as the longest pause of the schedule.
MAX_RETRY_AFTER_MS = 24 * 3600 * 1000
#: Each pause is longer by a random part of this share, so that simultaneous failures are not retried together.
JITTER = 0.1
#: How much too early Step Functions may resume an execution without its waiting again.
EARLY_MS = 1000
#: How long an attempt may be overdue before the round is taken over: longer than an attempt and a few
#: retries of its Lambda take. An attempt that is under way all the same finds that the round is another's, and stops.
FORGOTTEN_MS = 20 * 60 * 1000


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an attempt left: ``delivered``, ``failed``, ``retry`` at a time, or ``superseded`` by another execution."""

    state: str
    next_attempt_at_ms: int | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of one POST."""

    attempt: AttemptRecord
    #: Whether the same POST can never succeed: the address is refused, or the receiver is gone (410).
    final: bool = False
    #: Whether nothing was sent, because the endpoint is disabled.
    withheld: bool = False
    #: How long the receiver asks to wait (``Retry-After``).
    retry_after_ms: int = 0


# Freezing


def freeze(
    services: Services,
    *,
    delivery_id: str,
    namespace: str,
    session_id: str,
    url: str,
    body: bytes | IO[bytes],
    reduced: str | None = None,
    history_path: str | None = None,
) -> bool:
    """Make a body a delivery that will be POSTed to a URL; ``False`` when there is one under this id already.

    The first call decides the body; a later one changes nothing. The body is UTF-8 text (JSON), or a file of it.
    """
    now_ms = services.clock.now_ms()
    file = io.BytesIO(body) if isinstance(body, bytes) else body
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    key = None
    if size > MAX_ITEM_BODY_BYTES:
        if services.deliveries.find(delivery_id):
            return False
        # Named after its content: a loser's body cannot take the place of the winner's.
        key = f"deliveries/{delivery_id}/{hashlib.file_digest(file, 'sha256').hexdigest()}"  # type: ignore[arg-type]
        services.bodies.put_file(key, file)
    return services.deliveries.create(
        DeliveryRecord(
            delivery_id=delivery_id,
            namespace=namespace,
            session_id=session_id,
            url=url,
            created_at_ms=now_ms,
            next_attempt_at_ms=now_ms,
            expires_at=now_ms // 1000 + services.settings.delivery_retention_s,
            body=None if key else file.read().decode(),
            body_key=key,
            body_bytes=size,
            reduced=reduced,
            history_path=history_path,
        )
    )


# Attempts


def attempt(services: Services, delivery_id: str, round_: int, execution: str) -> Outcome:
    """POST a delivery once, record the attempt, and return what follows.

    A receiver's refusal is an outcome, an error of AWS is raised. Run twice (a Lambda is retried when its answer was
    lost), it may POST twice, since only the receiver knows what it got; the record counts one of them.
    """
    delivery = _owned(services, delivery_id, round_, execution)
    if delivery is None:
        return Outcome("superseded")
    early_ms = (delivery.next_attempt_at_ms or 0) - services.clock.now_ms()
    if delivery.state != "pending" or early_ms > EARLY_MS:
        return _standing(delivery)
    if early_ms > 0:
        services.clock.sleep(early_ms / 1000)
    endpoint = services.webhooks.find(delivery.namespace, delivery.url)
    if endpoint is not None and endpoint.disabled_at_ms is not None:
        result = _withheld(services, delivery, endpoint)
    else:
        result = _post(services, delivery)
    jitter = random.uniform(0, JITTER)  # noqa: S311
    state, next_ms = follow(result, delivery.tries + 1, services.settings.webhook_retry_schedule_s, jitter)
    recorded = services.deliveries.record(delivery, result.attempt, state=state, next_attempt_at_ms=next_ms)
    if recorded and recorded.state == "delivered":
        webhooks.note_success(services, endpoint)
    elif recorded and not result.withheld:
        webhooks.note_failure(services, endpoint, delivery.namespace, delivery.url)
    # Not recorded: a duplicate of this attempt was faster, and its record counts.
    recorded = recorded or _owned(services, delivery_id, round_, execution)
    return _standing(recorded) if recorded else Outcome("superseded")


def _owned(services: Services, delivery_id: str, round_: int, execution: str) -> DeliveryRecord | None:
    """Return the delivery when its round is this one and belongs to this execution, or does from now on."""
    delivery = services.deliveries.find(delivery_id)
    if delivery and delivery.round == round_ and delivery.execution is None:
        delivery = services.deliveries.claim(delivery_id, round_, execution)
    return delivery if delivery and (delivery.round, delivery.execution) == (round_, execution) else None


def _standing(delivery: DeliveryRecord) -> Outcome:
    if delivery.state == "pending":
        return Outcome("retry", delivery.next_attempt_at_ms)
    return Outcome(delivery.state)


def _post(services: Services, delivery: DeliveryRecord) -> Result:
    with _body_of(services, delivery) as body:
        return _posted(services, delivery, body)


@contextmanager
def _body_of(services: Services, delivery: DeliveryRecord) -> Iterator[bytes | memoryview]:
    if delivery.body_key is None:
        yield (delivery.body or "").encode()
        return
    with services.bodies.mapped(delivery.body_key) as body:
        yield body


def _posted(services: Services, delivery: DeliveryRecord, body: bytes | memoryview) -> Result:
    start_ms = services.clock.now_ms()
    headers = _headers(services, delivery, body, start_ms)
    answer: Answer | None = None
    error: AddressRefused | CallFailed | None = None
    try:
        answer = services.http.post(delivery.url, body, headers, timeout_s=TIMEOUT_S, max_answer_bytes=MAX_ANSWER_BYTES)
    except (AddressRefused, CallFailed) as refusal:
        error = refusal
    end_ms = services.clock.now_ms()
    made = AttemptRecord(
        time_ms=start_ms,
        round=delivery.round,
        duration_ms=end_ms - start_ms,
        status=answer.status if answer else None,
        answer=_text(answer.body) if answer else None,
        error=str(error) if error else None,
    )
    return Result(
        made,
        final=isinstance(error, AddressRefused) or (answer is not None and answer.status == 410),
        retry_after_ms=retry_after_ms(answer.headers, end_ms) if answer else 0,
    )


def _headers(services: Services, delivery: DeliveryRecord, body: bytes | memoryview, at_ms: int) -> dict[str, str]:
    """Return the headers of an attempt that is made at a time, signed with the secrets of today."""
    secrets = WebhookSecrets.model_validate_json(services.secrets.get("webhook-secrets"))
    signed = signed_headers(secrets, delivery.namespace, delivery.delivery_id, at_ms // 1000, body)
    return signed | _notes(delivery)


def _notes(delivery: DeliveryRecord) -> dict[str, str]:
    """Return what Atoll says of a body beside it: Coral's shapes have no place for that."""
    notes = {"X-Atoll-Report-Reduced": delivery.reduced, "X-Atoll-History": delivery.history_path}
    return {name: value for name, value in notes.items() if value is not None}


def _withheld(services: Services, delivery: DeliveryRecord, endpoint: EndpointRecord) -> Result:
    """Return what comes of an attempt at an endpoint that is disabled: a failure that says so."""
    since, disabled = (iso_from_ms(time) for time in (endpoint.failing_since_ms, endpoint.disabled_at_ms or 0))
    error = f"the endpoint {endpoint.endpoint_id} failed since {since} and is disabled since {disabled}: enable it"
    made = AttemptRecord(time_ms=services.clock.now_ms(), round=delivery.round, duration_ms=0, error=error)
    return Result(made, final=True, withheld=True)


def _text(answer: bytes) -> str:
    """Return the answer as text that is no longer than what is kept, whatever its bytes."""
    text = answer.decode("utf-8", "replace")
    return text.encode()[:MAX_ANSWER_BYTES].decode("utf-8", "ignore")


def follow(result: Result, tries: int, schedule_s: Sequence[float], jitter: float) -> tuple[DeliveryState, int | None]:
    """Return what follows from a POST: the state of the delivery and, for a retry, the time in ms.

    ``tries`` counts this one; ``jitter`` is the share by which the pause is longer than the schedule says.
    """
    done = result.attempt
    if done.status is not None and 200 <= done.status < 300:
        return "delivered", None
    if result.final or tries > len(schedule_s):
        return "failed", None
    pause_ms = int(schedule_s[tries - 1] * (1 + jitter) * 1000)
    return "pending", done.time_ms + done.duration_ms + max(pause_ms, result.retry_after_ms)


def retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int:
    """Read ``Retry-After``, seconds or an HTTP date (RFC 9110, 10.2.3), as ms from now, at most a day.

    0 for a missing or malformed header: a receiver's mistake must not stop its webhooks.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]) * 1000, MAX_RETRY_AFTER_MS)
    try:
        moment = parsedate_to_datetime(text)
        then_ms = int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0
    return min(max(then_ms - now_ms, 0), MAX_RETRY_AFTER_MS)


# Signing for who delivers it himself


def signed_now(services: Services, delivery: DeliveryRecord) -> tuple[dict[str, str], str] | None:
    """Return the headers and the body of an attempt that would be made now; ``None`` when the body is gone.

    All of the body is in memory: callers look at its size before.
    """
    body = delivery.body
    if delivery.body_key is not None:
        kept = services.bodies.find(delivery.body_key)
        body = None if kept is None else kept.decode()
    if body is None:
        return None
    return _headers(services, delivery, body.encode(), services.clock.now_ms()), body


# Reconciling


def take_over_forgotten(services: Services) -> list[str]:
    """Begin a new round of each pending delivery without an execution, on the same schedule; return their ids."""
    now_ms = services.clock.now_ms()
    taken = []
    for delivery_id in services.deliveries.overdue(now_ms - FORGOTTEN_MS):
        delivery = services.deliveries.find(delivery_id)
        # Read again: the index may be behind.
        if delivery is None or (delivery.next_attempt_at_ms or now_ms) > now_ms - FORGOTTEN_MS:
            continue
        if services.deliveries.take_over(delivery, now_ms=now_ms):
            taken.append(delivery_id)
    return taken
