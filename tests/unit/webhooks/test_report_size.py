"""End reports of sessions of any size: little memory, a stated limit, and an end that never depends on them."""

import dataclasses
import hashlib
import hmac
import json
import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import IO, Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.bodies import PART_BYTES, Bodies
from chalicelib.clock import Clock
from chalicelib.domain import sessions, threads
from chalicelib.reactions import reports
from chalicelib.reactions.signatures import WebhookSecrets, signed_headers
from chalicelib.settings import Settings
from chalicelib.store.deliveries import DeliveryRecord
from chalicelib.store.log import LogEntry
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.threads import ThreadRecord
from chalicelib.wire.sessions import ExtendedReport

#: What a function may take for a report, whatever its size.
MOST_MEMORY = 64_000_000
LARGE = 300_000


class S3:
    """A bucket that keeps what was put into it, or only the sizes of it."""

    def __init__(self, *, keep: bool = True) -> None:
        self.keep = keep
        self.objects: dict[str, bytes] = {}
        self.size = 0
        self.parts: list[int] = []
        self.calls: list[str] = []
        #: Errors by the operation that they answer, each as often as it is here.
        self.errors: list[tuple[str, Exception]] = []

    def _called(self, operation: str) -> None:
        self.calls.append(operation)
        if self.errors and self.errors[0][0] == operation:
            raise self.errors.pop(0)[1]

    def _taken(self, content: bytes | IO[bytes]) -> bytes:
        taken = content if isinstance(content, bytes) else content.read()
        self.size += len(taken)
        return taken if self.keep else b""

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> None:
        self._called("put_object")
        self.objects[Key] = self._taken(Body)

    def create_multipart_upload(self, *, Bucket: str, Key: str, ContentType: str) -> dict[str, str]:
        self._called("create_multipart_upload")
        self.pending = b""
        return {"UploadId": "u"}

    def upload_part(self, *, Bucket: str, Key: str, UploadId: str, PartNumber: int, Body: bytes) -> dict[str, str]:
        self._called("upload_part")
        assert PartNumber == len(self.parts) + 1
        self.parts.append(len(Body))
        self.pending += self._taken(Body)
        return {"ETag": f"e{PartNumber}"}

    def complete_multipart_upload(self, *, Bucket: str, Key: str, UploadId: str, MultipartUpload: Any) -> None:
        self._called("complete_multipart_upload")
        assert MultipartUpload["Parts"] == [
            {"ETag": f"e{number}", "PartNumber": number} for number in range(1, len(self.parts) + 1)
        ]
        self.objects[Key] = self.pending

    def abort_multipart_upload(self, *, Bucket: str, Key: str, UploadId: str) -> None:
        self._called("abort_multipart_upload")


class Session:
    """A closed session with a webhook, and the services that its end needs."""

    def __init__(self, texts: list[tuple[str, int]], *, threads: int = 2, keep: bool = True, **settings: Any) -> None:
        self.s3 = S3(keep=keep)
        self.texts = texts
        self.frozen: list[DeliveryRecord] = []
        self.clock = HeldClock()
        names = [f"t{number}" for number in range(threads)]
        self.threads = [thread(name, at_ms) for at_ms, name in enumerate(names)]
        self.services: Any = SimpleNamespace(
            settings=Settings(**settings),
            clock=self.clock,
            bodies=Bodies(self.s3, "bucket"),  # type: ignore[arg-type]
            deliveries=SimpleNamespace(create=self._create, find=lambda _: None),
            agents=SimpleNamespace(of_session=lambda _: []),
            threads=SimpleNamespace(of_session=lambda _: self.threads, page=lambda *_, **__: iter(self.threads)),
            log=SimpleNamespace(read=self._entries),
        )

    def _create(self, record: DeliveryRecord) -> bool:
        self.frozen.append(record)
        return True

    def expected(self) -> dict[str, Any]:
        """The extended report as its model writes it, from all that is in memory."""
        record = self.record()
        entries = self.services.log.read("s")
        state = sessions.state_without_messages(self.services, record, [])[0]
        state = state.model_copy(update={"threads": threads.with_messages(self.threads, entries)})
        whole = reports.end_report(self.services, record, [], ExtendedReport(state=state))
        return json.loads(whole.model_dump_json(by_alias=True, exclude_none=True))  # type: ignore[no-any-return]

    def _entries(self, session_id: str, first: int = 1, *, live: bool = True, past_end: bool = False) -> Iterator[Any]:
        for position, (thread_id, size) in enumerate(self.texts, 1):
            message = {
                "id": f"m{position}",
                "threadId": thread_id,
                "text": chr(ord("a") + position % 26) * size,
                "senderName": "a",
                "mentionNames": [],
                "timestamp": "2026-01-01T00:00:00.000Z",
            }
            event = {"type": "thread_message_sent", "timestamp": "2026-01-01T00:00:00.000Z", "message": message}
            yield LogEntry(f"e{position}", position, position, event, 0)

    def end(self) -> None:
        """Freeze its report."""
        reports.freeze(self.services, self.record(), [])

    def record(self) -> SessionRecord:
        return SessionRecord(
            namespace="n",
            session_id="s",
            status="closing",
            created_at_ms=0,
            executed_at_ms=0,
            closing_at_ms=self.clock.start_ms,
            close_reason="agents_exited",
            expires_at=0,
            namespace_state={"name": "n", "deleteOnLastSessionExit": True, "annotations": {}},
            annotations={"note": '"threads":[]'},
            runtime_settings={
                "extendedEndReport": True,
                "webhooks": {"sessionEnd": {"url": "http://receiver/end"}},
                "persistenceMode": {"mode": "none"},
            },
        )

    @property
    def report(self) -> dict[str, Any]:
        """The report that was frozen, wherever it is."""
        [record] = self.frozen
        return json.loads(record.body if record.body_key is None else self.s3.objects[record.body_key])  # type: ignore[arg-type, no-any-return]

    def threads_of_report(self) -> list[dict[str, Any]]:
        """The threads of the extended report that was frozen."""
        return self.report["sessionState"]["state"]["threads"]  # type: ignore[no-any-return]


