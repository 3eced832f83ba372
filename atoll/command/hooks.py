"""Webhooks: which were delivered, and sending one again."""

import time
from typing import Annotated

import typer

from atoll.command.listen import listen
from atoll.command.servers import ServerName, connect
from atoll.command.terminal import AsJson, ago, show_json, show_rows, tell
from atoll.errors import AtollError

app = typer.Typer(
    no_args_is_help=True, help="Webhooks: list and follow deliveries, send one again, endpoints that fail."
)

app.command()(listen)

Namespace = Annotated[str, typer.Argument(help="A namespace, also one that is gone.")]


@app.command("ls")
def list_deliveries(
    namespace: Namespace,
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    server: ServerName = None,
    as_json: AsJson = False,
) -> None:
    """List the deliveries of a namespace, the last one first, each with its last attempt."""
    with connect(server) as client:
        found = [each for each, _ in zip(client.deliveries(namespace), range(limit), strict=False)]
    if as_json:
        show_json(found)
        return
    now_ms = int(time.time() * 1000)
    rows = []
    for each in found:
        last = each.attempts[-1] if each.attempts else None
        outcome = "" if last is None else str(last.status or last.error)
        rows.append(
            (f"{each.namespace}/{each.delivery_id}", each.state, ago(each.created_at, now_ms), outcome, each.url)
        )
    show_rows(("delivery", "state", "made", "last answer", "to"), rows)


@app.command()
def resend(
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="NAMESPACE/ID, as `ls` has it.")],
    *,
    server: ServerName = None,
    as_json: AsJson = False,
) -> None:
    """Send a delivery again: the same bytes under the same id."""
    namespace, slash, delivery_id = delivery.rpartition("/")
    if not slash:
        raise AtollError(f"{delivery!r} is not NAMESPACE/ID of a delivery")
    with connect(server) as client:
        found = client.resend(namespace, delivery_id)
    show_json(found) if as_json else tell(f"{delivery} is sent again.")


@app.command()
def endpoints(
    namespace: Namespace,
    *,
    enable: Annotated[str | None, typer.Option(help="Send webhooks to this endpoint again: its id.")] = None,
    server: ServerName = None,
    as_json: AsJson = False,
) -> None:
    """List the endpoints that do not take the webhooks of a namespace, or enable one that is disabled."""
    with connect(server) as client:
        if enable is not None:
            client.enable_webhook_endpoint(namespace, enable)
            return
        found = list(client.webhook_endpoints(namespace))
    if as_json:
        show_json(found)
        return
    show_rows(
        ("endpoint", "state", "failures", "to"),
        ((each.endpoint_id, each.state, str(each.failures), each.url) for each in found),
    )
