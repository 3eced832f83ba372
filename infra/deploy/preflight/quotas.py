"""What the account's quotas mean in agents. The arithmetic is that of docs/scale.md."""

from collections.abc import Iterator

import boto3
from botocore.exceptions import ClientError

from chalicelib.settings import Settings
from infra.deploy import description, plan
from infra.deploy.plan import Found
from infra.deploy.preflight import place
from infra.deploy.preflight.findings import Finding, ok, warning

#: The session of docs/scale.md.
AGENTS_OF_A_SESSION, MINUTES_OF_A_SESSION = 3, 10

#: Which part of its time a waiting agent holds an execution where waits are paused after 2 s (docs/scale.md).
PAUSED_SHARE = 0.04

#: CPU units of one vCPU (ECS Developer Guide, "Task CPU and memory").
UNITS_OF_A_VCPU = 1024

#: "Fargate On-Demand vCPU resource count" (General Reference, "Amazon ECS endpoints and quotas").
FARGATE_VCPUS = {"ServiceCode": "fargate", "QuotaCode": "L-3032A538"}

#: Below so many vCPUs an account is a new one, whose limit somebody meets on the first day.
FEW_VCPUS = 64


def concurrency(found: Found, stage: str) -> Iterator[Finding]:
    """Judge how many agents can wait at once: each holds one execution of ``mcp``, or of the REST API's function."""
    reserved = description.reserved(stage)
    wanted, fitting = reserved["mcp"], plan.fitting_limits(reserved, found)["mcp"]
    rest = found.concurrency - found.reserved_elsewhere
    head = f"{found.concurrency:,} executions at once, {found.reserved_elsewhere:,} reserved by other functions"
    if not place.has_function_urls(found):
        text = f"{head}: waiting agents share {rest:,}{_in_agents(rest)} with all requests and reactions"
        yield warning("Lambda concurrency", text)
        return
    if fitting is None:
        text = (
            f"{head}: too few to reserve any, so {found.concurrency} waiting agents stop everything else. "
            "Raise 'Concurrent executions' of AWS Lambda in Service Quotas first"
        )
        yield warning("Lambda concurrency", text)
        return
    text = f"{head}: mcp gets {fitting:,}{_in_agents(fitting)}; {fitting / PAUSED_SHARE:,.0f} agents with paused waits"
    if fitting < wanted:
        yield warning("Lambda concurrency", f"{text}. .chalice/config.json asks for {wanted:,}: raise the quota")
    else:
        yield ok("Lambda concurrency", text)


def fargate(session: boto3.Session) -> Iterator[Finding]:
    """Judge how many agents can run as ECS tasks at once."""
    vcpus = _quota(session)
    agents = int(vcpus * UNITS_OF_A_VCPU / Settings.model_fields["agent_cpu"].default)
    text = f"{vcpus:,.0f} at once{_in_agents(agents)}"
    if vcpus < FEW_VCPUS:
        more = "agents beyond that wait for half an hour, then fail: raise 'Fargate On-Demand vCPU resource count'"
        yield warning("Fargate vCPUs", f"{text}; {more}")
    else:
        yield ok("Fargate vCPUs", text)


def _quota(session: boto3.Session) -> float:
    client = session.client("service-quotas")
    try:
        return float(client.get_service_quota(**FARGATE_VCPUS)["Quota"]["Value"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchResourceException":
            raise
        # An account in which nobody has changed it, and nothing has run yet.
        return float(client.get_aws_default_service_quota(**FARGATE_VCPUS)["Quota"]["Value"])


def _in_agents(agents: int) -> str:
    """Return what so many agents at once are: ``, 500 agents, 17 sessions a minute``."""
    sessions = agents / AGENTS_OF_A_SESSION / MINUTES_OF_A_SESSION
    return (
        f", that is {agents:,} agents, or {sessions:,.{0 if sessions >= 10 else 1}f} sessions a minute"
        f" of {AGENTS_OF_A_SESSION} agents and {MINUTES_OF_A_SESSION} minutes"
    )
