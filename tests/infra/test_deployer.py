"""The deployer's policies allow what a deployment calls, by itself, by Chalice and by CloudFormation, and no more."""

import fnmatch
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from infra.deploy import app, description, running
from infra.deploy import command as deploy
from infra.deploy.preflight import address, permissions
from tests.infra.readable_account import ACCOUNT, REGION, ReadableAccount
from tests.infra.test_command import busy, play_chalice, run

ROOT = Path(__file__).parents[2]
NAMES = {"Stage": "dev", "Account": ACCOUNT, "Region": REGION, "Partition": "aws"}

CERTIFICATE = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/1"
WEB_ACL = f"arn:aws:wafv2:us-east-1:{ACCOUNT}:global/webacl/acl/11111111-2222-4333-8444-555555555555"

#: Characters of a managed policy, without white space (IAM User Guide, "IAM and AWS STS quotas").
MAX_POLICY_CHARACTERS = 6_144

#: What CloudFormation's handlers list for properties that no template here has.
OF_PROPERTIES_THAT_ARE_NOT_USED = (
    "kms:*", "kinesis:*", "firehose:*", "s3tables:*", "s3files:*", "elasticfilesystem:*",
    "apigateway:UpdateRestApiPolicy", "apigateway:TagResource", "apigateway:UntagResource",  # are paths of the verbs
    "cloudfront:*ConnectionGroup", "cloudfront:GetVpcOrigin", "cloudfront:*WithStagingConfig",
    "cloudfront:CreateDistributionWithTags",  # is asked as CreateDistribution and TagResource
    "cloudwatch:ListTagsForResource",
    "dynamodb:*Item", "dynamodb:Scan", "dynamodb:Query", "dynamodb:*Import*", "dynamodb:*TableReplica",
    "dynamodb:DeleteResourcePolicy", "dynamodb:PutResourcePolicy", "dynamodb:UpdateContributorInsights",
    "dynamodb:EnableKinesisStreamingDestination", "dynamodb:DisableKinesisStreamingDestination",
    "dynamodb:UpdateKinesisStreamingDestination",
    "ec2:*Ingress", "ec2:UpdateSecurityGroupRuleDescriptions*",
    "ecs:PutAccountSetting*",
    "events:PutPermission", "events:RemovePermission",
    "iam:*GroupPolicy", "iam:*UserPolicy", "iam:*PermissionsBoundary",
    "lambda:AssociateRuntimeAlias", "lambda:*CodeSigningConfig", "lambda:GetLayerVersion", "lambda:PublishVersion",
    "lambda:PassCapacityProvider", "lambda:PutFunctionRecursionConfig", "lambda:PutFunctionScalingConfig",
    "lambda:PutRuntimeManagementConfig",
    "logs:*KmsKey", "logs:*DataProtectionPolicy", "logs:*IndexPolicy", "logs:*Authentication",
    "logs:*DeletionProtection",
    "logs:DeleteResourcePolicy", "logs:*LogStream*", "logs:PutLogEvents",
    "s3:*Object", "s3:getObject", "s3:GetObject*", "s3:PutObjectAcl", "s3:PutObjectLockConfiguration", "s3:REST*",
    "s3:*MetadataTableConfiguration", "s3:UpdateBucketMetadata*", "s3:Delete*Configuration", "s3:DeleteBucketCors",
    "s3:DeleteBucketEncryption", "s3:DeleteBucketLifecycle", "s3:DeleteBucketReplication", "s3:DeleteBucketWebsite",
    "s3:PutAccelerateConfiguration", "s3:PutAnalyticsConfiguration", "s3:PutBucketAbac", "s3:PutBucketAcl",
    "s3:PutBucketCORS", "s3:PutBucketLogging", "s3:PutBucketNotification", "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketOwnershipControls", "s3:PutBucketReplication", "s3:PutBucketVersioning", "s3:PutBucketWebsite",
    "s3:PutIntelligentTieringConfiguration", "s3:PutInventoryConfiguration", "s3:PutMetricsConfiguration",
    "s3:PutReplicationConfiguration",
    "secretsmanager:*Replicat*",
    "sns:PutDataProtectionPolicy",
)  # fmt: skip

