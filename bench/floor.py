"""The floor under every measurement: the least that a Chalice app with one DynamoDB client can be."""

import boto3
from chalice import Chalice

app = Chalice(app_name="floor")
dynamodb = boto3.client("dynamodb")


@app.route("/item/{key}")
def read(key: str) -> dict[str, object]:
    """Read one item."""
    found = dynamodb.get_item(TableName="atoll-bench-sessions", Key={"sessionId": {"S": key}}, ConsistentRead=True)
    return {name: next(iter(value.values())) for name, value in found["Item"].items()}
