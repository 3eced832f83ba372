"""`atoll hooks listen`: brings the webhooks of a namespace to a receiver on this machine, which Atoll cannot reach."""

import contextlib
import dataclasses
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlsplit

import typer
from rich.text import Text

from atoll.command import FAILED
from atoll.command.servers import ServerName, connect
from atoll.command.terminal import AsJson, show_json, show_line, tell, warn
from atoll.errors import AtollError, NotVerified

if TYPE_CHECKING:
    import httpx2

    from atoll.flows import FollowedDelivery
    from atoll.models import Delivery, SignedDelivery

#: How long a receiver may take to connect, and to begin its answer, in s: it has 10 s for all where Atoll sends.
TIMEOUT_S = 10.0

#: Webhooks that say what they are; all others are end reports.
BUDGET_EVENTS = ("budget_low", "budget_reached")

Check = Callable[[Mapping[str, str], bytes], None]


def listen(
    namespace: Annotated[str, typer.Argument(help="The namespace whose webhooks are followed.")],
    *,
    forward_to: Annotated[
        str | None, typer.Option("--forward-to", "-f", metavar="URL", help="POST each to this URL, or localhost:PORT.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write each there: ID.json, and ID.headers for `curl -H @`.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Those of before, too: since 10m ago, or a time in ISO 8601.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(envvar="ATOLL_WEBHOOK_SECRET", help="Verify by this secret; forward nothing else.")
    ] = None,
    public_key: Annotated[
        list[str] | None, typer.Option(metavar="whpk_…", help="Verify by this public key; again for more.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many; with 1 if one was not taken.")] = None,
    server: ServerName = None,
    as_json: AsJson = False,
) -> None:
    """Follow the webhooks of a namespace until Ctrl-C, and bring them to a receiver on this machine: without a tunnel.

    Each comes once, with its exact bytes and signatures of that moment, whatever its own URL is, and whether that has
    taken it. One that the receiver does not take is said, and not brought again: --since does that.
    """
    listener = Listener(forward_to and url_of(forward_to), save, _check_of(secret, public_key or []))
    since_ms = None if since is None else since_ms_of(since, int(time.time() * 1000))
    failed = False
    with connect(server) as client, listener.open():
        tell(f"Listening to the webhooks of {namespace}. Ctrl-C ends it; `atoll trigger -n {namespace}` makes one.")
        followed = client.follow_deliveries(
            namespace, since_ms=since_ms, on_error=lambda error: warn(f"{error}; trying again")
        )
        for number, each in enumerate(followed, 1):
            heard = listener.take(each)
            failed |= heard.error is not None
            show_json(heard.as_json()) if as_json else show_line(*heard.columns())
            if number == count:
                raise typer.Exit(FAILED if failed else 0)


@dataclasses.dataclass(frozen=True)
class Heard:
    """A delivery, and what became of it here."""

    delivery: "Delivery"
    event: str | None = None
    verified: bool | None = None
    saved: str | None = None
    status: int | None = None
    duration_ms: int | None = None
    #: Why it was not taken.
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what a script reads."""
        shown = {
            "deliveryId": self.delivery.delivery_id,
            "namespace": self.delivery.namespace,
            "sessionId": self.delivery.session_id,
            "event": self.event,
            "bodyBytes": self.delivery.body_bytes,
            "verified": self.verified,
            "saved": self.saved,
            "status": self.status,
            "durationMs": self.duration_ms,
            "error": self.error,
        }
        return {name: value for name, value in shown.items() if value is not None}

    def columns(self) -> Iterator[str | Text]:
        """Give what a person reads."""
        yield f"{datetime.now():%H:%M:%S}"
        yield self.event or "webhook"
        yield f"{self.delivery.namespace}/{self.delivery.session_id}"
        if self.status is not None:
            yield Text(str(self.status), style="red" if self.error else "green")
            yield f"{self.duration_ms} ms"
        elif self.error is None:
            yield f"{self.delivery.body_bytes} bytes"
        if self.verified:
            yield "verified"
        if self.error is not None:
            yield Text(self.error, style="red")


class Listener:
    """Takes deliveries one after the other: verifies, saves, forwards."""

    def __init__(self, url: str | None, folder: Path | None, check: Check | None) -> None:
        self._url = url
        self._folder = folder
        self._check = check
        self._http: httpx2.Client | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Hold connections to the receiver; raises `AtollError` when the folder cannot be made."""
        with _writing(self._folder):
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._url is None:
            yield
            return
        import httpx2

        from atoll.sending import LOOPBACK

        # No proxy leads to this machine.
        trust_env = urlsplit(self._url).hostname not in LOOPBACK
        with httpx2.Client(timeout=TIMEOUT_S, trust_env=trust_env) as self._http:
            yield

    def take(self, followed: "FollowedDelivery") -> Heard:
        """Take one, and return what became of it."""
        heard, signed = Heard(followed.delivery), followed.signed
        if signed is None:
            return dataclasses.replace(heard, error=str(followed.refusal))
        heard = dataclasses.replace(heard, event=event_of(signed.body), saved=self._saved(signed))
        if self._check is not None:
            try:
                self._check(signed.headers, signed.body.encode())
            except NotVerified as error:
                return dataclasses.replace(heard, verified=False, error=str(error))
            heard = dataclasses.replace(heard, verified=True)
        return heard if self._url is None else dataclasses.replace(heard, **self._forwarded(signed))

    def _saved(self, signed: "SignedDelivery") -> str | None:
        if self._folder is None:
            return None
        # The id is the server's word: nothing in it leads out of the folder.
        name = quote(signed.delivery_id, safe="")
        path = self._folder / f"{name}.json"
        with _writing(path):
            _write(path, signed.body)
            _write(path.with_name(f"{name}.headers"), "".join(map(_header, signed.headers.items())))
        return str(path)

    def _forwarded(self, signed: "SignedDelivery") -> dict[str, Any]:
        import httpx2

        assert self._http is not None
        assert self._url is not None
        started_s = time.monotonic()
        try:
            # The client's own headers are no part of a webhook.
            request = httpx2.Request("POST", self._url, headers=dict(signed.headers), content=signed.body.encode())
            with contextlib.closing(self._http.send(request, stream=True)) as answer:
                status = answer.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeEncodeError) as error:
            return {"error": f"{self._url} does not answer: {str(error) or type(error).__name__}"}
        duration_ms = round((time.monotonic() - started_s) * 1000)
        taken = 200 <= status < 300
        return {"status": status, "duration_ms": duration_ms, "error": None if taken else "the receiver refuses it"}


