"""The policies of a stage and of its deployer, judged by AWS's tables and by an engine that knows conditions."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from infra.deploy import description
from infra.deploy.preflight import permissions
from infra.local.environment import ACCOUNT, REGION, STAGE
from tests.infra import test_deployer
from tests.infra.iam import documents, engine
from tests.infra.iam.engine import Action, Engine, Question

# They share what npm installs.
pytestmark = pytest.mark.xdist_group("least-privilege")

STATEMENTS = dict(documents.statements())


@pytest.fixture(scope="module")
def iam() -> Engine:
    return engine.installed()


@pytest.fixture(scope="module")
def known(iam: Engine) -> Mapping[str, Action | None]:
    """What AWS documents of each action that a policy names."""
    return iam.actions(action for statement in STATEMENTS.values() for action in _actions(statement))


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _actions(statement: Mapping[str, Any]) -> list[str]:
    # One refuses a whole service.
    return [action for action in _list(statement["Action"]) if not action.endswith(":*")]


def _resources(statement: Mapping[str, Any]) -> list[str]:
    # A trust policy names no resource: it is that of a role.
    return _list(statement.get("Resource", "arn:aws:iam::123456789012:role/any"))


def _patterns(resource: str, action: Action) -> set[str]:
    return {pattern for pattern in action.resources if resource == "*" or engine.fits(resource, pattern)}


def test_each_action_is_one_of_awss(known: Mapping[str, Action | None]) -> None:
    assert len(known) > 250
    assert sorted(name for name, action in known.items() if action is None) == []


def test_each_action_has_a_resource_that_it_is_asked_of(known: Mapping[str, Action | None]) -> None:
    assert [
        (name, action)
        for name, statement in STATEMENTS.items()
        for action in _actions(statement)
        if not any(_asked_of(known, action, resource) for resource in _resources(statement))
    ] == []


def test_each_resource_has_an_action_that_is_asked_of_it(known: Mapping[str, Action | None]) -> None:
    assert [
        (name, resource)
        for name, statement in STATEMENTS.items()
        for resource in _resources(statement)
        if _actions(statement) and not any(_asked_of(known, action, resource) for action in _actions(statement))
    ] == []


def _asked_of(known: Mapping[str, Action | None], name: str, resource: str) -> bool:
    """Return whether IAM is ever asked for an action on a resource: for some there is none but all."""
    action = known[name]
    assert action is not None
    return bool(_patterns(resource, action)) if action.resources else resource == "*"


def _conditions(statement: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for operator, keys in statement.get("Condition", {}).items():
        for key, value in keys.items():
            yield operator, key, value


def test_each_condition_is_on_a_key_of_its_action(iam: Engine, known: Mapping[str, Action | None]) -> None:
    """A key that an action does not have never matches: what it is to allow is never allowed."""
    everywhere = iam.global_keys()
    checked = 0
    for name, statement in STATEMENTS.items():
        if not _actions(statement):  # of a whole service
            assert {key.lower() for _, key, _ in _conditions(statement)} <= everywhere, name
        for (_, key, _), action_name in itertools.product(_conditions(statement), _actions(statement)):
            action = known[action_name]
            assert action is not None
            of_resources = [
                action.resources[pattern] for each in _resources(statement) for pattern in _patterns(each, action)
            ]
            keys = action.keys.union(everywhere, *of_resources)
            assert _is_one_of(key.lower(), keys), (name, action_name, key)
            checked += 1
    assert checked > 20


def _is_one_of(key: str, keys: frozenset[str]) -> bool:
    # `aws:ResourceTag/${TagKey}` is one for each tag.
    return key in keys or any(key.startswith(each.partition("$")[0]) for each in keys if "$" in each)


PLACE = f"{REGION}:{ACCOUNT}"
FUNCTION = f"arn:aws:lambda:{PLACE}:function:atoll-{STAGE}"
BUCKET = f"arn:aws:s3:::atoll-{STAGE}-bodies-{ACCOUNT}-{REGION}"
DEAD_LETTERS = f"arn:aws:sqs:{PLACE}:atoll-{STAGE}-dead-letters"
AGENT_LOGS = f"arn:aws:logs:{PLACE}:log-group:/atoll/{STAGE}/agents"
OTHER = "999999999999"


def _asked(who: str, action: str, resource: str, **context: str) -> Question:
    """Return what IAM is asked for a service or for somebody unknown: `aws_SourceArn` is the key ``aws:SourceArn``."""
    keys = tuple((key.replace("_", ":", 1), (value,)) for key, value in context.items())
    return Question(who=who, action=action, resource=resource, context=keys, of_resource=_policy_of(resource))


def _policy_of(resource: str) -> documents.Policy:
    trusts = {role.arn: role.trust for role in documents.roles().values()}
    return {**documents.of_resources(), **trusts}[resource]


def _arn(name: str) -> str:
    return documents.stack().arns[name]


def _assumed_by(service: str, name: str, account: str = ACCOUNT) -> Question:
    return _asked(service, "sts:AssumeRole", documents.roles()[name].arn, aws_SourceAccount=account)


#: Which service takes on which role.
TAKEN_ON = [
    ("states.amazonaws.com", "SessionLifecycleRole"),
    ("states.amazonaws.com", "WebhookDeliveryRole"),
    ("events.amazonaws.com", "StartWebhookDeliveryRole"),
    ("ecs-tasks.amazonaws.com", "AgentExecutionRole"),
    ("ecs-tasks.amazonaws.com", "AgentTaskRole"),
]


def test_services_take_on_roles_for_this_account_alone(iam: Engine) -> None:
    assert {name for _, name in TAKEN_ON} == set(documents.roles()) - set(description.functions())
    for service, name in TAKEN_ON:
        right = _assumed_by(service, name)
        wrong = [
            _assumed_by(service, name, OTHER),
            dataclasses.replace(right, context=()),
            *(_assumed_by(each, name) for each in {"lambda.amazonaws.com", *dict(TAKEN_ON)} - {service}),
        ]
        assert iam.allowed([right, *wrong]) == [True, *[False] * len(wrong)], name


def test_lambda_alone_takes_on_the_roles_of_functions(iam: Engine) -> None:
    services = ["lambda.amazonaws.com", "states.amazonaws.com", "ecs-tasks.amazonaws.com"]
    asked = [_assumed_by(service, name) for name in description.functions() for service in services]
    assert iam.allowed(asked) == [True, False, False] * len(description.functions())


#: What services and clients do to resources of a stage, and each time what a condition refuses.
DONE = {
    # The rule of tasks has no dead letters: they might be its events, with the environments of tasks.
    "a rule that could not deliver": (
        _asked("events.amazonaws.com", "sqs:SendMessage", DEAD_LETTERS, aws_SourceArn=_arn("WebhookRequestedRule")),
        _asked("events.amazonaws.com", "sqs:SendMessage", DEAD_LETTERS, aws_SourceArn=_arn("TaskStoppedRule")),
    ),
    "a rule, and no other service": (
        _asked("events.amazonaws.com", "sqs:SendMessage", DEAD_LETTERS, aws_SourceArn=_arn("WebhookRequestedRule")),
        _asked("sns.amazonaws.com", "sqs:SendMessage", DEAD_LETTERS, aws_SourceArn=_arn("WebhookRequestedRule")),
    ),
    "a task has stopped": (
        _asked(
            "events.amazonaws.com",
            "lambda:InvokeFunction",
            f"{FUNCTION}-on_task_change",
            aws_SourceArn=_arn("TaskStoppedRule"),
        ),
        _asked(
            "events.amazonaws.com",
            "lambda:InvokeFunction",
            f"{FUNCTION}-on_task_change",
            aws_SourceArn=_arn("TaskStoppedRule").replace(ACCOUNT, OTHER),
        ),
    ),
    "it is time to reconcile": (
        _asked(
            "events.amazonaws.com",
            "lambda:InvokeFunction",
            f"{FUNCTION}-reconcile",
            aws_SourceArn=_arn("ReconcileRule"),
        ),
        _asked(
            "events.amazonaws.com",
            "lambda:InvokeFunction",
            f"{FUNCTION}-reconcile",
            aws_SourceArn=_arn("TaskStoppedRule"),
        ),
    ),
    # CloudWatch Logs names the group with the star at its end (Lambda Developer Guide, "CloudWatch Logs").
    "lines of agents": (
        _asked(
            "logs.amazonaws.com",
            "lambda:InvokeFunction",
            f"{FUNCTION}-on_log_lines",
            aws_SourceArn=f"{AGENT_LOGS}:*",
        ),
        _asked(
            "logs.amazonaws.com",
            "lambda:InvokeFunction",
            f"{FUNCTION}-on_log_lines",
            aws_SourceArn=_arn("ApiLogs"),
        ),
    ),
    "lines for the audit log": (
        _asked("logs.amazonaws.com", "lambda:InvokeFunction", f"{FUNCTION}-on_audit", aws_SourceArn=_arn("ApiLogs")),
        _asked("logs.amazonaws.com", "lambda:InvokeFunction", f"{FUNCTION}-on_audit", aws_SourceArn=f"{AGENT_LOGS}:*"),
    ),
    "a socket": (
        _asked(
            "apigateway.amazonaws.com",
            "lambda:InvokeFunction",
            f"{FUNCTION}-sockets",
            aws_SourceArn=f"arn:aws:execute-api:{PLACE}:atoll-{STAGE}-sockets/{STAGE}/$connect",
        ),
        _asked(
            "apigateway.amazonaws.com",
            "lambda:InvokeFunction",
            f"{FUNCTION}-sockets",
            aws_SourceArn=f"arn:aws:execute-api:{PLACE}:another/{STAGE}/$connect",
        ),
    ),
    **{
        f"an agent at the URL of {name}": (
            _asked(engine.ANYBODY, "lambda:InvokeFunctionUrl", f"{FUNCTION}-{name}", lambda_FunctionUrlAuthType="NONE"),
            _asked(
                engine.ANYBODY, "lambda:InvokeFunctionUrl", f"{FUNCTION}-{name}", lambda_FunctionUrlAuthType="AWS_IAM"
            ),
        )
        for name in ("mcp", "models")
    },
    **{
        f"the call that this URL makes of {name}": (
            _asked(engine.ANYBODY, "lambda:InvokeFunction", f"{FUNCTION}-{name}", lambda_InvokedViaFunctionUrl="true"),
            _asked(engine.ANYBODY, "lambda:InvokeFunction", f"{FUNCTION}-{name}", lambda_InvokedViaFunctionUrl="false"),
        )
        for name in ("mcp", "models")
    },
}


def test_resources_are_reached_by_those_for_whom_they_are(iam: Engine) -> None:
    answers = zip(DONE, iam.allowed(right for right, _ in DONE.values()), strict=True)
    assert [what for what, allowed in answers if not allowed] == []


def test_resources_are_reached_by_nobody_else(iam: Engine) -> None:
    wrong = {what: each for what, (_, each) in DONE.items()}
    wrong |= {f"{what}, from nowhere": dataclasses.replace(each, context=()) for what, (each, _) in DONE.items()}
    assert [what for what, allowed in zip(wrong, iam.allowed(wrong.values()), strict=True) if allowed] == []


def test_each_policy_of_a_resource_is_asked_for_something() -> None:
    asked = {right.resource for right, _ in DONE.values()} | {BUCKET}
    assert set(documents.of_resources()) == asked


def _of(name: str, action: str, resource: str) -> Question:
    role = documents.roles()[name]
    return Question(who=role.arn, action=action, resource=resource, policies=role.policies)


#: What services do with the roles of a stage.
DONE_WITH_ROLES = [
    *(
        _of("SessionLifecycleRole", "lambda:InvokeFunction", f"{FUNCTION}-{name}")
        for name in ("run_agents", "close_session", "remove_session")
    ),
    _of("WebhookDeliveryRole", "lambda:InvokeFunction", f"{FUNCTION}-deliver_webhook"),
    _of("StartWebhookDeliveryRole", "states:StartExecution", _arn("WebhookDelivery")),
    *(
        _of(name, action, "*")
        for name in ("SessionLifecycleRole", "WebhookDeliveryRole")
        for action in ("logs:CreateLogDelivery", "logs:PutResourcePolicy", "xray:PutTraceSegments")
    ),
    _of("AgentExecutionRole", "ecr:GetAuthorizationToken", "*"),
    _of("AgentExecutionRole", "ecr:BatchGetImage", f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/agents/echo"),
    _of("AgentExecutionRole", "ecr:GetDownloadUrlForLayer", f"arn:aws:ecr:{PLACE}:repository/echo"),
    _of("AgentExecutionRole", "logs:CreateLogStream", f"{AGENT_LOGS}:log-stream:echo/1.0.0/agent/1"),
    _of("AgentExecutionRole", "logs:PutLogEvents", f"{AGENT_LOGS}:log-stream:echo/1.0.0/agent/1"),
    _of(
        "AgentExecutionRole",
        "secretsmanager:GetSecretValue",
        f"arn:aws:secretsmanager:{PLACE}:secret:atoll-{STAGE}/images/hub-AbCdEf",
    ),
    _of("AgentExecutionRole", "s3:GetObject", f"{BUCKET}/environments/1.env"),
    _of("AgentExecutionRole", "s3:GetBucketLocation", BUCKET),
]

#: What nobody may do who has one of them.
NOT_DONE_WITH_ROLES = [
    _of("SessionLifecycleRole", "lambda:InvokeFunction", f"{FUNCTION}-deliver_webhook"),
    _of("WebhookDeliveryRole", "lambda:InvokeFunction", f"{FUNCTION}-run_agents"),
    _of("StartWebhookDeliveryRole", "states:StartExecution", _arn("SessionLifecycle")),
    _of("AgentExecutionRole", "ecr:BatchGetImage", f"arn:aws:ecr:{REGION}:{OTHER}:repository/agents/echo"),
    _of("AgentExecutionRole", "s3:GetObject", f"{BUCKET}/history/1"),
    _of(
        "AgentExecutionRole",
        "secretsmanager:GetSecretValue",
        f"arn:aws:secretsmanager:{PLACE}:secret:atoll-{STAGE}/agent-key-AbCdEf",
    ),
    _of("AgentTaskRole", "s3:GetObject", f"{BUCKET}/environments/1.env"),
    _of("AgentTaskRole", "logs:PutLogEvents", f"{AGENT_LOGS}:log-stream:echo/1.0.0/agent/1"),
]


def test_services_do_with_their_roles_what_they_are_for(iam: Engine) -> None:
    answers = zip(DONE_WITH_ROLES, iam.allowed(DONE_WITH_ROLES), strict=True)
    assert [str(question) for question, allowed in answers if not allowed] == []


def test_services_do_nothing_else_with_their_roles(iam: Engine) -> None:
    answers = zip(NOT_DONE_WITH_ROLES, iam.allowed(NOT_DONE_WITH_ROLES), strict=True)
    assert [str(question) for question, allowed in answers if allowed] == []


def _deployed(action: str, resource: str, **context: str) -> Question:
    keys = tuple((key.replace("_", ":", 1), (value,)) for key, value in context.items())
    return Question(
        who=f"arn:aws:iam::{ACCOUNT}:role/deployer",
        action=action,
        resource=resource,
        context=keys,
        policies=[documents.of_deployer()],
    )


ROLE = f"arn:aws:iam::{ACCOUNT}:role/atoll-{STAGE}-roles-OnEntryRole-1"


def test_a_deployer_hands_roles_of_its_stage_to_three_services(iam: Engine) -> None:
    for service in ("lambda", "states", "events", "ec2", "ecs-tasks", "apigateway"):
        question = _deployed("iam:PassRole", ROLE, iam_PassedToService=f"{service}.amazonaws.com")
        assert iam.allowed([question]) == [service in ("lambda", "states", "events")]
    others = [ROLE.replace(f"atoll-{STAGE}", "atoll-other"), f"arn:aws:iam::{ACCOUNT}:role/admin"]
    asked = [_deployed("iam:PassRole", each, iam_PassedToService="lambda.amazonaws.com") for each in others]
    assert not any(iam.allowed([*asked, _deployed("iam:PassRole", ROLE)]))


def test_a_deployer_feeds_functions_of_its_stage_alone(iam: Engine) -> None:
    action = "lambda:CreateEventSourceMapping"
    right = _deployed(action, "*", lambda_FunctionArn=f"{FUNCTION}-on_entry")
    wrong = _deployed(action, "*", lambda_FunctionArn=f"{FUNCTION}-on_entry".replace(STAGE, "other"))
    assert iam.allowed([right, wrong, _deployed(action, "*")]) == [True, False, False]


def test_a_deployer_may_do_what_cloudformation_does_to_each_resource(
    iam: Engine, known: Mapping[str, Action | None]
) -> None:
    policies = [{"Version": "2012-10-17", "Statement": list(permissions.statements(test_deployer.NAMES))}]
    asked = {
        dataclasses.replace(_deployed(action, on), policies=policies)
        for action, arn in test_deployer.asked_of_resources()
        for on in _asked_on(known[action], arn)
    }
    assert len(asked) > 300
    assert [str(each) for each, allowed in zip(asked, iam.allowed(asked), strict=True) if not allowed] == []


def _asked_on(action: Action | None, arn: str) -> list[str]:
    """Return the resource of which an action is asked: this one, or all where it knows none."""
    assert action is not None
    if not action.resources:
        return ["*"]
    return [arn] if _patterns(arn, action) else []


def test_a_deployer_makes_an_address(iam: Engine) -> None:
    assert all(
        iam.allowed([_deployed("cloudfront:CreateDistribution", "*"), _deployed("cloudfront:CreateFunction", "*")])
    )
