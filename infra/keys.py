"""API keys of a stage: ``atoll keys make|list|rotate|limit|revoke --stage prod``.

A key is shown once, when it is made: only its hash is stored. With ``--stage local`` it is the stack of ``make run``,
at ``--url``, whose own key (``ATOLL_API_KEY``, or ``dev``) signs the calls.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, get_args

import boto3
import typer

from atoll.command.terminal import AsJson, note, show_json, show_rows, tell
from chalicelib.domain import api_keys, quotas
from chalicelib.domain.errors import BadRequest
from chalicelib.services import Services
from chalicelib.settings import DAY_S, Settings
from chalicelib.store.api_keys import ApiKeyRecord, Role
from chalicelib.wire.base import iso_from_ms
from infra.failures import told

app = typer.Typer(help="API keys of a stage of Atoll.", no_args_is_help=True, add_completion=False)

Stage = Annotated[str, typer.Option(help="The stage; 'local' is the stack of `make run`.")]
Url = Annotated[str, typer.Option(help="Where the local stack is.", envvar="ATOLL_URL")]
Region = Annotated[str | None, typer.Option(help="AWS region; your configuration's by default.")]
Profile = Annotated[str | None, typer.Option(help="Profile of your AWS configuration.")]
Limits = Annotated[
    list[str] | None,
    typer.Option("--limit", "-l", help=f"A quota, NAME=NUMBER; again for more. Names: {', '.join(quotas.NAMES)}."),
]

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
    role: Annotated[str, typer.Option(help=f"What it may do: {', '.join(get_args(Role))}.")] = "admin",
    limit: Limits = None,
    days: Annotated[int | None, typer.Option(min=1, help="How long it is valid; for ever by default.")] = None,
    url: Url = LOCAL_URL,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Make a key and print it, this once."""
    with _of_stage(stage, url, region, profile) as services:
        lifetime_s = days * DAY_S if days else None
        limits = quotas.parsed(limit or [])
        key, record = api_keys.make(
            services, name, namespace or [], lifetime_s=lifetime_s, role=_role(role), limits=limits
        )
        _show(key, record)  # first: it is there, whatever becomes of the line
        _audit(services, stage, "make_key", record)


def _audit(services: Services, stage: str, action: str, record: ApiKeyRecord | None, **what: Any) -> None:
    """Write to the audit log who changed a key or a namespace's quotas; the local stack writes it itself."""
    if stage == "local":
        return
    by = services.client("sts").get_caller_identity()["Arn"]
    if record is not None:
        what |= {"ofKey": api_keys.id_of(record), "ofName": record.name}
        what |= {"ofRole": record.role, "namespaces": record.namespaces, "limits": record.limits or {}}
    line = {"audit": action, "outcome": "done", "by": by, **what}
    services.audit_log.write([(services.clock.now_ms(), json.dumps(line))])


def _role(text: str) -> Role:
    for role in get_args(Role):
        if role == text:
            return role  # type: ignore[no-any-return]  # get_args is not typed
    raise BadRequest(f"{text!r} is no role: {', '.join(get_args(Role))} are")


def _show(key: str, record: ApiKeyRecord) -> None:
    if record.namespaces == ["*"]:
        warning = f"This key reaches EVERY namespace of the stage, with the role {record.role!r}. Limit it with -n."
        note(warning, style="bold red")
    note(f"Key {api_keys.id_of(record)} of {record.name!r}; it is not shown again:")
    # By itself on standard output, so that a script can take it.
    print(key)


