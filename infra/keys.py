"""API keys of a stage: ``python -m infra.keys make|list|revoke --stage prod``.

A key is shown once, when it is made: only its hash is stored. With ``--stage local`` it is the stack of ``make run``,
at ``--url``, whose own key (``ATOLL_API_KEY``, or ``dev``) signs the calls.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chalicelib.domain import api_keys
from chalicelib.domain.errors import AtollError
from chalicelib.services import Services
from chalicelib.settings import DAY_S, Settings
from chalicelib.wire.base import iso_from_ms

app = typer.Typer(help="API keys of a stage of Atoll.", no_args_is_help=True, add_completion=False)
out, err = Console(), Console(stderr=True)

Stage = Annotated[str, typer.Option(help="The stage; 'local' is the stack of `make run`.")]
Url = Annotated[str, typer.Option(help="Where the local stack is.", envvar="ATOLL_URL")]
Region = Annotated[str | None, typer.Option(help="AWS region; your configuration's by default.")]
Profile = Annotated[str | None, typer.Option(help="Profile of your AWS configuration.")]

LOCAL_URL = "http://127.0.0.1:5555"


class OfStage(Services):
    """A stage as its operator reaches it: with this machine's AWS session, or through the local stack's endpoint."""

    def __init__(self, stage: str, session: boto3.Session, endpoint: str | None) -> None:
        super().__init__(Settings(stage=stage, region=session.region_name))
        self._session = session
        self._endpoint = endpoint

    def client(self, service: str) -> Any:
        """Build a boto3 client."""
        return self._session.client(service, endpoint_url=self._endpoint)  # type: ignore[call-overload]


@app.command()
def make(
    name: Annotated[str, typer.Argument(help="Whose key it is: a name for the list.")],
    *,
    stage: Stage = "dev",
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", help="A namespace it reaches, or 'prefix*'; again for more. None is all."),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="How long it is valid; for ever by default.")] = None,
    url: Url = LOCAL_URL,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Make a key and print it, this once."""
    with _of_stage(stage, url, region, profile) as services:
        lifetime_s = days * DAY_S if days else None
        key, record = api_keys.make(services, name, namespace or [], lifetime_s=lifetime_s)
    err.print(Text(f"Key {api_keys.id_of(record)} of {name!r}; it is not shown again:", style="dim"))
    # By itself on standard output, so that a script can take it.
    print(key)


@app.command("list")
def list_keys(stage: Stage = "dev", url: Url = LOCAL_URL, region: Region = None, profile: Profile = None) -> None:
    """List the keys of a stage, oldest first."""
    with _of_stage(stage, url, region, profile) as services:
        keys = sorted(services.api_keys.all(), key=lambda key: key.created_at_ms)
    table = Table("id", "name", "namespaces", "made", "expires", title=f"API keys of stage {stage}")
    for key in keys:
        expires = "never" if key.expires_at is None else iso_from_ms(key.expires_at * 1000)
        reach = ", ".join(key.namespaces)
        table.add_row(*map(Text, (api_keys.id_of(key), key.name, reach, iso_from_ms(key.created_at_ms), expires)))
    out.print(table)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its name, or its id.")],
    stage: Stage = "dev",
    url: Url = LOCAL_URL,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Revoke a key. Functions that have cached it accept it for a minute more."""
    with _of_stage(stage, url, region, profile) as services:
        record = api_keys.revoke(services, key)
    err.print(Text(f"Revoked key {api_keys.id_of(record)} of {record.name!r}: it works for at most 60 s more."))


@contextmanager
def _of_stage(stage: str, url: str, region: str | None, profile: str | None) -> Iterator[Services]:
    """Yield a stage's services; print an error as one sentence and exit with 1."""
    try:
        if stage == "local":
            key = os.environ.get("ATOLL_API_KEY") or "dev"
            session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=key, region_name="us-east-1")
            yield OfStage(stage, session, url)
            return
        session = boto3.Session(region_name=region, profile_name=profile)
        if session.region_name is None:
            raise typer.BadParameter("no region is configured: name one", param_hint="--region")
        yield OfStage(stage, session, None)
    except (AtollError, ClientError, BotoCoreError) as error:
        err.print(Text(str(error), style="bold red"))
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app()