#: What the handlers do not say.
BESIDES = {
    # Resources are made without a tag of the stack, and get it, or lose it, with the stack's.
    "cloudformation:TagResource", "cloudformation:UntagResource",
    # Step Functions asks it of who gives a state machine a log (its Developer Guide, "Logging using CloudWatch Logs").
    "logs:CreateLogDelivery", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies",
    # Reads of a handler that change nothing, of properties that are not used.
    "dynamodb:GetResourcePolicy",
    # The role of ECS, which its console or the first cluster makes.
    "iam:CreateServiceLinkedRole",
    # Tags of alarms are listed where a stack's tags change.
    "cloudwatch:ListTagsForResource",
    # Chalice looks before it adds; see test_chalice.
    "lambda:GetFunctionConfiguration", "lambda:GetFunctionConcurrency",
    "lambda:GetFunctionCodeSigningConfig", "s3:GetBucketMetadataTableConfiguration", "sns:GetDataProtectionPolicy",
    "logs:DescribeIndexPolicies", "logs:GetDataProtectionPolicy", "s3:GetBucketObjectLockConfiguration",
    # An account in which nobody has changed the quota.
    "servicequotas:GetAWSDefaultServiceQuota",
}  # fmt: skip

#: Calls for which IAM asks nothing.
FREE = {"sts:GetCallerIdentity"}

#: Where each type's resources are, as ARNs.
ARNS = {
    "AWS::CloudFront::Function": "cloudfront::{account}:function/{name}",
    "AWS::CloudWatch::Alarm": "cloudwatch:{place}:alarm:{name}",
    "AWS::CloudWatch::Dashboard": "cloudwatch::{account}:dashboard/{name}",
    "AWS::DynamoDB::Table": "dynamodb:{place}:table/{name}",
    "AWS::ECS::Cluster": "ecs:{place}:cluster/{name}",
    "AWS::Events::EventBus": "events:{place}:event-bus/{name}",
    "AWS::Events::Rule": "events:{place}:rule/{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::Lambda::Function": "lambda:{place}:function:{name}",
    "AWS::Logs::LogGroup": "logs:{place}:log-group:{name}:*",
    "AWS::S3::Bucket": "s3:::{name}",
    "AWS::SNS::Topic": "sns:{place}:{name}",
    "AWS::SQS::Queue": "sqs:{place}:{name}",
    "AWS::SSM::Parameter": "ssm:{place}:parameter{name}",
    "AWS::SecretsManager::Secret": "secretsmanager:{place}:secret:{name}-AbCdEf",
    "AWS::StepFunctions::StateMachine": "states:{place}:stateMachine:{name}",
}

Resources = Iterator[tuple[str, dict[str, Any]]]


def allowed() -> set[str]:
    """Return all actions of the policies."""
    return {action for statement in permissions.statements(NAMES) for action in statement["Action"]}


def resources() -> Resources:
    templates = (description.stack(), description.events(), description.roles("dev"), description.address())
    for template in templates:
        yield from template["Resources"].items()
    # The package has these besides.
    for kind in ("Lambda::Function", "ApiGateway::RestApi", "ApiGateway::Deployment", "ApiGateway::Stage"):
        yield kind, {"Type": f"AWS::{kind}"}


@functools.cache
def handled(kind: str) -> frozenset[str]:
    """Return what CloudFormation calls for a type, but for properties that are not used."""
    handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema["handlers"]
    actions = {
        each
        for name in ("create", "read", "update", "delete")
        for each in handlers.get(name, {"permissions": []})["permissions"]
    }
    return frozenset(a for a in actions if not any(fnmatch.fnmatch(a, p) for p in OF_PROPERTIES_THAT_ARE_NOT_USED))


