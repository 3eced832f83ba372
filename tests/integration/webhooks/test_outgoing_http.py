"""Outgoing calls over real sockets: refused addresses, what TLS checks, and that nothing outlasts the deadline."""

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chalicelib.aws.http import AddressRefused, Answer, CallFailed, OutgoingHttp
from tests.integration.webhooks.receivers import dripping, receiving

PUBLIC = "93.184.215.14"


def post(http: OutgoingHttp, url: str, *, timeout_s: float = 5, body: bytes = b"{}") -> Answer:
    return http.post(url, body, {"content-type": "application/json"}, timeout_s=timeout_s, max_answer_bytes=1024)


def at(*addresses: str) -> OutgoingHttp:
    """Calls with a resolver that knows one answer, on a deployment that allows private addresses."""
    return OutgoingHttp(allow_private=True, resolver=lambda host, port: addresses)


# Which addresses it calls


def test_a_body_arrives_as_it_is_and_the_answer_comes_back() -> None:
    with receiving() as receiver:
        receiver.answer(202, {"Retry-After": "7"}, b"thanks")
        answer = post(OutgoingHttp(allow_private=True), receiver.url + "?a=b c&d=é", body=b"\x00{}")
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (202, b"thanks", "7")
    assert not answer.truncated
    [received] = receiver.received
    assert (received.path, received.body) == ("/hook?a=b%20c&d=%C3%A9", b"\x00{}")
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_loopback_is_refused_however_it_is_spelled(host: str) -> None:
    with receiving() as receiver:
        with pytest.raises(AddressRefused):
            post(OutgoingHttp(allow_private=False), f"http://{host}:{receiver.port}/")
        assert receiver.received == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "//example.com/",
        "example.com",
        "",
        "http://",
        "http://:80/",
        "http://me:secret@example.com/",
        "http://me@example.com/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://[::1/",
        f"http://{'a' * 64}.com/",
        "http://a..b/",
    ],
)
def test_what_is_no_url_to_call_is_refused_without_a_look_at_dns(url: str) -> None:
    def resolver(host: str, port: int) -> Sequence[str]:
        raise AssertionError(host)

    with pytest.raises(AddressRefused) as refusal:
        post(OutgoingHttp(allow_private=True, resolver=resolver), url)
    assert "secret" not in str(refusal.value)


def test_one_private_address_among_public_ones_refuses_them_all() -> None:
    http = OutgoingHttp(allow_private=False, resolver=lambda host, port: [PUBLIC, "10.1.2.3"])
    with pytest.raises(AddressRefused) as refusal:
        post(http, "http://both.test/")
    assert "10.1.2.3" not in str(refusal.value)


def test_dns_that_changes_its_mind_after_the_check_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[str] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError

    with receiving() as receiver:
        answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
        monkeypatch.setattr(socket, "create_connection", connect)
        http = OutgoingHttp(allow_private=False, resolver=lambda host, port: next(answers))
        with pytest.raises(CallFailed):
            post(http, f"http://rebinding.test:{receiver.port}/")
        assert connected == [PUBLIC]
        # The next attempt asks anew, and sees through it.
        with pytest.raises(AddressRefused):
            post(http, f"http://rebinding.test:{receiver.port}/")
        assert (connected, receiver.received) == ([PUBLIC], [])


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with receiving() as elsewhere, receiving() as receiver:
        receiver.answer(302, {"Location": elsewhere.url})
        assert post(OutgoingHttp(allow_private=True), receiver.url).status == 302
        assert elsewhere.received == []


def test_an_address_that_does_not_answer_leaves_time_for_the_next() -> None:
    with receiving() as receiver:
        assert post(at("127.0.0.2", "127.0.0.1"), receiver.url.replace("127.0.0.1", "two.test")).status == 200


def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        post(OutgoingHttp(allow_private=True), receiver.url)
        assert (len(proxy.received), len(receiver.received)) == (0, 1)


@pytest.mark.parametrize("header", [("x\r\ny", "1"), ("x y:", "1"), ("x", "hush\r\ny: 1"), ("x", "hush ☃")])
def test_a_header_that_http_does_not_allow_is_not_sent(header: tuple[str, str]) -> None:
    with receiving() as receiver, pytest.raises(CallFailed) as failure:
        OutgoingHttp(allow_private=True).post(receiver.url, b"", dict([header]), timeout_s=5, max_answer_bytes=1)
    assert receiver.received == []
    assert "hush" not in str(failure.value)


# Answers


def test_only_the_beginning_of_an_answer_is_kept() -> None:
    with receiving() as receiver:
        receiver.answer(200, {}, b"x" * 5000)
        answer = post(OutgoingHttp(allow_private=True), receiver.url)
    assert (answer.body, answer.truncated) == (b"x" * 1024, True)


