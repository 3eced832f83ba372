"""The role by which API Gateway writes logs: one of the whole account and region, which no stage makes."""

from collections.abc import Iterator, Mapping
from typing import Any

import boto3

from infra.deploy.plan import Found
from infra.deploy.preflight.findings import Finding, ok, problem

_SERVICE = "apigateway.amazonaws.com"

#: How many roles a finding shows.
SHOWN = 4


def check(session: boto3.Session, found: Found, *, asked: bool | None) -> Iterator[Finding]:
    """Look for the role, for a stage that logs its requests; ``asked`` is whether it will, ``None`` for as before."""
    if not (bool(found.outputs.get("AccessLogArn")) if asked is None else asked):
        return
    subject = "access log"
    arn = session.client("apigateway").get_account().get("cloudwatchRoleArn", "")
    roles = _assumed_by_api_gateway(session)
    if not arn:
        text = "API Gateway has no role to write logs with in this account and region, so the deployment would fail"
        yield problem(subject, f"{text}. {_remedy(roles)}")
    elif arn not in roles:
        text = f"API Gateway is to write logs with {arn}, which is not there or does not let {_SERVICE} assume it"
        yield problem(subject, f"{text}. {_remedy(roles)}")
    else:
        yield ok(subject, f"API Gateway writes with {arn}")


def _assumed_by_api_gateway(session: boto3.Session) -> list[str]:
    pages = session.client("iam").get_paginator("list_roles").paginate()
    return [role["Arn"] for page in pages for role in page["Roles"] if _trusts(role["AssumeRolePolicyDocument"])]


def _trusts(policy: Mapping[str, Any]) -> bool:
    statements = policy["Statement"]
    services = (
        each["Principal"].get("Service", []) if isinstance(each["Principal"], dict) else []
        for each in ([statements] if isinstance(statements, dict) else statements)
        if each["Effect"] == "Allow" and "Principal" in each
    )
    return any(_SERVICE in ([each] if isinstance(each, str) else each) for each in services)


def _remedy(roles: list[str]) -> str:
    known = f" ({', '.join(roles[:SHOWN])} may be one)" if roles else ""
    return f'Set one{known}: docs/deploy.md, "The access log"; or deploy with --no-access-log'