def handled_at_all() -> set[str]:
    return {action for kind in {each["Type"] for _, each in resources()} for action in handled(kind)}


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The actions of all that the command does, but for what Chalice and CloudFormation do."""
    aws = ReadableAccount()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3, "Session", aws.session)
        patch.setattr(deploy, "BUILD", tmp_path_factory.mktemp("build"))
        patch.setattr(app, "chalice", functools.partial(play_chalice, aws))
        patch.setattr(running, "PAUSE_S", 0.0)
        patch.setattr(address, "canonical_name", lambda _: "")
        aws.functions.add("atoll-dev-of_an_older_version")
        aws.refuses = "Cluster"
        assert run().exit_code == 1
        aws.refuses = ""
        asked = ["--subnets", "subnet-1", "--address", "--access-log"]
        aws.certificates[CERTIFICATE] = {"Status": "ISSUED", "DomainName": "a.example"}
        aws.web_acls.add(WEB_ACL)
        at = ["--domain", "a.example", "--certificate", CERTIFICATE, "--web-acl", WEB_ACL]
        for arguments in (["--check"], ["--dry-run"], asked, ["--check", "--security-groups", "sg-1", *at]):
            assert run(*arguments).exit_code == 0
        busy(aws)
        assert run("--destroy", "--yes").exit_code == 0
        assert run().exit_code == 0
    return aws.actions - FREE


def test_the_command_may_make_its_calls(called: set[str]) -> None:
    assert called - allowed() == set()


def test_cloudformation_may_make_its_calls() -> None:
    assert handled_at_all() - allowed() == set()


def test_nothing_else_is_allowed(called: set[str]) -> None:
    chalices = {action for action in allowed() if action.startswith("lambda:")}
    assert allowed() - handled_at_all() - called - chalices - BESIDES == set()


def asked_of_resources() -> Iterator[tuple[str, str]]:
    """Yield what CloudFormation calls for each named resource of a stage: actions of its service, and its ARN."""
    values = {"Stage": "dev", "AWS::AccountId": ACCOUNT, "AWS::Region": REGION}
    place = {"place": f"{REGION}:{ACCOUNT}", "account": ACCOUNT}
    named = [(each["Type"], description.name_of(each, values)) for _, each in resources()]
    named += [("AWS::Lambda::Function", description.function_name("dev", name)) for name in description.functions()]
    for kind, name in named:
        if not name or kind not in ARNS:
            continue
        arn = "arn:aws:" + ARNS[kind].format(name=name, **place)
        service = arn.split(":")[2]
        # A subscription is a resource of its own.
        of_service = (each for each in handled(kind) if each.partition(":")[0] == service)
        yield from ((action, arn) for action in of_service if action != "sns:Unsubscribe")


def test_each_resource_is_one_of_those_that_are_allowed() -> None:
    asked = list(asked_of_resources())
    assert len(asked) > 300
    assert [each for each in asked if not _permits(*each)] == []


def _permits(action: str, arn: str) -> bool:
    return any(
        action in statement["Action"] and any(fnmatch.fnmatchcase(arn, pattern) for pattern in statement["Resource"])
        for statement in permissions.statements(NAMES)
    )


def test_what_reaches_everything_only_reads() -> None:
    everywhere = {
        action
        for statement in permissions.statements(NAMES)
        if "*" in statement["Resource"]
        for action in statement["Action"]
    }
    changing = {each for each in everywhere if not re.match(r"[a-z0-9]+:(Describe|Get|List|Simulate)", each)}
    # AWS asks each of them of no resource, whatever a policy names.
    assert changing == {
        "cloudfront:CreateDistribution",
        "cloudfront:CreateFunction",
        "lambda:CreateEventSourceMapping",
        "logs:CreateLogDelivery",
        "logs:PutResourcePolicy",
    }


@pytest.mark.parametrize("file", sorted(permissions.POLICIES.glob("*.json")), ids=lambda path: path.name)
def test_each_fits_into_a_managed_policy(file: Path) -> None:
    text = json.dumps(json.loads(file.read_text()), separators=(",", ":"))
    filled = text.replace("${Stage}", "a" * 16).replace("${Account}", ACCOUNT).replace("${Region}", "ap-northeast-1")
    assert len("".join(filled.split())) <= MAX_POLICY_CHARACTERS


def test_the_document_says_what_each_statement_is_for() -> None:
    text = (ROOT / "docs/deploy.md").read_text()
    assert [each["Sid"] for each in permissions.statements(NAMES) if f"`{each['Sid']}`" not in text] == []