@app.command("list")
def list_keys(
    *,
    stage: Stage = "dev",
    url: Url = LOCAL_URL,
    region: Region = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """List the keys of a stage, oldest first, and the quotas of its namespaces."""
    with _of_stage(stage, url, region, profile) as services:
        keys = sorted(services.api_keys.all(), key=lambda key: key.created_at_ms)
        used, of_namespaces = services.api_keys.last_uses(), services.api_keys.namespace_limits()
    if as_json:
        show_json({"keys": [_described(key, used) for key in keys], "namespaces": of_namespaces})
        return
    columns = ("id", "name", "role", "namespaces", "limits", "made", "expires", "used (to the hour)")
    rows = []
    for key in keys:
        expires = "never" if key.expires_at is None else iso_from_ms(key.expires_at * 1000)
        used_at_ms = used.get(key.key_hash)
        last = "never" if used_at_ms is None else iso_from_ms(used_at_ms)[:13]
        made, limits = iso_from_ms(key.created_at_ms), _text_of(key.limits or {})
        reach = ", ".join(key.namespaces)
        rows.append((api_keys.id_of(key), key.name, key.role, reach, limits, made, expires, last))
    show_rows(columns, rows)
    if of_namespaces:
        tell("\nQuotas of namespaces")
        quotas_of = [(namespace, _text_of(limits_of)) for namespace, limits_of in sorted(of_namespaces.items())]
        show_rows(("namespace", "limits"), quotas_of)


def _described(key: ApiKeyRecord, used: Mapping[str, int]) -> dict[str, Any]:
    used_at_ms = used.get(key.key_hash)
    return {
        "id": api_keys.id_of(key),
        "name": key.name,
        "role": key.role,
        "namespaces": key.namespaces,
        "limits": key.limits or {},
        "createdAt": iso_from_ms(key.created_at_ms),
        "expiresAt": None if key.expires_at is None else iso_from_ms(key.expires_at * 1000),
        "usedAt": None if used_at_ms is None else iso_from_ms(used_at_ms),
    }


def _text_of(limits: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in limits.items())


@app.command()
def rotate(
    key: Annotated[str, typer.Argument(help="Its name, or its id.")],
    *,
    overlap_hours: Annotated[int, typer.Option(min=0, help="How long the old key is still valid.")] = 24,
    stage: Stage = "dev",
    url: Url = LOCAL_URL,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Make a key in place of another, with its reach, role, limits and end, and print it, this once."""
    with _of_stage(stage, url, region, profile) as services:
        new, record = api_keys.rotate(services, key, overlap_s=overlap_hours * 3600)
        note(f"The old key of {record.name!r} is valid for {overlap_hours} h more.")
        _show(new, record)
        _audit(services, stage, "rotate_key", record, overlapHours=overlap_hours)


@app.command()
def limit(
    namespace: Annotated[str, typer.Argument(help="A namespace, or 'prefix*' for each whose name begins so.")],
    limits: Annotated[list[str] | None, typer.Argument(help="NAME=NUMBER of each quota; none take them back.")] = None,
    *,
    stage: Stage = "dev",
    url: Url = LOCAL_URL,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Set the quotas of a namespace. They hold within a minute."""
    with _of_stage(stage, url, region, profile) as services:
        wanted = quotas.parsed(limits or [])
        quotas.limit_namespace(services, namespace, wanted)
        _audit(services, stage, "limit_namespace", None, namespace=namespace, limits=wanted)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its name, or its id.")],
    stage: Stage = "dev",
    url: Url = LOCAL_URL,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Revoke a key. It changes nothing after 5 s; functions that have cached it let it read for a minute more."""
    with _of_stage(stage, url, region, profile) as services:
        record = api_keys.revoke(services, key)
        _audit(services, stage, "revoke_key", record)
    note(
        f"Revoked key {api_keys.id_of(record)} of {record.name!r}: it changes things for at most "
        f"{api_keys.CHANGE_CACHE_MS // 1000} s more, and reads for at most {api_keys.CACHE_MS // 1000} s."
    )


@contextmanager
def _of_stage(stage: str, url: str, region: str | None, profile: str | None) -> Iterator[Services]:
    """Yield a stage's services; print an error as one sentence and exit with its code."""
    if stage != "local":
        with at_aws(region, profile) as session:
            yield OfStage(stage, session, None)
        return
    with told():
        key = os.environ.get("ATOLL_API_KEY") or "dev"
        session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=key, region_name="us-east-1")
        yield OfStage(stage, session, url)


@contextmanager
def at_aws(region: str | None, profile: str | None) -> Iterator[boto3.Session]:
    """Yield a session of AWS; print an error as one sentence and exit with its code."""
    with told():
        session = boto3.Session(region_name=region, profile_name=profile)
        if session.region_name is None:
            raise typer.BadParameter("no region is configured: name one", param_hint="--region")
        yield session
