"""The floor under every measurement: the least that a Chalice app with one DynamoDB client can be."""

from typing import Any

import boto3
from chalice.app import Chalice

app = Chalice(app_name="floor")
dynamodb = boto3.client("dynamodb")

#: Calls to make, by the name they are asked for: method of the client, parameters.
CALLS: dict[str, list[tuple[str, dict[str, Any]]]] = {}


@app.route("/item/{key}")
def read(key: str) -> dict[str, object]:
    """Read one item."""
    found = dynamodb.get_item(TableName="atoll-bench-sessions", Key={"sessionId": {"S": key}}, ConsistentRead=True)
    return {name: next(iter(value.values())) for name, value in found["Item"].items()}


@app.route("/calls/{name}", methods=["POST"])
def make_calls(name: str) -> dict[str, object]:
    """Make the calls of an operation, and nothing else."""
    for method, parameters in CALLS[name]:
        getattr(dynamodb, method)(**parameters)
    return {"done": name}