class HeldClock(Clock):
    start_ms = 1_800_000_000_000

    def __init__(self) -> None:
        self.time_ms = self.start_ms

    def now_ms(self) -> int:
        return self.time_ms


def thread(name: str, at_ms: int, state: Any = "open") -> ThreadRecord:
    return ThreadRecord(
        session_id="s",
        thread_id=name,
        name=f"the {name}",
        creator_name="a",
        created_at_ms=at_ms,
        expires_at=0,
        participants={"a", "b"},
        state=state,
        summary="all is said" if state == "closed" else None,
        closed_at_ms=at_ms if state == "closed" else None,
    )


def test_a_report_of_60_mb_takes_no_more_memory_than_a_small_one_may() -> None:
    session = Session(
        [(f"t{number % 2}", LARGE) for number in range(200)], keep=False, extended_report_bytes=1_000_000_000
    )
    tracemalloc.start()
    try:
        session.end()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert session.s3.size > 200 * LARGE
    assert peak < MOST_MEMORY, f"{peak / 1e6:.0f} MB for a report of {session.s3.size / 1e6:.0f} MB"


def test_a_body_of_60_mb_is_signed_in_little_memory() -> None:
    s3: Any = SimpleNamespace(get_object=lambda **_: {"Body": Zeros(200 * LARGE)})
    tracemalloc.start()
    try:
        with Bodies(s3, "bucket").mapped("key") as body:
            headers = signed_headers(WebhookSecrets(current="new", previous="old"), "n", "d", 1, body)
            assert len(body) == 200 * LARGE
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert headers["X-Coral-Signature"] == hmac.new(b"new", bytes(200 * LARGE), hashlib.sha256).hexdigest()
    assert peak < 8_000_000, f"{peak / 1e6:.0f} MB"


