"""Rotates what signs webhooks: ``python -m infra.webhook_secrets --stage prod rotate``.

A secret is the deployment's, or a namespace's own (``--namespace``); a key (``rotate-key``) is the deployment's. While
there is a previous one, ``webhook-signature`` carries a signature by each, so that receivers change over one by one;
``X-Coral-Signature`` has room for one only, and is by the current secret at once.
"""

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path[0] = str(ROOT)

from chalicelib.reactions import signatures  # noqa: E402
from chalicelib.reactions.signatures import WebhookSecrets  # noqa: E402
from chalicelib.store.webhooks import Webhooks  # noqa: E402
from infra.keys import OfStage  # noqa: E402

#: Functions cache a secret for so long (`chalicelib.aws.secrets`).
SEEN_AFTER_S = 60

#: Largest secret (Secrets Manager quotas, "Size of a secret value"): room for some 400 namespaces.
LARGEST_BYTES = 65_536

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
console = Console()


class Secrets:
    """The webhook secrets of one stage, as Secrets Manager has them, and where their public keys are read.

    Raises `Refused` where a change cannot be made.
    """

    def __init__(self, client: Any, stage: str, webhooks: Webhooks) -> None:
        self._client = client
        self._id = f"atoll-{stage}/webhook-secrets"
        self._webhooks = webhooks

    def read(self) -> dict[str, Any]:
        """Return all that signs, as `WebhookSecrets` reads it."""
        return dict(json.loads(self._client.get_secret_value(SecretId=self._id)["SecretString"]))

    def current(self, namespace: str | None = None) -> str:
        """Return the secret that signs the webhooks of a namespace, or those of all that have none of their own."""
        return WebhookSecrets.model_validate(self.read()).of(namespace or "").current

    def rotate(self, namespace: str | None = None, *, forget_previous: bool = False) -> str:
        """Make a new current secret and return it; the old one still signs, unless it is to be forgotten.

        A namespace's first one takes over from the deployment's.
        """
        known, new = self.read(), secrets.token_hex(32)
        wanted = {"current": new}
        if not forget_previous:
            wanted["previous"] = _of(known, namespace).get("current", known["current"])
        self._write(_with(known, namespace, wanted))
        return new

    def retire(self, namespace: str | None = None) -> bool:
        """Forget the previous secret; ``False`` when there is no previous one."""
        known = self.read()
        of_it = _of(known, namespace)
        if "previous" not in of_it:
            return False
        self._write(_with(known, namespace, {"current": of_it["current"]}))
        return True

    def remove(self, namespace: str) -> bool:
        """Forget the secrets of a namespace: the deployment's sign for it; ``False`` when it has none of its own."""
        known = self.read()
        if namespace not in known.get("namespaces", {}):
            return False
        del known["namespaces"][namespace]
        self._write(known)
        return True

    def rotate_key(self, *, forget_previous: bool = False) -> str:
        """Make a new key and return its public half; the old one still signs, unless it is to be forgotten.

        The public keys are there before the new key signs: no receiver sees a signature that it cannot verify.
        """
        known, new = self.read(), signatures.key_from(secrets.token_bytes(32))
        previous = None if forget_previous else known.get("signingKey")
        self._write_keys(known, [new, *([previous] if previous else [])])
        return signatures.public_key_of(new)

    def retire_key(self) -> bool:
        """Forget the previous key; ``False`` when there is no previous one."""
        known = self.read()
        if "previousSigningKey" not in known:
            return False
        self._write_keys(known, [known["signingKey"]])
        return True

    def _write_keys(self, known: dict[str, Any], keys: list[str]) -> None:
        known = {name: value for name, value in known.items() if name not in _KEYS}
        self._webhooks.publish_keys([signatures.public_key_of(key) for key in keys])
        self._write(known | dict(zip(_KEYS, keys, strict=False)))

    def _write(self, wanted: dict[str, Any]) -> None:
        text = json.dumps(wanted, ensure_ascii=False)
        WebhookSecrets.model_validate_json(text)
        if len(text.encode()) > LARGEST_BYTES:
            raise Refused(
                f"all secrets together have {len(text.encode())} bytes, Secrets Manager takes {LARGEST_BYTES}: "
                "remove those of a namespace"
            )
        self._client.put_secret_value(SecretId=self._id, SecretString=text)