def test_an_answer_that_never_ends_is_cut_and_counts() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 4096, every_s=0.001) as port:
        assert post(at("127.0.0.1"), f"http://big.test:{port}/").truncated


def test_the_answer_of_a_receiver_that_hangs_up_before_it_has_read_everything_counts() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer_early() -> None:
        caller, _ = listener.accept()
        with caller:
            caller.recv(1000)
            caller.sendall(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n")

    thread = threading.Thread(target=answer_early)
    thread.start()
    with listener:
        url = f"http://early.test:{listener.getsockname()[1]}/"
        assert post(at("127.0.0.1"), url, body=b"x" * 20_000_000).status == 410
    thread.join()


@pytest.mark.parametrize("noise", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x16"])
def test_what_is_no_http_fails(noise: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def speak() -> None:
        caller, _ = listener.accept()
        with caller:
            caller.sendall(noise)

    thread = threading.Thread(target=speak)
    thread.start()
    with listener, pytest.raises(CallFailed):
        post(at("127.0.0.1"), f"http://noise.test:{listener.getsockname()[1]}/", timeout_s=2)
    thread.join()


def test_a_closed_port_and_an_unknown_name_fail() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(CallFailed, match="Refused"):
        post(at("127.0.0.1"), f"http://closed.test:{port}/")

    def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    with pytest.raises(CallFailed, match="does not resolve"):
        post(OutgoingHttp(allow_private=False, resolver=unknown), "http://nowhere.test/")


# The deadline


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 200 O", b"K"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silence", "headers", "status line", "body", "endless body", "chunks", "continue"],
)
def test_a_receiver_that_drips_ends_at_the_deadline(first: bytes, drop: bytes) -> None:
    start = time.monotonic()
    with dripping(first, drop) as port, pytest.raises(CallFailed, match=r"within 0\.7 s"):
        post(at("127.0.0.1"), f"http://slow.test:{port}/", timeout_s=0.7)
    assert 0.65 < time.monotonic() - start < 5


def test_a_receiver_that_reads_nothing_ends_at_the_deadline() -> None:
    start = time.monotonic()
    with dripping(b"", b"") as port, pytest.raises(CallFailed, match="within"):
        post(at("127.0.0.1"), f"http://deaf.test:{port}/", timeout_s=0.7, body=b"x" * 20_000_000)
    assert time.monotonic() - start < 5


def test_a_handshake_that_drips_ends_at_the_deadline() -> None:
    start = time.monotonic()
    # The header of a TLS record of 16 KB, of which one byte comes at a time.
    with dripping(b"\x16\x03\x03\x40\x00", b"\x00") as port, pytest.raises(CallFailed, match="within"):
        post(at("127.0.0.1"), f"https://slow.test:{port}/", timeout_s=0.7)
    assert time.monotonic() - start < 5


def test_a_resolver_that_hangs_ends_at_the_deadline() -> None:
    over = threading.Event()

    def hang(host: str, port: int) -> Sequence[str]:
        over.wait(10)
        return []

    start = time.monotonic()
    with pytest.raises(CallFailed, match="within"):
        post(OutgoingHttp(allow_private=True, resolver=hang), "http://hanging.test/", timeout_s=0.5)
    over.set()
    assert time.monotonic() - start < 5


def test_calls_leave_no_thread_and_no_socket_behind() -> None:
    before = threading.active_count()
    with dripping(b"", b"x") as port, pytest.raises(CallFailed):
        post(at("127.0.0.1"), f"http://slow.test:{port}/", timeout_s=0.2)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and key for ``receiver.test``, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("receiver.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_tls_checks_the_name_of_the_url_at_the_address_that_was_checked(certificate: Path) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    asked: list[str | None] = []
    served.sni_callback = lambda sock, name, context: asked.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with receiving(lambda plain: served.wrap_socket(plain, server_side=True)) as receiver:
        http = OutgoingHttp(allow_private=True, resolver=lambda host, port: ["127.0.0.1"], tls=trusting)
        assert post(http, f"https://receiver.test:{receiver.port}/").status == 200
        assert post(http, f"https://receiver.test.:{receiver.port}/").status == 200
        assert asked == ["receiver.test", "receiver.test"]
        assert receiver.received[0].headers["host"] == f"receiver.test:{receiver.port}"
        with pytest.raises(CallFailed, match="CERTIFICATE_VERIFY_FAILED"):
            post(http, f"https://other.test:{receiver.port}/")
        with pytest.raises(CallFailed, match="CERTIFICATE_VERIFY_FAILED"):
            post(at("127.0.0.1"), f"https://receiver.test:{receiver.port}/")
        assert len(receiver.received) == 2
