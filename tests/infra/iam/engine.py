"""Asks an engine that knows conditions what policies allow, and what AWS documents of their actions.

It is `@cloud-copilot/iam-simulate`, a program of Node with tables made of AWS's Service Authorization Reference. Like
AWS it does not see a condition key that the action does not have.
"""

import functools
import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.local.environment import ACCOUNT, REGION
from tests import environments
from tests.permissions import Context

HERE = Path(__file__).parent
DEADLINE_S = 120

#: Somebody who has not signed a request.
ANYBODY = ""

Document = Mapping[str, Any]

#: Resources that AWS's tables leave out, by their actions, and where it is said that they are asked all the same.
UNLISTED: Mapping[str, str] = {
    # What AWS says of a call that it refuses names the state machine that has issued the token.
    "states:SendTaskFailure": "arn:${Partition}:states:${Region}:${Account}:stateMachine:${Name}",
    "states:SendTaskSuccess": "arn:${Partition}:states:${Region}:${Account}:stateMachine:${Name}",
    # And here the stream that is to be.
    "logs:CreateLogStream": "arn:${Partition}:logs:${Region}:${Account}:log-group:${Name}:log-stream:${Stream}",
    # CloudFormation User Guide, "Control CloudFormation access with IAM": a template that has a macro.
    "cloudformation:CreateChangeSet": "arn:${Partition}:cloudformation:${Region}:aws:transform/${Name}",
    # Of the two tables of API Gateway the engine has joined those of resources, and lost this one of the second.
    "apigateway:GET": "arn:${Partition}:apigateway:${Region}::/apis",
    "apigateway:POST": "arn:${Partition}:apigateway:${Region}::/apis",
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """Whether somebody may do something: a role by its ARN, a service by its name, or `ANYBODY`."""

    who: str
    action: str
    resource: str
    context: Context = ()
    #: The policies of a role.
    policies: Sequence[Document] = field(default=(), hash=False, compare=False)
    #: The policy of the resource: of a bucket, a queue or a function, or who may assume a role.
    of_resource: Document | None = field(default=None, hash=False, compare=False)

    def __str__(self) -> str:
        return f"{self.who} {self.action} {self.resource} {dict(self.context)}"


@dataclass(frozen=True)
class Action:
    """What AWS documents of an action: the patterns of its resources, and its condition keys by them and by itself."""

    resources: Mapping[str, frozenset[str]]
    keys: frozenset[str]


class Engine:
    """The engine of policies."""

    def __init__(self, node: str) -> None:
        self._node = node

    def allowed(self, questions: Iterable[Question]) -> list[bool]:
        """Answer each question; raises `ValueError` for one that AWS could not be asked."""
        asked = list(questions)
        answers = self._run(requests=[self._request(each) for each in asked])["answers"]
        pairs = zip(asked, answers, strict=True)
        if wrong := [f"{question}: {answer}" for question, answer in pairs if "error" in answer]:
            raise ValueError("\n".join(wrong[:20]))
        return [answer["result"] == "Allowed" for answer in answers]

    def actions(self, names: Iterable[str]) -> dict[str, Action | None]:
        """Return what is documented of actions; ``None`` for one that AWS does not have."""
        found = self._run(actions=sorted(set(names)))["actions"]
        return {name: _action(name, facts) if facts else None for name, facts in found.items()}

    def global_keys(self) -> frozenset[str]:
        """Return the condition keys that are of no service."""
        return frozenset(key.lower() for key in self._run()["globalKeys"])

    def _request(self, question: Question) -> dict[str, Any]:
        request: dict[str, Any] = {
            "request": {
                "principal": question.who or {"type": "Anonymous"},
                "action": question.action,
                "resource": {"resource": question.resource, "accountId": ACCOUNT},
                "contextVariables": {
                    key: list(values) if len(values) > 1 else values[0] for key, values in question.context
                },
            },
            "identityPolicies": [
                {"name": str(number), "policy": _of_api(policy, question.resource)}
                for number, policy in enumerate(question.policies)
            ],
            "serviceControlPolicies": [],
            "resourceControlPolicies": [],
        }
        # One of a resource that the tables do not have is answered as it is.
        request["unlisted"] = _is_unlisted(question)
        return request | ({"resourcePolicy": question.of_resource} if question.of_resource else {})

    def _run(self, actions: Sequence[str] = (), requests: Sequence[Any] = ()) -> dict[str, Any]:
        done = subprocess.run(
            [self._node, str(HERE / "evaluate.mjs")],
            input=json.dumps({"actions": actions, "requests": requests}),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


def _action(name: str, facts: Mapping[str, Any]) -> Action:
    # Resources of the same kind in two services are in one text, parted by a comma.
    resources = {
        pattern.strip(): frozenset(each.lower() for each in kind["conditionKeys"])
        for kind in facts["resourceTypes"]
        for pattern in kind["arn"].split(",")
    }
    resources |= {UNLISTED[name]: frozenset()} if name in UNLISTED else {}
    return Action(resources, frozenset(each.lower() for each in facts["conditionKeys"]))


def fits(resource: str, pattern: str) -> bool:
    """Return whether a policy's resource can be one of AWS's pattern, both of which stand for many."""
    for name, value in (("Partition", "aws"), ("Region", REGION), ("Account", ACCOUNT)):
        pattern = pattern.replace("${" + name + "}", value)
    return _meet(resource, _glob(pattern))


def _glob(pattern: str) -> str:
    return re.sub(r"\$\{\w+\}", "*", pattern)


def _of_api(policy: Document, resource: str) -> Document:
    """Return a policy with the API of a resource in place of a star for all APIs.

    The engine takes none for the first part of a resource. AWS does: the policies that others give functions for their
    WebSocket APIs name all connections as ``*/@connections/*``.
    """
    api = re.match(r"arn:aws:execute-api:[^:]*:[^:]*:([^/]+)/", resource)
    if api is None:
        return policy
    text = re.sub(r'("arn:aws:execute-api:[^:]*:[^:]*:)\*/', rf"\g<1>{api[1]}/", json.dumps(policy))
    return dict(json.loads(text))


def _is_unlisted(question: Question) -> bool:
    return question.action in UNLISTED and _meet(question.resource, _glob(UNLISTED[question.action]))


@functools.cache
def _meet(one: str, other: str) -> bool:
    """Return whether there is a text that two patterns of ``*`` and ``?`` both stand for."""
    if not one or not other:
        return not (one + other).strip("*")
    if "*" in (one[0], other[0]):
        star, rest = (one, other) if one[0] == "*" else (other, one)
        return _meet(star[1:], rest) or _meet(star, rest[1:])
    return (one[0] == other[0] or "?" in (one[0], other[0])) and _meet(one[1:], other[1:])


def installed() -> Engine:
    """Return the engine, installed when it is not yet; skips the test where it cannot be, which CI does not take."""
    try:
        return Engine(environments.node(HERE))
    except environments.NotInstallable as error:
        if "CI" in os.environ:
            pytest.fail(str(error))
        pytest.skip(str(error))