class Refused(Exception):
    """A change that cannot be made."""


_KEYS = ("signingKey", "previousSigningKey")


def _of(known: dict[str, Any], namespace: str | None) -> dict[str, Any]:
    """Return the secrets of a namespace, empty where it has none, or the deployment's."""
    return known if namespace is None else dict(known.get("namespaces", {}).get(namespace, {}))


def _with(known: dict[str, Any], namespace: str | None, wanted: dict[str, str]) -> dict[str, Any]:
    """Return everything with other secrets of a namespace, or of the deployment."""
    if namespace is None:
        return {name: value for name, value in known.items() if name not in ("current", "previous")} | wanted
    return known | {"namespaces": known.get("namespaces", {}) | {namespace: wanted}}


_Stage = Annotated[str, typer.Option(help="The stage whose secrets these are.")]
_Region = Annotated[str, typer.Option(help="AWS region; your configuration's by default.")]
_Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Of this namespace; of the deployment by default.")
]
_Revoke = Annotated[bool, typer.Option(help="Forget the old one at once: it has become known.")]


@app.callback()
def _main(context: typer.Context, *, stage: _Stage = "dev", region: _Region = "") -> None:
    session = boto3.Session(region_name=region or None)
    webhooks = OfStage(stage, session, None).webhooks
    context.obj = Secrets(session.client("secretsmanager"), stage, webhooks)


@app.command()
def show(context: typer.Context, namespace: _Namespace = None) -> None:
    """Print the current secret, for a receiver's configuration."""
    console.print(Text(context.obj.current(namespace)))


@app.command()
def rotate(context: typer.Context, *, namespace: _Namespace = None, revoke: _Revoke = False) -> None:
    """Make a new secret and print it. The old one signs beside it until it is retired."""
    console.print(Text(context.obj.rotate(namespace, forget_previous=revoke)))
    _say(f"Functions see it within {SEEN_AFTER_S} s.")


@app.command()
def retire(context: typer.Context, namespace: _Namespace = None) -> None:
    """Forget the previous secret: every receiver knows the current one."""
    forgotten = context.obj.retire(namespace)
    console.print(Text("The previous secret is forgotten." if forgotten else "There is no previous secret."))


@app.command()
def remove(context: typer.Context, namespace: Annotated[str, typer.Argument(help="Whose secrets.")]) -> None:
    """Forget the secrets of a namespace: the deployment's sign for it from now on."""
    removed = context.obj.remove(namespace)
    console.print(Text("The deployment's secret signs for it." if removed else "It has no secret of its own."))


@app.command()
def rotate_key(context: typer.Context, *, revoke: _Revoke = False) -> None:
    """Make a new Ed25519 key and print its public half. The old one signs beside it until it is retired."""
    console.print(Text(context.obj.rotate_key(forget_previous=revoke)))
    _say(f"GET /api/v1/webhooks/keys has it; functions sign by it within {SEEN_AFTER_S} s.")


@app.command()
def retire_key(context: typer.Context) -> None:
    """Forget the previous key: every receiver knows the current one."""
    forgotten = context.obj.retire_key()
    console.print(Text("The previous key is forgotten." if forgotten else "There is no previous key."))


def _say(text: str) -> None:
    console.print(Text(text, style="dim"))


if __name__ == "__main__":
    try:
        app()
    except (Refused, ClientError, BotoCoreError) as error:
        console.print(Text(f"✗ {error}", style="bold red"))
        sys.exit(1)
