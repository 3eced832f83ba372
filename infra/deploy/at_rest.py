"""What a stage costs while no session runs, as far as its templates tell: what is there is charged by the month."""

from infra.deploy import description

#: USD a month of each, in us-east-1 (docs/costs.md).
SECRET_USD, ALARMED_METRIC_USD = 0.40, 0.10


def secrets() -> int:
    """Return how many secrets a stage has."""
    return len(_of("AWS::SecretsManager::Secret"))


def alarmed_metrics() -> int:
    """Return on how many metrics a stage has alarms, which are charged by these."""
    return sum(
        sum("MetricStat" in metric for metric in alarm.get("Metrics", [])) or 1
        for alarm in _of("AWS::CloudWatch::Alarm")
    )


def _of(kind: str) -> list[description.Template]:
    resources = description.stack()["Resources"].values()
    return [each["Properties"] for each in resources if each["Type"] == kind]


def in_words() -> str:
    """Return a sentence for who is about to deploy a stage."""
    secrets_usd, metrics_usd = secrets() * SECRET_USD, alarmed_metrics() * ALARMED_METRIC_USD
    return (
        f"At rest the stage costs about {secrets_usd + metrics_usd:.2f} USD a month (us-east-1, docs/costs.md): "
        f"{secrets()} secrets {secrets_usd:.2f}, {alarmed_metrics()} alarmed metrics {metrics_usd:.2f}; tables, their "
        "backups, the bucket and logs by what is in them."
    )
