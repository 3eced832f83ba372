"""Rotates the key that encrypts secret option values: ``python -m infra.option_keys --stage prod rotate``.

Sessions that were made before keep theirs readable: the keys before the current one are kept, and each value names its
own. Functions encrypt by the new key within an hour.
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

#: Keys that are kept: a secret holds 64 KB (Secrets Manager quotas), and no session lasts for so many rotations.
MOST_EARLIER = 200

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
console = Console()


class Keys:
    """The option keys of one stage, as Secrets Manager has them."""

    def __init__(self, client: Any, stage: str) -> None:
        self._client = client
        self._id = f"atoll-{stage}/option-key"

    def rotate(self, *, forget_earlier: bool = False) -> None:
        """Make a new current key; the ones before still open what they encrypted, unless they are to be forgotten."""
        wanted: dict[str, Any] = {"current": secrets.token_hex(32)}
        if not forget_earlier:
            known = json.loads(self._client.get_secret_value(SecretId=self._id)["SecretString"])
            wanted["earlier"] = [known["current"], *known.get("earlier", [])][:MOST_EARLIER]
        self._client.put_secret_value(SecretId=self._id, SecretString=json.dumps(wanted))


_Stage = Annotated[str, typer.Option(help="The stage whose keys these are.")]
_Region = Annotated[str, typer.Option(help="AWS region; your configuration's by default.")]


@app.callback()
def _main(context: typer.Context, *, stage: _Stage = "dev", region: _Region = "") -> None:
    context.obj = Keys(boto3.Session(region_name=region or None).client("secretsmanager"), stage)


@app.command()
def rotate(
    context: typer.Context,
    *,
    revoke: Annotated[
        bool, typer.Option(help="Forget the keys before it: secret options of sessions that exist become unreadable.")
    ] = False,
) -> None:
    """Make a new key."""
    context.obj.rotate(forget_earlier=revoke)
    console.print(Text("Functions encrypt by the new key within an hour.", style="dim"))


if __name__ == "__main__":
    try:
        app()
    except (ClientError, BotoCoreError) as error:
        console.print(Text(f"✗ {error}", style="bold red"))
        sys.exit(1)
