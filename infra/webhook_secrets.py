"""Rotates the secret that signs webhooks: ``python -m infra.webhook_secrets --stage prod rotate``.

While there is a previous secret, ``webhook-signature`` carries a signature by each, so that receivers change over one
by one; ``X-Coral-Signature`` has room for one only, and is by the current secret at once.
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

#: Functions cache a secret for so long (`chalicelib.aws.secrets`).
SEEN_AFTER_S = 60

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
console = Console()


class Secrets:
    """The webhook secrets of one stage, as Secrets Manager has them."""

    def __init__(self, client: Any, stage: str) -> None:
        self._client = client
        self._id = f"atoll-{stage}/webhook-secrets"

    def read(self) -> dict[str, str]:
        """Return the secrets by name: ``current``, and ``previous`` while receivers change over."""
        return dict(json.loads(self._client.get_secret_value(SecretId=self._id)["SecretString"]))

    def rotate(self, *, forget_previous: bool = False) -> str:
        """Make a new current secret and return it; the old one still signs, unless it is to be forgotten."""
        wanted = {"current": secrets.token_hex(32)}
        if not forget_previous:
            wanted["previous"] = self.read()["current"]
        self._client.put_secret_value(SecretId=self._id, SecretString=json.dumps(wanted))
        return wanted["current"]

    def retire(self) -> bool:
        """Forget the previous secret; ``False`` when there is no previous one."""
        known = self.read()
        if "previous" not in known:
            return False
        self._client.put_secret_value(SecretId=self._id, SecretString=json.dumps({"current": known["current"]}))
        return True


_Stage = Annotated[str, typer.Option(help="The stage whose secrets these are.")]
_Region = Annotated[str, typer.Option(help="AWS region; your configuration's by default.")]


@app.callback()
def _main(context: typer.Context, *, stage: _Stage = "dev", region: _Region = "") -> None:
    context.obj = Secrets(boto3.Session(region_name=region or None).client("secretsmanager"), stage)


@app.command()
def show(context: typer.Context) -> None:
    """Print the current secret, for a receiver's configuration."""
    console.print(Text(context.obj.read()["current"]))


@app.command()
def rotate(
    context: typer.Context,
    *,
    revoke: Annotated[bool, typer.Option(help="Forget the old secret at once: it has become known.")] = False,
) -> None:
    """Make a new secret and print it. The old one signs beside it until it is retired."""
    console.print(Text(context.obj.rotate(forget_previous=revoke)))
    console.print(Text(f"Functions see it within {SEEN_AFTER_S} s.", style="dim"))


@app.command()
def retire(context: typer.Context) -> None:
    """Forget the previous secret: every receiver knows the current one."""
    forgotten = context.obj.retire()
    console.print(Text("The previous secret is forgotten." if forgotten else "There is no previous secret."))


if __name__ == "__main__":
    try:
        app()
    except (ClientError, BotoCoreError) as error:
        console.print(Text(f"✗ {error}", style="bold red"))
        sys.exit(1)
