"""Whether who deploys may do all that a deployment does: ``infra/templates/deployer`` against what IAM would answer.

The simulation knows policies of users, groups and roles, permissions boundaries, and of service control policies those
without conditions. It calls nothing.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import boto3

from infra.deploy import description
from infra.deploy.plan import Found
from infra.deploy.preflight.findings import Finding, ok, problem, warning

#: Policies of a deployer. A managed policy holds 6,144 characters, hence several.
POLICIES = description.TEMPLATES / "deployer"

#: How many actions a finding shows.
SHOWN = 8


def statements(names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield what a deployer has to be allowed, the placeholders (``Stage``, ``Account``, …) filled in."""
    for file in sorted(POLICIES.glob("*.json")):
        text = file.read_text()
        for name, value in names.items():
            text = text.replace("${" + name + "}", value)
        yield from json.loads(text)["Statement"]


def check(session: boto3.Session, found: Found, stage: str) -> Iterator[Finding]:
    """Have IAM judge each action of the policy for who runs this."""
    caller = session.client("sts").get_caller_identity()["Arn"]
    source = _source(session, caller)
    if source is None:
        if caller.endswith(":root"):
            yield warning("permissions", "the account's root user may do everything: deploy with a role instead")
        else:
            yield warning("permissions", f"IAM cannot judge {caller}: compare its policies with docs/deploy.md")
        return
    place = {"Stage": stage, "Account": found.account, "Region": found.region, "Partition": found.partition}
    pages = session.client("iam").get_paginator("simulate_principal_policy")
    denied: dict[str, set[str]] = defaultdict(set)
    number = 0
    for statement in statements(place):
        number += len(statement["Action"])
        for action in _denied(pages, source, statement):
            denied[statement["Sid"]].add(action)
    for sid, actions in denied.items():
        shown = ", ".join(sorted(actions)[:SHOWN]) + (", …" if len(actions) > SHOWN else "")
        yield problem("permissions", f"{source} lacks {len(actions)} of the statement {sid}: {shown}")
    if not denied:
        yield ok("permissions", f"{source} may do the {number} actions of docs/deploy.md")


def _source(session: boto3.Session, caller: str) -> str | None:
    """Return the user or role whose policies a caller has; ``None`` for the root user and federated ones."""
    if re.search(r":iam::\d+:user/", caller):
        return caller
    if role := re.search(r":assumed-role/([^/]+)/", caller):
        # The ARN of a session has no path; that of the role has.
        return str(session.client("iam").get_role(RoleName=role[1])["Role"]["Arn"])
    return None


def _denied(pages: Any, source: str, statement: Mapping[str, Any]) -> Iterator[str]:
    """Yield the actions of a statement that IAM would deny on any of its resources."""
    context = [
        {"ContextKeyName": key, "ContextKeyValues": [_one_of(value)], "ContextKeyType": "string"}
        for conditions in statement.get("Condition", {}).values()
        for key, values in conditions.items()
        for value in (values if isinstance(values, list) else [values])[:1]
    ]
    for resource in statement["Resource"]:
        asked: dict[str, Any] = {"PolicySourceArn": source, "ActionNames": statement["Action"]}
        if resource != "*":
            asked["ResourceArns"] = [_one_of(resource)]
        for page in pages.paginate(**asked, ContextEntries=context):
            for result in page["EvaluationResults"]:
                if result["EvalDecision"] != "allowed":
                    yield result["EvalActionName"]


def _one_of(pattern: str) -> str:
    """Return one of those that a pattern stands for: a star is no name."""
    return pattern.replace("*", "any")