class Zeros:
    """A stream of so many zeros."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int) -> bytes:
        taken = min(size, self.left)
        self.left -= taken
        return bytes(taken)


@pytest.mark.parametrize("size", [3, 500, LARGE])
def test_a_report_from_a_file_is_the_one_that_its_model_writes(size: int) -> None:
    session = Session([(name, size) for name in ("t1", "t0", "t2", "t1", "t3")], threads=3)
    session.threads[2] = thread("t2", 2, state="closed")
    session.end()
    assert session.report == session.expected()
    shown = {each["id"]: [message["id"] for message in each["messages"]] for each in session.threads_of_report()}
    assert shown == {"t0": ["m2"], "t1": ["m1", "m4"], "t2": []}


def test_a_report_without_threads_is_whole_too() -> None:
    session = Session([("t0", 5)], threads=0)
    session.end()
    assert session.report == session.expected()


def test_what_an_agent_says_cannot_break_the_report() -> None:
    session = Session([("t0", 5)], threads=1)
    session.threads[0] = dataclasses.replace(session.threads[0], name='","messages":[],"x":"\n')
    session.end()
    assert session.report == session.expected()


# Uploads


def test_a_large_report_is_uploaded_in_parts_of_which_only_the_last_is_small() -> None:
    session = Session([("t0", LARGE)] * 70)
    session.end()
    assert session.s3.parts[:-1] == [PART_BYTES] * 2
    assert 0 < session.s3.parts[-1] < PART_BYTES
    assert session.report == session.expected()


@pytest.mark.parametrize("operation", ["upload_part", "complete_multipart_upload"])
def test_an_upload_that_fails_is_aborted_and_tried_again(operation: str) -> None:
    session = Session([("t0", LARGE)] * 40)
    session.s3.errors = [(operation, failing(500)), ("abort_multipart_upload", failing(503))]
    with pytest.raises(ClientError, match="500"):
        session.end()
    assert session.s3.calls[-1] == "abort_multipart_upload"
    assert session.frozen == []
    session.s3.parts = []
    session.end()
    assert session.report == session.expected()


# Limits


def test_above_the_stated_size_the_base_report_is_sent_and_says_so() -> None:
    session = Session([("t0", 1_000)] * 10, extended_report_bytes=5_000)
    session.end()
    [record] = session.frozen
    assert session.report["sessionState"]["type"] == "base"
    assert record.reduced == "the extended report has more than 5000 bytes"
    assert record.history_path == "/api/v1/local/namespace/n/history/s"
    assert session.s3.calls == []


def test_where_no_history_is_kept_none_is_named() -> None:
    session = Session([("t0", 1_000)], extended_report_bytes=0, history_days=0)
    session.end()
    assert session.frozen[0].reduced
    assert session.frozen[0].history_path is None


def test_a_report_of_exactly_the_stated_size_is_sent() -> None:
    session = Session([("t0", 1_000)] * 10)
    session.end()
    size = session.frozen[0].body_bytes
    for most, kind in ((size, "extended"), (size - 1, "base")):
        bounded = Session([("t0", 1_000)] * 10, extended_report_bytes=most)
        bounded.end()
        assert bounded.report["sessionState"]["type"] == kind


def test_threads_too_many_for_memory_make_a_base_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MOST_BYTES", 1_000)
    session = Session([("t0", 5)], threads=20)
    session.end()
    assert session.report["sessionState"]["type"] == "base"
    assert session.frozen[0].reduced == "the threads of the session have more than 1000 bytes"


def test_a_log_that_takes_too_long_to_read_makes_a_base_report() -> None:
    session = Session([("t0", 5)] * 10)
    read = session.services.log.read

    def slow(*arguments: Any, **options: Any) -> Iterator[Any]:
        for entry in read(*arguments, **options):
            session.clock.time_ms += reports.MAKING_MS // 5
            yield entry

    session.services.log.read = slow
    session.end()
    assert session.report["sessionState"]["type"] == "base"
    assert "minutes" in (session.frozen[0].reduced or "")


# Failures


def failing(status: int) -> ClientError:
    about: Any = {"Error": {"Code": str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(about, "AnOperation")


def test_a_bucket_that_refuses_for_good_costs_the_extended_report_alone() -> None:
    session = Session([("t0", LARGE)] * 2)
    session.s3.errors = [("put_object", failing(403))]
    session.end()
    assert session.report["sessionState"]["type"] == "base"
    assert session.frozen[0].reduced == "the extended report cannot be made"


def test_a_bucket_that_is_away_for_long_costs_the_extended_report_alone() -> None:
    session = Session([("t0", LARGE)] * 2)
    session.s3.errors = [("put_object", failing(503))] * 2
    for _ in range(2):
        with pytest.raises(ClientError):
            session.end()
        session.clock.time_ms += reports.PATIENCE_MS // 2 + 1
    session.end()
    assert session.report["sessionState"]["type"] == "base"
    assert session.frozen[0].reduced == "the extended report could not be made in 30 minutes"


def test_what_is_no_message_costs_the_extended_report_alone(caplog: pytest.LogCaptureFixture) -> None:
    session = Session([("t0", 5)])
    session.services.log.read = lambda *_, **__: iter(
        [LogEntry("e", 1, 1, {"type": "thread_message_sent", "message": {"threadId": "t0"}}, 0)]
    )
    session.end()
    assert session.report["sessionState"]["type"] == "base"
    assert "an extended report cannot be made" in caplog.text


def test_a_session_whose_report_cannot_be_made_ends_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    session = Session([("t0", 5)])

    def refuse(_: DeliveryRecord) -> bool:
        raise failing(400)

    session.services.deliveries.create = refuse
    session.end()
    assert session.frozen == []
    assert "a session ends without its report" in caplog.text
