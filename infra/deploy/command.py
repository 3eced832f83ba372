"""The command line: ``atoll deploy --stage prod`` makes a running stage out of nothing, or updates one.

``--check`` looks for what would fail, ``--package DIR`` writes one CloudFormation template for a pipeline instead,
``--destroy`` takes a stage down.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import boto3
import typer
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from atoll.command.terminal import console, warn
from infra import web_console
from infra.deploy import Failed, account, at_rest, description, package, plan, pythons
from infra.deploy.description import ROOT
from infra.deploy.executor import Executor
from infra.deploy.plan import DeleteStack, DeployStack, Found, Step
from infra.deploy.preflight import network, report
from infra.deploy.preflight.findings import Finding
from infra.deploy.running import Running
from infra.failures import told

BUILD = ROOT / "build"


def main(
    *,
    stage: Annotated[str, typer.Option(help="One of the stages in .chalice/config.json.")] = "dev",
    region: Annotated[str, typer.Option(help="AWS region; your configuration's by default.")] = "",
    profile: Annotated[str, typer.Option(help="Profile of your AWS configuration.")] = "",
    subnets: Annotated[str, typer.Option(help="Where agents run, comma-separated; the default VPC's when new.")] = "",
    security_groups: Annotated[str, typer.Option(help="Security groups of agents; one is made when none.")] = "",
    public_ip: Annotated[
        bool | None,
        typer.Option(
            "--public-ip/--private",
            help="Whether agents get public addresses; else they need a NAT gateway.",
        ),
    ] = None,
    alarm_email: Annotated[str, typer.Option(help="Address that alarms are mailed to.")] = "",
    log_days: Annotated[int, typer.Option(help="How long logs are kept; 30 when new.")] = 0,
    access_log: Annotated[
        bool | None, typer.Option("--access-log/--no-access-log", help="A log of all requests; off when new.")
    ] = None,
    audit_days: Annotated[int, typer.Option(help="How long the audit log is kept; 365 when new.")] = 0,
    history_days: Annotated[
        int | None, typer.Option(help="How long the history of sessions is kept, 0 keeps none; 30 when new.")
    ] = None,
    wait_hold_ms: Annotated[
        int | None,
        typer.Option(min=0, max=60_000, help="When waits of agents are paused, 60000 pauses none; 2000 when new."),
    ] = None,
    session_days: Annotated[
        int, typer.Option(min=0, max=365, help="When sessions end that name no TTL; 7 when new.")
    ] = 0,
    max_session_days: Annotated[
        int, typer.Option(min=0, max=365, help="The longest TTL that a session may name; 365 when new.")
    ] = 0,
    architecture: Annotated[str, typer.Option(help="Of functions: x86_64 or arm64; x86_64 when new.")] = "",
    agent_architecture: Annotated[str, typer.Option(help="Of agents whose files name none; x86_64 when new.")] = "",
    tracing: Annotated[bool | None, typer.Option("--tracing/--no-tracing", help="X-Ray.")] = None,
    function_urls: Annotated[
        bool | None,
        typer.Option(
            "--function-urls/--no-function-urls",
            help="Whether agents use a public Function URL or the REST API, with waits of 25 s; on when new.",
        ),
    ] = None,
    address: Annotated[bool, typer.Option("--address", help="One address for all of the stage.")] = False,
    domain: Annotated[str, typer.Option(help="Domain of the address.")] = "",
    certificate: Annotated[str, typer.Option(help="ARN of the domain's certificate, in us-east-1.")] = "",
    web_acl: Annotated[str, typer.Option(help="ARN of the AWS WAF web ACL of the address.")] = "",
    package_to: Annotated[
        Path | None, typer.Option("--package", help="Write one template and the functions' zip here; deploy nothing.")
    ] = None,
    destroy: Annotated[bool, typer.Option("--destroy", help="Delete the stage, but for its data.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be changed; change nothing.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Look for what would fail; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Destroy without asking.")] = False,
) -> None:
    """Deploy, update, package or destroy a stage of Atoll. Options that are left out keep their previous value."""
    with told(Failed):
        if not (check or destroy):
            pythons.refuse_others()
        if package_to is not None:
            _package(package_to, stage, architecture or "x86_64")
            return
        description.reserved(stage)  # before credentials are asked for: there may be no such stage
        session = boto3.Session(region_name=region or None, profile_name=profile or None)
        if session.region_name is None:
            raise Failed("no region: give --region, or set one in your AWS configuration")
        at = _given({"DomainName": domain, "CertificateArn": certificate, "WebAclArn": web_acl})
        if check:
            found = account.look(session, stage)
            agents = network.wanted(found, subnets=subnets, security_groups=security_groups, public_ip=public_ip)
            _check(found, stage, report.find(session, found, stage, agents, at, logs_access=access_log))
            return
        asked = {
            "Subnets": subnets,
            "VpcId": account.vpc_of(session, subnets.split(",")) if subnets else "",
            "SecurityGroups": security_groups,
            "AssignPublicIp": "" if public_ip is None else str(public_ip).lower(),
            "AlarmEmail": alarm_email,
            "LogRetentionDays": str(log_days) if log_days else "",
            "AccessLog": "" if access_log is None else ("on" if access_log else "off"),
            "AuditRetentionDays": str(audit_days) if audit_days else "",
            "HistoryDays": "" if history_days is None else str(history_days),
            "WaitHoldMs": "" if wait_hold_ms is None else str(wait_hold_ms),
            "SessionDays": str(session_days) if session_days else "",
            "MaxSessionDays": str(max_session_days) if max_session_days else "",
            "FunctionUrls": "" if function_urls is None else ("on" if function_urls else "off"),
            "Architecture": architecture,
            "AgentArchitecture": agent_architecture,
            "Tracing": "" if tracing is None else ("on" if tracing else "off"),
        }
        found = account.look(session, stage)
        if not destroy and (subnets or public_ip is not None or not found.outputs):
            agents = network.wanted(found, subnets=subnets, security_groups=security_groups, public_ip=public_ip)
            _check_network(session, found, agents)
        if destroy:
            running = Running(session, found, stage)
            steps = plan.to_destroy(stage, found, executions=len(running.executions()), tasks=len(running.tasks()))
        else:
            steps = plan.to_deploy(stage, _given(asked), found, at if address or at else None)
        where = Text(f"stage {stage}, account {found.account}, {found.region}")
        console().print(Panel(where, title="[bold]Atoll[/]", title_align="left", expand=False))
        executor = Executor(session, found, stage, BUILD)
        if dry_run or destroy:
            _show(steps, executor)
        if dry_run or (destroy and not yes and not _confirmed(stage)):
            return
        if not destroy:
            _build_console()
        _carry_out(steps, executor)
        if not destroy:
            _show_urls(executor.urls(), stage)


def _check(found: Found, stage: str, what: Iterable[Finding]) -> None:
    """Show what a deployment would meet; raise `Failed` when it would fail, or agents could not work."""
    findings = list(what)
    console().print(Text(f"stage {stage}, account {found.account}, {found.region}", style="bold"))
    console().print(report.table(findings))
    if problems := [each for each in findings if each.level == "problem"]:
        raise Failed(f"{len(problems)} of these would stop the deployment, or its agents")


def _check_network(session: boto3.Session, found: Found, agents: network.Network) -> None:
    """Raise `Failed` when agents could not be started in their subnets, or could not get out."""
    findings = network.check(session, found, agents)
    if problems := [f"{each.subject}: {each.text}" for each in findings if each.level == "problem"]:
        raise Failed("; ".join(problems))


def _given(options: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in options.items() if value}


def _build_console() -> None:
    """Have the console in the package; a stage works without it, too."""
    try:
        web_console.build()
    except web_console.NotBuilt as error:
        warn(f"The web console is left out: {error}")


def _package(folder: Path, stage: str, architecture: str) -> None:
    _build_console()
    with console().status("Chalice packages the functions …"):
        template = package.make(folder, stage, architecture)
    console().print(f"[green]✓[/] {template} and {template.with_name('deployment.zip')}")
    console().print("docs/deploy.md says how a pipeline deploys them.")


def _show(steps: list[Step], executor: Executor) -> None:
    for number, step in enumerate(steps, 1):
        console().print(Text(f" {number}. {step.title}"))
        for change in executor.run(step, dry_run=True):
            console().print(Text(f"      {change}", style="dim"))
    if any(isinstance(step, DeployStack) for step in steps):
        console().print(Text(f"\n{at_rest.in_words()}"))
    kept = [name for step in steps if isinstance(step, DeleteStack) for name in step.retained]
    if kept:
        console().print(Text("\nKept, to be deleted by hand or imported by the next deployment:", style="bold"))
        for name in kept:
            console().print(Text(f"  - {name}"))


def _confirmed(stage: str) -> bool:
    console().print(
        Text("\nRunning sessions are cut off, their agents stopped, pending deliveries not made.", style="bold red")
    )
    if typer.prompt(f"Type the name of the stage ({stage}) to go on", default="", show_default=False) == stage:
        return True
    console().print("Nothing was done.")
    return False


def _carry_out(steps: list[Step], executor: Executor) -> None:
    for number, step in enumerate(steps, 1):
        with console().status(Text(f"{number}/{len(steps)} {step.title}")):
            changes = executor.run(step, dry_run=False)
        console().print(Text.assemble(("✓ ", "green"), f"{number}/{len(steps)} {step.title}"))
        for change in changes:
            console().print(Text(f"      {change}", style="dim"))


def _show_urls(urls: dict[str, str], stage: str) -> None:
    rows = Table.grid(padding=(0, 2))
    if address := urls.get("Address"):
        rows.add_row("address", Text(address, style="bold"))
        if urls["AddressHost"] not in address:
            rows.add_row("", Text(f"its DNS record: a CNAME to {urls['AddressHost']}"))
    rows.add_row("API", Text(urls["ApiUrl"], style="bold"))
    rows.add_row("agents' endpoint", Text(urls["McpUrl"]))
    rows.add_row("agents' models", Text(urls["ModelsUrl"]))
    rows.add_row("first key", Text(f"atoll keys make NAME --stage {stage}"))
    console().print(Panel(rows, title="[bold]Atoll[/] is deployed", title_align="left", expand=False))
