"""Where a stage would be: the Python that packages its functions, the region's services, the role of ECS."""

from collections.abc import Iterator

import boto3

from infra.deploy import Failed, description, pythons
from infra.deploy.plan import Found
from infra.deploy.preflight.findings import Finding, ok, problem, warning

#: What a stage is made of, by boto3's names of the services.
SERVICES = (
    "apigateway", "apigatewayv2", "cloudformation", "cloudwatch", "dynamodb", "dynamodbstreams", "ec2", "ecr", "ecs",
    "events", "iam", "lambda", "logs", "s3", "secretsmanager", "sns", "sqs", "ssm", "stepfunctions", "sts",
)  # fmt: skip

ECS_ROLE = "AWSServiceRoleForECS"


def python(version: pythons.Version) -> Finding:
    """Judge the Python that runs the deployment: functions get the same, and it has to be one of Lambda's."""
    try:
        pythons.refuse_others(version)
    except Failed as error:
        return problem("Python", str(error))
    return ok("Python", f"functions will run on {pythons.written(version)}, which runs this command")


def region(session: boto3.Session, found: Found) -> Iterator[Finding]:
    """Judge whether a region has what a stage is made of."""
    missing = [
        service
        for service in SERVICES
        if service not in ("iam", "sts")  # of all regions
        and found.region not in session.get_available_regions(service, partition_name=found.partition)
    ]
    if missing:
        text = f"boto3 knows nothing of {', '.join(missing)} in {found.region}: a newer one may, or the region lacks it"
        yield warning("region", text)
    else:
        yield ok("region", f"{found.region} has the services")
    if not has_function_urls(found):
        text = "there are none here, or for this stage: agents call the REST API, where a wait ends after 25 s"
        yield warning("Function URLs", text)
    else:
        yield ok("Function URLs", f"{found.region} has them: an agent waits for up to 58 s")


def has_function_urls(found: Found) -> bool:
    """Return whether agents of the stage have a Function URL."""
    return found.function_urls and found.region not in description.regions_without_function_urls()


def service_linked_role(session: boto3.Session) -> Iterator[Finding]:
    """Look for the role by which ECS attaches network interfaces to tasks."""
    iam = session.client("iam")
    try:
        iam.get_role(RoleName=ECS_ROLE)
        yield ok("role of ECS", f"{ECS_ROLE} is there")
    except iam.exceptions.NoSuchEntityException:
        text = (
            f"{ECS_ROLE} is not there yet: ECS makes it with the first cluster, if the deployer may "
            "iam:CreateServiceLinkedRole (or: aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com)"
        )
        yield warning("role of ECS", text)
