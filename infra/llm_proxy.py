"""The models that agents may use: ``python -m infra.llm_proxy --stage prod put coral.toml``.

The file is Coral's configuration; its table ``llm-proxy`` is taken, with ``${NAME}`` replaced from the environment. The
whole is kept in Secrets Manager; which models there are, without any key, in a table that requests read.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path[0] = str(ROOT)

from chalicelib.aws.llm_proxy_secret import RENEWED_MS  # noqa: E402
from chalicelib.services import Services  # noqa: E402
from chalicelib.wire.llm_proxy import MAX_CONFIG_BYTES, ConfigFault, LlmProxyConfig, parse  # noqa: E402
from infra.keys import OfStage  # noqa: E402

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
console = Console()


def read(file: Path) -> LlmProxyConfig:
    """Read a configuration from a file and this process's environment.

    Raises `ConfigFault` for one that cannot be taken, ``OSError`` for a file that cannot be read.
    """
    with file.open("rb") as opened:
        content = opened.read(MAX_CONFIG_BYTES + 1)
    try:
        return parse(content.decode(), os.environ)
    except UnicodeDecodeError as error:
        raise ConfigFault(f"it is not UTF-8: {error.reason} at byte {error.start}") from None


def put(services: Services, config: LlmProxyConfig) -> None:
    """Replace what is configured. What is offered is there to be called: the keys come first.

    Raises ``ClientError`` when AWS refuses; then it is repeated.
    """
    services.llm_proxy.write(config)
    services.model_offers.replace(config.offers)


_Stage = Annotated[str, typer.Option(help="The stage whose models these are.")]
_Region = Annotated[str, typer.Option(help="AWS region; your configuration's by default.")]


@app.callback()
def _main(context: typer.Context, *, stage: _Stage = "dev", region: _Region = "") -> None:
    context.obj = OfStage(stage, boto3.Session(region_name=region or None), None)


@app.command("put")
def _put(context: typer.Context, file: Annotated[Path, typer.Argument(help="Coral's configuration, a TOML.")]) -> None:
    """Take the models of a file in place of those before."""
    config = read(file)
    put(context.obj, config)
    _print(config)
    console.print(Text(f"Sessions that are created now see them; a change of a key within {RENEWED_MS // 1000} s."))


@app.command()
def show(context: typer.Context) -> None:
    """List the providers and their models. No key is shown."""
    _print(context.obj.llm_proxy.config())


@app.command()
def clear(context: typer.Context) -> None:
    """Forget all providers and their keys: agents that need a model cannot be started any more."""
    put(context.obj, LlmProxyConfig())
    console.print(Text("There are no models any more."))


def _print(config: LlmProxyConfig) -> None:
    rows = Table("provider", "format", "models", "address")
    for each in config.providers:
        models = [*each.models, *(["any"] if each.allow_any_model else [])]
        rows.add_row(*map(Text, (each.name, each.format.type, ", ".join(models), each.base_url)))
    console.print(rows)


if __name__ == "__main__":
    try:
        app()
    except (ConfigFault, ClientError, BotoCoreError, OSError) as error:
        console.print(Text(f"✗ {error}", style="bold red"))
        sys.exit(1)
