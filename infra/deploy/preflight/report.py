"""Runs all checks, each by itself, and shows what they found as a table."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Table
from rich.text import Text

from infra.deploy.plan import Found
from infra.deploy.preflight import access_log, address, names, network, permissions, place, quotas
from infra.deploy.preflight.findings import Finding
from infra.deploy.preflight.network import Network

_SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "bold red"), "unknown": ("?", "yellow")}


def find(
    session: boto3.Session,
    found: Found,
    stage: str,
    agents: Network,
    at: Mapping[str, str],
    *,
    logs_access: bool | None,
) -> Iterator[Finding]:
    """Yield what every check finds. One that AWS does not let read yields that, and the others go on.

    ``at`` are the parameters of an address, ``logs_access`` is whether there is to be an access log; what is left out
    remains as it is.
    """
    yield place.python(sys.version_info[:2])
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "region": lambda: place.region(session, found),
        "role of ECS": lambda: place.service_linked_role(session),
        "Lambda concurrency": lambda: quotas.concurrency(found, stage),
        "Fargate vCPUs": lambda: quotas.fargate(session),
        "subnets": lambda: network.check(session, found, agents),
        "address": lambda: address.check(session, found, stage, at),
        "access log": lambda: access_log.check(session, found, asked=logs_access),
        "names": lambda: names.check(session, found, stage),
        "secrets": lambda: names.secrets(session, stage),
        "permissions": lambda: permissions.check(session, found, stage),
    }
    for subject, check in checks.items():
        try:
            yield from check()
        except (ClientError, BotoCoreError) as error:
            yield Finding(subject, "unknown", f"this could not be read: {error}")


def table(findings: Iterable[Finding]) -> Table:
    """Return findings as a table."""
    rows = Table("", "what", "found", title_justify="left", show_lines=False)
    for finding in findings:
        sign, style = _SIGNS[finding.level]
        rows.add_row(Text(sign, style=style), Text(finding.subject), Text(finding.text))
    return rows
