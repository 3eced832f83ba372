"""What `atoll hooks listen` is given, what it writes, and how it calls a receiver."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import typer

from atoll.command import listen
from atoll.command.listen import Heard, Listener, event_of, since_ms_of, url_of
from atoll.command.terminal import show_line
from atoll.errors import AtollError
from atoll.flows import FollowedDelivery
from atoll.models import Delivery, SignedDelivery
from tests.client import eventually
from tests.integration.webhooks.receivers import dripping, receiving


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("3000", "http://localhost:3000"),
        ("3000/hook?a=1", "http://localhost:3000/hook?a=1"),
        ("localhost:3000/hook", "http://localhost:3000/hook"),
        ("192.168.1.2", "http://192.168.1.2"),
        ("https://host/hook", "https://host/hook"),
    ],
)
def test_a_receiver_is_named_shortly(text: str, url: str) -> None:
    assert url_of(text) == url


@pytest.mark.parametrize("text", ["", "ftp://host", "http://", "/hook", "host:port", "99999", "http://["])
def test_what_is_no_receiver_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no URL of a receiver"):
        url_of(text)


def test_a_time_is_one_or_how_long_ago_it_was() -> None:
    assert since_ms_of("10m", 1_000_000) == 400_000
    assert since_ms_of("1970-01-01T00:01:00Z", 0) == since_ms_of("1970-01-01T00:01:00", 0) == 60_000
    for text in ("", "10", "soon", "0001-01-01T00:00:00+23:00x"):
        with pytest.raises(typer.BadParameter, match="is no time"):
            since_ms_of(text, 0)


@pytest.mark.parametrize(
    ("body", "event"),
    [
        ('{"type": "budget_low"}', "budget_low"),
        ('{"type": "budget_reached"}', "budget_reached"),
        ('{"type": "\\u001b[2J"}', "session_end"),
        ('{"type": {}}', "session_end"),
        ("[]", "session_end"),
        ("no JSON", "session_end"),
        ("[" * 100_000, "session_end"),
    ],
)
def test_a_webhook_tells_what_it_is(body: str, event: str) -> None:
    assert event_of(body) == event


def taken(listener: Listener, delivery_id: str = "d1", headers: Mapping[str, str] | None = None) -> Heard:
    about = {"namespace": "n", "session_id": "s", "url": "http://host", "state": "delivered", "round": 1}
    times = {"created_at": 0, "expires_at": 0, "attempts": []}
    delivery = Delivery.model_validate({"delivery_id": delivery_id, "body_bytes": 2, **about, **times})
    signed = SignedDelivery(delivery_id=delivery_id, headers=dict(headers or {"webhook-id": "x"}), body="{}")
    with listener.open():
        return listener.take(FollowedDelivery(delivery, signed))


@pytest.mark.parametrize("delivery_id", ["../outside", "..", "/etc/x", "a/b", "a\x00b"])
def test_an_id_leads_nowhere_else(tmp_path: Path, delivery_id: str) -> None:
    folder = tmp_path / "folder"
    heard = taken(Listener(None, folder, None), delivery_id)
    assert heard.saved is not None
    # Not their suffixes: what begins with dots has none from Python 3.14 on.
    assert sorted(each.name.rpartition(".")[2] for each in folder.iterdir()) == ["headers", "json"]
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_nobody_else_reads_what_is_saved_and_a_header_is_one_line(tmp_path: Path) -> None:
    about = {"webhook-id": "x\r\nevil: 1", "webhook-signature": "v1,a"}
    heard = taken(Listener(None, tmp_path, None), headers=about)
    assert heard.saved == str(tmp_path / "d1.json")
    assert {each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {0o600}
    assert (tmp_path / "d1.headers").read_text() == "webhook-id: x evil: 1\nwebhook-signature: v1,a\n"


@pytest.mark.parametrize("value", ["é", "a\r\nb: c"])
def test_a_header_that_is_none_is_not_forwarded(value: str) -> None:
    with receiving() as receiver:
        heard = taken(Listener(receiver.url, None, None), headers={"webhook-id": value})
        assert heard.error is not None
        assert receiver.received == []


def test_by_an_empty_secret_nothing_is_verified() -> None:
    heard = taken(Listener(None, None, listen._check_of("", [])))
    assert (heard.verified, "there is no secret" in str(heard.error)) == (False, True)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AtollError, match="cannot be written"), Listener(None, tmp_path / "file", None).open():
        pass


def test_no_proxy_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with receiving() as receiver:
        assert taken(Listener(receiver.url, None, None)).status == 200


def test_an_answer_without_an_end_is_not_waited_for() -> None:
    statuses: list[int | None] = []
    with dripping(b"HTTP/1.1 201 Created\r\n\r\n", b"x") as port:
        listener = Listener(f"http://127.0.0.1:{port}", None, None)
        threading.Thread(target=lambda: statuses.append(taken(listener).status), daemon=True).start()
        eventually(lambda: statuses == [201])


def test_a_receiver_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "TIMEOUT_S", 0.2)
    with dripping(b"", b"") as port:
        heard = taken(Listener(f"http://127.0.0.1:{port}", None, None))
    assert (heard.status, str(heard.error).startswith(f"http://127.0.0.1:{port} does not answer: ")) == (None, True)


def test_what_others_wrote_does_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_line("a\x1b[2Jb", "c\td")
    assert capsys.readouterr().out == "ab\tc d\n"
