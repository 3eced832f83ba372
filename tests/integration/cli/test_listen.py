"""`atoll hooks listen` and `atoll trigger`: real webhooks, brought to a receiver that the server need not reach."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll import models, verify_by_key, verify_by_secret
from atoll.command.trigger import SINK, Reason
from chalicelib.api.deliveries import MAX_SIGNED_BYTES
from chalicelib.domain import api_keys
from chalicelib.reactions import deliveries
from infra.local.stack import LocalStack
from tests.client import eventually
from tests.integration.cli.conftest import Program
from tests.integration.webhooks.receivers import Receiver, receiving

pytestmark = pytest.mark.xdist_group("cli")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def freeze(stack: LocalStack, namespace: str, delivery_id: str, body: bytes = b"{}") -> str:
    """Make a delivery as a session would, to the sink."""
    whole_id = f"{namespace}-{delivery_id}"
    deliveries.freeze(
        stack.services,
        delivery_id=whole_id,
        namespace=namespace,
        session_id=delivery_id,
        url=stack.url + SINK,
        body=body,
    )
    return whole_id


def delivered(program: Program, namespace: str, count: int) -> list[dict[str, Any]]:
    """Wait for deliveries of a namespace that have been sent."""

    def found() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = program("hooks", "ls", namespace, "--json").lines[0]
        return listed if [each["state"] for each in listed] == ["delivered"] * count else []

    return eventually(found)  # type: ignore[no-any-return]


def test_every_reason_is_a_real_end(program: Program, namespace: str) -> None:
    made = {reason: program("trigger", reason, "-n", namespace, "--json").lines[0] for reason in Reason}

    def reasons() -> dict[str, str]:
        (entries,) = program("history", namespace, "--json").lines
        return {each["sessionId"]: each["reason"] for each in entries}

    wanted = {each["sessionId"]: reason.value for reason, each in made.items()}
    eventually(lambda: reasons() == wanted)
    sent = delivered(program, namespace, len(Reason))
    assert {each["sessionId"] for each in sent} == wanted.keys()
    assert {each["url"] for each in sent} == {program.url + SINK}, "no endpoint is told of, none fails"


def test_a_webhook_is_brought_to_a_receiver_until_somebody_ends_it(
    program: Program, stack: LocalStack, namespace: str, receiver: Receiver
) -> None:
    session = program("trigger", "--namespace", namespace, "--extended").out.strip()
    to = ("--forward-to", f"{receiver.port}/hook", "--secret", stack.webhook_secret)
    done = program.in_terminal("hooks", "listen", namespace, "--since", "5m", *to, interrupt_after="verified")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", done.out)
    assert done.code == 130, shown
    assert f"Listening to the webhooks of {namespace}. Ctrl-C ends it" in shown
    assert re.search(rf"\d\d:\d\d:\d\d  session_end  {session}  200  \d+ ms  verified", shown)
    [received] = receiver.received
    assert received.path == "/hook"
    report = verify_by_secret(stack.webhook_secret, received.headers, received.body)
    assert isinstance(report, models.SessionEndReport)
    assert report.session_state.type == "extended"
    ours = {"host", "content-length"}
    assert received.headers.keys() - ours == {
        "content-type",
        "user-agent",
        "x-coral-signature",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }


def test_a_script_gets_lines_and_files(
    program: Program, stack: LocalStack, namespace: str, receiver: Receiver, tmp_path: Path
) -> None:
    notice = '{"type":"budget_low","é":1}'.encode()
    first, second = freeze(stack, namespace, "1"), freeze(stack, namespace, "2", notice)
    keys = [text for key in stack.services.webhooks.public_keys() for text in ("--public-key", key)]
    folder = tmp_path / "saved" / "here"
    wanted = ("--since", "5m", "--count", "2", "--save", str(folder), "--json", *keys)
    done = program("hooks", "listen", namespace, "-f", receiver.url, *wanted)
    assert (done.code, done.err) == (0, "")
    assert [(each["deliveryId"], each["event"]) for each in done.lines] == [
        (first, "session_end"),
        (second, "budget_low"),
    ]
    for line, received in zip(done.lines, receiver.received, strict=True):
        assert line.pop("durationMs") >= 0
        assert {name: line[name] for name in ("namespace", "status", "verified", "bodyBytes")} == {
            "namespace": namespace,
            "status": 200,
            "verified": True,
            "bodyBytes": len(received.body),
        }
        saved = Path(line["saved"])
        assert (saved.parent, saved.read_bytes()) == (folder, received.body)
        headers = dict(text.split(": ", 1) for text in saved.with_suffix(".headers").read_text().splitlines())
        assert {name.lower(): value for name, value in headers.items()}.items() <= received.headers.items()


def test_each_comes_once_whatever_becomes_of_it(
    program: Program, stack: LocalStack, namespace: str, receiver: Receiver
) -> None:
    first = freeze(stack, namespace, "1")
    delivered(program, namespace, 1)
    done: list[Any] = []
    arguments = ("hooks", "listen", namespace, "--since", "5m", "--count", "2", "-f", receiver.url, "--json")
    listening = threading.Thread(target=lambda: done.append(program.as_process(*arguments)))
    listening.start()
    eventually(lambda: receiver.received)
    assert program("hooks", "resend", f"{namespace}/{first}").code == 0
    delivered(program, namespace, 1)
    second = freeze(stack, namespace, "2")
    listening.join()
    assert [each["deliveryId"] for each in done[0].lines] == [first, second]
    assert [each.headers["webhook-id"] for each in receiver.received] == [first, second]


def test_what_is_not_verified_is_not_forwarded(
    program: Program, stack: LocalStack, namespace: str, receiver: Receiver
) -> None:
    freeze(stack, namespace, "1")
    once = ("--since", "5m", "--count", "1", "-f", receiver.url)
    done = program("hooks", "listen", namespace, *once, "--json", ATOLL_WEBHOOK_SECRET="another")
    assert (done.code, done.lines[0]["verified"]) == (1, False)
    assert "is not verified" in done.lines[0]["error"]
    other = "whpk_" + "A" * 43 + "="
    assert "not verified" in program("hooks", "listen", namespace, *once, "--public-key", other).out
    assert receiver.received == []


def test_what_a_receiver_does_not_take_is_said_and_not_brought_again(
    program: Program, stack: LocalStack, namespace: str, receiver: Receiver
) -> None:
    freeze(stack, namespace, "1")
    freeze(stack, namespace, "2")
    receiver.answer(307, {"Location": f"http://127.0.0.1:{receiver.port}/elsewhere"})
    done = program("hooks", "listen", namespace, "--since", "5m", "--count", "2", "-f", receiver.url)
    assert [line.split("\t")[3] for line in done.out.splitlines()] == ["307", "200"]
    assert (done.code, "the receiver refuses it" in done.out.splitlines()[0]) == (1, True)
    assert [each.path for each in receiver.received] == ["/hook", "/hook"], "no redirect is followed"
    nobody = program("hooks", "listen", namespace, "--since", "5m", "--count", "2", "-f", "127.0.0.1:1")
    assert (nobody.code, nobody.out.count("http://127.0.0.1:1 does not answer: ")) == (1, 2)


def test_one_that_is_too_large_is_said_and_the_next_one_comes(
    program: Program, stack: LocalStack, namespace: str, receiver: Receiver
) -> None:
    freeze(stack, namespace, "1", b'"%s"' % (b"x" * MAX_SIGNED_BYTES))
    freeze(stack, namespace, "2")
    done = program("hooks", "listen", namespace, "--since", "5m", "--count", "2", "-f", receiver.url, "--json")
    large, small = done.lines
    assert (done.code, small["status"], "too many for an answer" in large["error"]) == (1, 200, True)
    assert len(receiver.received) == 1


def test_without_a_receiver_it_is_listed(program: Program, stack: LocalStack, namespace: str) -> None:
    freeze(stack, namespace, "1")
    done = program("hooks", "listen", namespace, "--since", "5m", "--count", "1")
    assert re.fullmatch(rf"\d\d:\d\d:\d\d\tsession_end\t{namespace}/1\t2 bytes\n", done.out)


def test_mistakes_are_said(program: Program, stack: LocalStack, namespace: str) -> None:
    api_keys.put(stack.services, "looks", "who looks on", role="viewer")
    freeze(stack, namespace, "1")
    for arguments, variables, code, words in (
        (("--forward-to", "ftp://host"), {}, 2, "is no URL of a receiver"),
        (("--since", "yesterday"), {}, 2, "is no time"),
        (("--save", "/dev/null/x"), {}, 1, "cannot be written"),
        (("--since", "5m"), {"ATOLL_API_KEY": "looks"}, 4, "✗ "),
        (("--since", "5m"), {"ATOLL_URL": "http://127.0.0.1:1"}, 3, "does not answer"),
    ):
        done = program("hooks", "listen", namespace, *arguments, **variables)
        assert (done.code, done.out) == (code, ""), (arguments, done)
        assert words in re.sub(r"\s*│?\n│?\s*", " ", done.err)


def test_by_the_public_keys_that_the_server_tells(
    program: Program, stack: LocalStack, namespace: str, receiver: Receiver
) -> None:
    program("trigger", "closed_by_user", "-n", namespace)
    done = program("hooks", "listen", namespace, "--since", "5m", "--count", "1", "-f", receiver.url)
    assert done.code == 0, done
    [received] = receiver.received
    verify_by_key(stack.services.webhooks.public_keys(), received.headers, received.body)
