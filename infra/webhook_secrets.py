"""Rotates what signs webhooks: ``atoll secrets rotate --stage prod``.

A secret is the deployment's, or a namespace's own (``--namespace``); a key (``rotate-key``) is the deployment's. While
there is a previous one, ``webhook-signature`` carries a signature by each, so that receivers change over one by one;
``X-Coral-Signature`` has room for one only, and is by the current secret at once.
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from atoll.command import terminal
from chalicelib.reactions import signatures
from chalicelib.reactions.signatures import WebhookSecrets
from chalicelib.store.webhooks import Webhooks
from infra.failures import told
from infra.keys import OfStage, Profile, Region, at_aws
from infra.option_keys import Keys

#: Functions cache a secret for so long (`chalicelib.aws.secrets`).
SEEN_AFTER_S = 60

#: Largest secret (Secrets Manager quotas, "Size of a secret value"): room for some 400 namespaces.
LARGEST_BYTES = 65_536

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What signs webhooks, and encrypts secrets.")


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
            wanted["previous"] = _part_of(known, namespace).get("current", known["current"])
        self._write(_with(known, namespace, wanted))
        return new

    def retire(self, namespace: str | None = None) -> bool:
        """Forget the previous secret; ``False`` when there is no previous one."""
        known = self.read()
        of_it = _part_of(known, namespace)
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


def _part_of(known: dict[str, Any], namespace: str | None) -> dict[str, Any]:
    """Return the secrets of a namespace, empty where it has none, or the deployment's."""
    return known if namespace is None else dict(known.get("namespaces", {}).get(namespace, {}))


def _with(known: dict[str, Any], namespace: str | None, wanted: dict[str, str]) -> dict[str, Any]:
    """Return everything with other secrets of a namespace, or of the deployment."""
    if namespace is None:
        return {name: value for name, value in known.items() if name not in ("current", "previous")} | wanted
    return known | {"namespaces": known.get("namespaces", {}) | {namespace: wanted}}


_Stage = Annotated[str, typer.Option(help="The stage whose secrets these are.")]
_Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Of this namespace; of the deployment by default.")
]
_Revoke = Annotated[bool, typer.Option(help="Forget the old one at once: it has become known.")]


@contextmanager
def _of(stage: str, region: str | None, profile: str | None) -> Iterator[Secrets]:
    with told(Refused), at_aws(region, profile) as session:
        yield Secrets(session.client("secretsmanager"), stage, OfStage(stage, session, None).webhooks)


@app.command()
def show(
    *, namespace: _Namespace = None, stage: _Stage = "dev", region: Region = None, profile: Profile = None
) -> None:
    """Print the current secret, for a receiver's configuration."""
    with _of(stage, region, profile) as known:
        terminal.show(known.current(namespace))


@app.command()
def rotate(
    *,
    namespace: _Namespace = None,
    revoke: _Revoke = False,
    stage: _Stage = "dev",
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Make a new secret and print it. The old one signs beside it until it is retired."""
    with _of(stage, region, profile) as known:
        terminal.show(known.rotate(namespace, forget_previous=revoke))
        terminal.tell(f"Functions see it within {SEEN_AFTER_S} s.")


@app.command()
def retire(
    *, namespace: _Namespace = None, stage: _Stage = "dev", region: Region = None, profile: Profile = None
) -> None:
    """Forget the previous secret: every receiver knows the current one."""
    with _of(stage, region, profile) as known:
        forgotten = known.retire(namespace)
        terminal.show("The previous secret is forgotten." if forgotten else "There is no previous secret.")


@app.command()
def remove(
    namespace: Annotated[str, typer.Argument(help="Whose secrets.")],
    *,
    stage: _Stage = "dev",
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Forget the secrets of a namespace: the deployment's sign for it from now on."""
    with _of(stage, region, profile) as known:
        removed = known.remove(namespace)
        terminal.show("The deployment's secret signs for it." if removed else "It has no secret of its own.")


@app.command()
def rotate_key(
    *, revoke: _Revoke = False, stage: _Stage = "dev", region: Region = None, profile: Profile = None
) -> None:
    """Make a new Ed25519 key and print its public half. The old one signs beside it until it is retired."""
    with _of(stage, region, profile) as known:
        terminal.show(known.rotate_key(forget_previous=revoke))
        terminal.tell(f"GET /api/v1/webhooks/keys has it; functions sign by it within {SEEN_AFTER_S} s.")


@app.command()
def retire_key(*, stage: _Stage = "dev", region: Region = None, profile: Profile = None) -> None:
    """Forget the previous key: every receiver knows the current one."""
    with _of(stage, region, profile) as known:
        forgotten = known.retire_key()
        terminal.show("The previous key is forgotten." if forgotten else "There is no previous key.")


@app.command()
def rotate_option_key(
    *,
    revoke: Annotated[
        bool, typer.Option(help="Forget the keys before it: secret options of sessions that exist become unreadable.")
    ] = False,
    stage: _Stage = "dev",
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Make a new key that encrypts secret option values; those before still open what they encrypted."""
    with at_aws(region, profile) as session:
        Keys(session.client("secretsmanager"), stage).rotate(forget_earlier=revoke)
        terminal.tell("Functions encrypt by the new key within an hour.")
