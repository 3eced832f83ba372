"""Deploys Atoll: ``python infra/deploy.py --stage prod`` makes a running stage out of nothing, or updates one.

``--package DIR`` writes one CloudFormation template for a pipeline instead, ``--destroy`` takes a stage down.
"""

import sys
from pathlib import Path
from typing import Annotated

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    # Run as a script, Python looks beside it first: for the packages of this project it is to look where they are.
    sys.path[0] = str(ROOT)

from infra.aws import account, package, plan, project  # noqa: E402
from infra.aws.executor import Executor, Failed  # noqa: E402
from infra.aws.plan import DeleteStack, Found, Step, Wanted  # noqa: E402
from infra.aws.running import Running  # noqa: E402

BUILD = ROOT / "build"

console = Console()


def main(
    *,
    stage: Annotated[str, typer.Option(help="One of the stages in .chalice/config.json.")] = "dev",
    region: Annotated[str, typer.Option(help="AWS region; your configuration's when not given.")] = "",
    profile: Annotated[str, typer.Option(help="Profile of your AWS configuration.")] = "",
    subnets: Annotated[str, typer.Option(help="Where agents run, comma-separated; the default VPC's when new.")] = "",
    security_groups: Annotated[str, typer.Option(help="Security groups of agents; one is made when none.")] = "",
    public_ip: Annotated[
        bool | None, typer.Option("--public-ip/--private", help="Whether agents get public addresses.")
    ] = None,
    alarm_email: Annotated[str, typer.Option(help="Who is told of alarms.")] = "",
    log_days: Annotated[int, typer.Option(help="How long logs are kept; 30 when new.")] = 0,
    tracing: Annotated[bool | None, typer.Option("--tracing/--no-tracing", help="X-Ray.")] = None,
    package_to: Annotated[
        Path | None, typer.Option("--package", help="Write one template and the functions' zip here; deploy nothing.")
    ] = None,
    destroy: Annotated[bool, typer.Option("--destroy", help="Delete the stage, but for its data.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Destroy without asking.")] = False,
) -> None:
    """Deploy, update, package or destroy a stage of Atoll. Options that are not given leave things as they are."""
    try:
        if package_to is not None:
            _package(package_to, stage)
            return
        session = boto3.Session(region_name=region or None, profile_name=profile or None)
        if session.region_name is None:
            raise Failed("no region: give --region, or set one in your AWS configuration")
        parameters: dict[str, str] = {}
        if subnets:
            parameters |= {"Subnets": subnets, "VpcId": account.vpc_of(session, subnets.split(","))}
        given = {
            "SecurityGroups": security_groups,
            "AssignPublicIp": "" if public_ip is None else str(public_ip).lower(),
            "AlarmEmail": alarm_email,
            "LogRetentionDays": str(log_days) if log_days else "",
            "Tracing": "" if tracing is None else ("on" if tracing else "off"),
        }
        parameters |= {name: value for name, value in given.items() if value}
        found = account.look(session, stage)
        if destroy:
            running = Running(session, found, stage)
            steps = plan.to_destroy(stage, executions=len(running.executions()), tasks=len(running.tasks()))
        else:
            steps = plan.to_deploy(Wanted(stage, parameters), found)
        _show(steps, found, stage)
        if dry_run or (destroy and not yes and not _confirmed(stage)):
            return
        _carry_out(steps, Executor(session, found, stage, BUILD, _note), found, stage, destroyed=destroy)
    except (Failed, ClientError, BotoCoreError, ValueError) as error:
        _fail(str(error))
    except (plan.CannotPlan, project.UnknownStage, package.ChaliceFailed) as error:
        _fail(str(error))


def _package(folder: Path, stage: str) -> None:
    with console.status("Chalice packages the functions …"):
        template = package.make(folder, stage)
    console.print(f"[green]✓[/] {template} and {template.with_name('deployment.zip')}")
    console.print(
        "\nA pipeline deploys them with its own bucket:\n"
        f"  aws cloudformation package --template-file {template} --s3-bucket BUCKET"
        " --use-json --output-template-file packaged.json\n"
        f"  aws cloudformation deploy --template-file packaged.json --s3-bucket BUCKET --stack-name atoll-{stage} \\\n"
        "    --capabilities CAPABILITY_NAMED_IAM CAPABILITY_AUTO_EXPAND \\\n"
        "    --parameter-overrides VpcId=VPC Subnets=SUBNET,SUBNET",
        soft_wrap=True,
        highlight=False,
    )


def _show(steps: list[Step], found: Found, stage: str) -> None:
    where = Text(f"stage {stage}, account {found.account}, {found.region}")
    console.print(Panel(where, title="[bold]Atoll[/]", title_align="left", expand=False))
    for number, step in enumerate(steps, 1):
        console.print(Text(f" {number}. {step.title}"))
    kept = [name for step in steps if isinstance(step, DeleteStack) for name in step.retained]
    if kept:
        console.print(Text("\nKept, to be deleted by hand or taken in by the next deployment:", style="bold"))
        for name in kept:
            console.print(Text(f"  - {name}"))


def _confirmed(stage: str) -> bool:
    console.print(
        Text("\nSessions that run are cut off, their agents stopped, waiting deliveries not made.", style="bold red")
    )
    if typer.prompt(f"Type the name of the stage ({stage}) to go on", default="", show_default=False) == stage:
        return True
    console.print("Nothing was done.")
    return False


def _carry_out(steps: list[Step], executor: Executor, found: Found, stage: str, *, destroyed: bool) -> None:
    console.print()
    for number, step in enumerate(steps, 1):
        with console.status(Text(f"{number}/{len(steps)} {step.title}")):
            executor.run(step)
        console.print(Text.assemble(("✓ ", "green"), f"{number}/{len(steps)} {step.title}"))
    if destroyed:
        return
    urls = executor.urls()
    rows = Table.grid(padding=(0, 2))
    rows.add_row("API", Text(urls["api"], style="bold"))
    rows.add_row("agents' door", Text(urls["mcp"]))
    rows.add_row("first key", Text(f"python -m infra.keys make NAME --stage {stage}"))
    console.print(Panel(rows, title="[bold]Atoll[/] is deployed", title_align="left", expand=False))


def _note(text: str) -> None:
    console.print(Text(f"  {text}", style="dim"))


def _fail(text: str) -> None:
    console.print(Text(f"✗ {text}", style="bold red"))
    raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
