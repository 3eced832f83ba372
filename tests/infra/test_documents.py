"""What the operators' documents say a stage has, costs at rest and raises alarms on is what the templates say."""

import re
from pathlib import Path
from typing import Any

from infra.deploy import at_rest, description

ROOT = Path(__file__).parents[2]
DEPLOY = (ROOT / "docs/deploy.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def section(text: str, title: str) -> str:
    """Return a section of a document."""
    return re.split(r"^## ", text.partition(f"## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def of_stack(kind: str) -> dict[str, dict[str, Any]]:
    """Return the resources of a kind by the last parts of their names."""
    resources = [each for each in description.stack()["Resources"].values() if each["Type"] == f"AWS::{kind}"]
    names = [description.name_of(each, {"Stage": "stage"}) for each in resources]
    return dict(zip((re.sub(r"^/?atoll[-/]stage[-/]", "", name) for name in names), resources, strict=True))


def named(text: str) -> set[str]:
    """Return what is written as code in the first cells of a table."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    return {name for cell in cells for name in re.findall("`([^`]+)`", cell)}


def test_what_is_made_names_all_that_has_a_name() -> None:
    made = named(section(DEPLOY, "What is made"))
    kinds = ("DynamoDB::Table", "SecretsManager::Secret", "SQS::Queue", "StepFunctions::StateMachine", "Events::Rule")
    names = {name for kind in kinds for name in of_stack(kind)}
    functions = {each for each in description.functions() if each != "api_handler"}
    assert (names | functions) - made == set()


def test_each_function_and_what_it_may_do_are_listed() -> None:
    listed = named(section(DEPLOY, "What each part may do"))
    assert {"api", *description.functions()} - {"api_handler"} <= listed


def test_the_figures_of_what_costs_at_rest() -> None:
    secrets, metrics = at_rest.secrets(), at_rest.alarmed_metrics()
    assert f"| {len(of_stack('CloudWatch::Alarm'))} alarms, " in DEPLOY
    assert f"| {metrics} alarmed metrics: " in DEPLOY
    assert f"{secrets} secrets ({secrets * at_rest.SECRET_USD:.2f} USD a month together)" in OPERATIONS
    assert f"{metrics} alarmed metrics ({metrics * at_rest.ALARMED_METRIC_USD:.2f}, " in OPERATIONS


def test_a_plan_says_the_costs_at_rest_that_the_page_of_costs_has() -> None:
    costs = (ROOT / "docs/costs.md").read_text()
    [usd] = re.findall(r"\*\*A stage at rest\*\* costs \$([\d.]+) a month", costs)
    assert at_rest.in_words().startswith(f"At rest the stage costs about {usd} USD a month")
    for name, price in {"secret_month": at_rest.SECRET_USD, "alarm_month": at_rest.ALARMED_METRIC_USD}.items():
        assert f"| `{name}` | {price:.2f} |" in costs


def test_every_alarm_says_what_to_do() -> None:
    assert named(section(OPERATIONS, "Alarms")) >= set(of_stack("CloudWatch::Alarm"))


def test_every_limit_of_concurrency_is_a_parameter_that_the_package_names() -> None:
    pipeline = section(DEPLOY, "In a pipeline")
    for function in description.reserved("prod"):
        assert f"`{description.logical_id(function)}Concurrency`" in pipeline, function


def test_every_metric_is_listed() -> None:
    code = "\n".join(file.read_text() for file in (ROOT / "chalicelib").rglob("*.py"))
    calls = re.findall(r"telemetry\.(?:count|measure)\(([^)]*)", code)
    written = {name for call in calls for name in re.findall(r'"([A-Z]\w+)"', call)}
    assert {"SessionsCreated", "BudgetsReached", "TurnsFailed"} <= written
    assert written - named(section(OPERATIONS, "Metrics")) == set()


def test_every_limit_of_concurrency_is_among_the_quotas() -> None:
    prod, dev = description.reserved("prod"), description.reserved("dev")
    quotas = section(OPERATIONS, "Quotas")
    for function in prod.keys() - {"reconcile"}:  # which runs once at a time, and does not grow
        row = f"| reserved concurrency of `{function}` | {prod[function]} in `prod`, {dev[function]} in `dev` |"
        assert row in quotas, row
