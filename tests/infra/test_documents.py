"""What the operators' documents say a stage has, costs at rest and raises alarms on is what the templates say."""

import re
from pathlib import Path
from typing import Any

from infra.deploy import description

ROOT = Path(__file__).parents[2]
DEPLOY = (ROOT / "docs/deploy.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()

#: USD a month (docs/costs.md).
SECRET_USD, ALARM_USD = 0.40, 0.10


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
    alarms = of_stack("CloudWatch::Alarm").values()
    metrics = sum(sum("MetricStat" in each for each in alarm["Properties"].get("Metrics", [])) or 1 for alarm in alarms)
    assert f"| {len(alarms)} alarms, " in DEPLOY
    assert f"| {metrics} alarmed metrics: " in DEPLOY
    assert f"{metrics} alarmed metrics ({metrics * ALARM_USD:.2f}, " in OPERATIONS
    secrets = len(of_stack("SecretsManager::Secret"))
    assert f"{secrets} secrets ({secrets * SECRET_USD:.2f} USD a month together)" in OPERATIONS


def test_every_alarm_says_what_to_do() -> None:
    assert named(section(OPERATIONS, "Alarms")) >= set(of_stack("CloudWatch::Alarm"))


def test_every_limit_of_concurrency_is_a_parameter_that_the_package_names() -> None:
    pipeline = section(DEPLOY, "In a pipeline")
    for function in description.reserved("prod"):
        assert f"`{description.logical_id(function)}Concurrency`" in pipeline, function
