"""The command line: ``atoll smoke --stage smoke``."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import boto3
import typer
from rich.text import Text

from atoll.command.terminal import console, note
from infra.deploy import Failed, account, description, pythons
from infra.failures import told
from infra.smoke import report
from infra.smoke.outcomes import Outcome
from infra.smoke.place import Place
from infra.smoke.run import IMAGE, Run
from infra.smoke.ways import ChaliceWay, PackagedWay, Way


def main(
    *,
    stage: Annotated[str, typer.Option(help="A stage of .chalice/config.json that is not deployed.")] = "smoke",
    way: Annotated[str, typer.Option(help="How it is deployed: chalice, package or both.")] = "both",
    only: Annotated[list[str] | None, typer.Option(help="The name of a check; again for more. None is all.")] = None,
    region: Annotated[str, typer.Option(help="AWS region; your configuration's by default.")] = "",
    profile: Annotated[str, typer.Option(help="Profile of your AWS configuration.")] = "",
    subnets: Annotated[str, typer.Option(help="Where agents run, comma-separated; the default VPC's by default.")] = "",
    address: Annotated[bool, typer.Option("--address", help="Check the one address too, the Chalice way.")] = False,
    image: Annotated[str, typer.Option(help="An image with Python that agents run.")] = IMAGE,
    junit: Annotated[Path, typer.Option(help="Where JUnit's XML is written.")] = description.ROOT
    / "build/smoke/junit.xml",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stage of the first way as it is.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Start without asking.")] = False,
) -> None:
    """Deploy a throwaway stage, check it, destroy it and delete all that is left of it. Exits with 1 on any failure."""
    with told(Failed):
        session = boto3.Session(region_name=region or None, profile_name=profile or None)
        if session.region_name is None:
            raise Failed("no region: give --region, or set one in your AWS configuration")
        description.reserved(stage)
        pythons.refuse_others()
        place = Place(session)
        run = Run(place, stage, only=only or (), image=image)
        through = ways(place, stage, way, subnets, address=address)
        run.refuse_what_is_there()
        identity = session.client("sts").get_caller_identity()["Account"]
        console().print(Text(f"stage {stage}, account {identity}, {session.region_name}", style="bold"))
        console().print("It is deployed, checked, and deleted with its data: docs/operations.md says what that costs.")
        if not yes and not typer.confirm("Go on?"):
            return
        outcomes = carry_out(run, through, keep=keep)
    finish(outcomes, junit, stage)


def ways(place: Place, stage: str, way: str, subnets: str, *, address: bool) -> list[Way]:
    """Return the ways of deploying that are asked for; raise `Failed` for an unknown one."""
    asked = {"Subnets": subnets, "VpcId": account.vpc_of(place.session, subnets.split(","))} if subnets else {}
    known: dict[str, Way] = {
        "chalice": ChaliceWay(place, stage, asked, {} if address else None),
        "package": PackagedWay(place, stage, asked),
    }
    if way != "both" and way not in known:
        raise Failed(f"there is no way {way!r}: chalice, package or both")
    return [each for name, each in known.items() if way in ("both", name)]


def carry_out(run: Run, through: list[Way], *, keep: bool) -> list[Outcome]:
    """Run all ways and say each outcome when it is known."""
    outcomes: list[Outcome] = []

    def tell(found: Iterable[Outcome]) -> None:
        for outcome in found:
            outcomes.append(outcome)
            why = "" if outcome.result == "passed" else f": {outcome.text}"
            console().print(Text(f"{outcome.way}: {outcome.name}: {outcome.result} ({outcome.took_s:.0f} s){why}"))

    for way in through[:1] if keep else through:
        try:
            tell(run.through(way, keep=keep))
        except KeyboardInterrupt:
            note("Interrupted: the stage is taken down. Another Ctrl-C leaves it as it is.")
            tell([Outcome(way.name, "all checks", "failed", "interrupted", 0.0)])
            tell(run.down(way))
            return outcomes
    if keep:
        console().print(
            f"The stage is left as it is, deployed the way {through[0].name!r}; docs/deploy.md takes it down."
        )
    return outcomes


def finish(outcomes: list[Outcome], junit: Path, stage: str) -> None:
    """Show and write the report; exit with 1 when anything has failed."""
    report.write(junit, outcomes, stage)
    console().print(report.table(outcomes))
    count = {result: sum(each.result == result for each in outcomes) for result in ("passed", "failed", "skipped")}
    console().print(Text(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped; {junit}"))
    if count["failed"]:
        raise typer.Exit(1)