def _write(path: Path, text: str) -> None:
    """Write a file that nobody else reads: what agents said, or a signature that is good for 5 minutes."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text.encode())


def _header(header: tuple[str, str]) -> str:
    """Return a header as `curl -H @` reads it: one line, whatever the server says."""
    return " ".join(f"{header[0]}: {header[1]}".splitlines()) + "\n"


@contextlib.contextmanager
def _writing(path: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AtollError(f"{path} cannot be written: {error.strerror}") from error


def event_of(body: str) -> str:
    """Return what a webhook tells of: it says so itself, or is an end report, whose shape is Coral's."""
    try:
        kind = json.loads(body).get("type")
    except (ValueError, AttributeError, RecursionError):
        kind = None
    return kind if kind in BUDGET_EVENTS else "session_end"


def url_of(text: str) -> str:
    """Return the URL that is meant by one, by a host with a port, or by a port of this machine."""
    text = f"localhost:{text}" if re.match(r"\d+(/|$)", text) else text
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise typer.BadParameter(f"{text!r} is no URL of a receiver, such as localhost:3000/hook", param_hint="URL")
    return url


def since_ms_of(text: str, now_ms: int) -> int:
    """Return the time (epoch ms) that is meant by one in ISO 8601, or by how long ago it was: ``10m``."""
    from atoll.command.session_file import duration_ms

    try:
        return now_ms - duration_ms(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time: 10m, 2h, 2026-11-22T16:39:47Z", param_hint="--since") from None


def _check_of(secret: str | None, keys: list[str]) -> Check | None:
    if keys:
        try:
            import cryptography  # noqa: F401
        except ImportError:
            raise AtollError("public keys need the package cryptography: pip install 'atoll[keys]'") from None
        from atoll.webhooks import check_by_key

        return lambda headers, body: check_by_key(keys, headers, body)
    if secret is not None:
        from atoll.webhooks import check_by_secret

        return lambda headers, body: check_by_secret(secret, headers, body)
    return None
