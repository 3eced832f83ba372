"""What a Lambda writes for its operators, read as CloudWatch reads it: line by line from standard output."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def written(program: str, **environment: str) -> list[dict[str, Any]]:
    """Run a program as a Lambda would and return the lines that it writes."""
    environ = {"AWS_LAMBDA_FUNCTION_NAME": "atoll-dev-run_agents", "ATOLL_STAGE": "dev", **environment}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_line_says_what_it_is_about() -> None:
    [line] = written(
        "import logging; from chalicelib.telemetry import about\n"
        "with about(namespace='n', session='s', request='r', delivery=None), about(agent='a'):\n"
        "    logging.getLogger('chalicelib.domain.agents').info('agent started', extra={'task': 't'})\n"
    )
    ids = {"namespace": "n", "session": "s", "agent": "a", "request": "r", "task": "t"}
    assert line.items() >= {**ids, "message": "agent started", "level": "INFO"}.items()
    assert "delivery" not in line


def test_ids_end_with_what_they_are_about() -> None:
    [line] = written(
        "import logging; from chalicelib.telemetry import about\n"
        "with about(session='s'): pass\n"
        "logging.getLogger('chalicelib.domain.agents').info('later')\n"
    )
    assert "session" not in line


def test_an_error_that_chalice_catches_is_a_line_too() -> None:
    [line] = written(
        "from chalicelib import telemetry; from chalice import Chalice\n"
        "app = Chalice('atoll')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: app.log.exception('caught')\n"
    )
    assert (line["level"], line["message"], line["exception_name"]) == ("ERROR", "caught", "ZeroDivisionError")


def test_metrics_are_lines_in_cloudwatchs_format() -> None:
    closed, running = written(
        "from chalicelib import telemetry\n"
        "telemetry.count('SessionsClosed', reason='ttl')\n"
        "telemetry.measure('TimeToRunning', 1200)\n"
    )
    [metrics] = closed["_aws"]["CloudWatchMetrics"]
    assert (metrics["Namespace"], sorted(metrics["Dimensions"][0])) == ("Atoll", ["reason", "stage"])
    assert (closed["stage"], closed["reason"], closed["SessionsClosed"]) == ("dev", "ttl", [1])
    assert running["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [{"Name": "TimeToRunning", "Unit": "Milliseconds"}]


def test_nothing_is_written_outside_lambda() -> None:
    program = "import os; os.environ.pop('AWS_LAMBDA_FUNCTION_NAME')\nfrom chalicelib import telemetry\n"
    assert written(program + "telemetry.count('Waits', outcome='timeout')") == []


def test_logging_takes_no_time_of_a_cold_start() -> None:
    [line] = written(
        "import logging, sys; from chalicelib import telemetry\n"
        "loaded = any(name.startswith('aws_lambda_powertools') for name in sys.modules)\n"
        "logging.getLogger('chalicelib.x').info('loaded', extra={'powertools': loaded})\n"
    )
    assert line["powertools"] is False
