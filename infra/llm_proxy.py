"""The models that agents may use: ``atoll models put coral.toml --stage prod``.

The file is Coral's configuration; its table ``llm-proxy`` is taken, with ``${NAME}`` replaced from the environment. The
whole is kept in Secrets Manager; which models there are, without any key, in a table that requests read.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from atoll.command.terminal import show_rows, tell
from chalicelib.aws.llm_proxy_secret import RENEWED_MS
from chalicelib.services import Services
from chalicelib.wire.llm_proxy import MAX_CONFIG_BYTES, ConfigFault, LlmProxyConfig, parse
from infra.failures import told
from infra.keys import OfStage, Profile, Region, at_aws

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The models that agents may use.")


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


@contextmanager
def _of(stage: str, region: str | None, profile: str | None) -> Iterator[Services]:
    with told(ConfigFault, OSError), at_aws(region, profile) as session:
        yield OfStage(stage, session, None)


@app.command("put")
def _put(
    file: Annotated[Path, typer.Argument(help="Coral's configuration, a TOML.")],
    *,
    stage: _Stage = "dev",
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Take the models of a file in place of those before."""
    with _of(stage, region, profile) as services:
        config = read(file)
        put(services, config)
        _print(config)
        tell(f"Sessions that are created now see them; a change of a key within {RENEWED_MS // 1000} s.")


@app.command()
def show(*, stage: _Stage = "dev", region: Region = None, profile: Profile = None) -> None:
    """List the providers and their models. No key is shown."""
    with _of(stage, region, profile) as services:
        _print(services.llm_proxy.config())


@app.command()
def clear(*, stage: _Stage = "dev", region: Region = None, profile: Profile = None) -> None:
    """Forget all providers and their keys: agents that need a model cannot be started any more."""
    with _of(stage, region, profile) as services:
        put(services, LlmProxyConfig())
        tell("There are no models any more.")


def _print(config: LlmProxyConfig) -> None:
    rows = []
    for each in config.providers:
        models = [*each.models, *(["any"] if each.allow_any_model else [])]
        rows.append((each.name, each.format.type, ", ".join(models), each.base_url))
    show_rows(("provider", "format", "models", "address"), rows)
