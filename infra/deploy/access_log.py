"""The access log of a stage's REST API: a line for each request, whoever makes it, in a log group of its own.

Chalice makes the stage and knows nothing of its log; it leaves alone what it does not know. API Gateway writes into
CloudWatch Logs with one role of the whole account, which no stage may claim: it must be there.
"""

import json
from typing import Any

import boto3

from infra.deploy import Failed

#: A line. The path is the route's, never the request's: an agent's secret is part of that.
FORMAT = json.dumps(
    {
        "request": "$context.requestId",
        "time": "$context.requestTime",
        "method": "$context.httpMethod",
        "route": "$context.resourcePath",
        "status": "$context.status",
        "bytes": "$context.responseLength",
        "latencyMs": "$context.responseLatency",
        "ip": "$context.identity.sourceIp",
        "userAgent": "$context.identity.userAgent",
    }
)


def switch(session: boto3.Session, api: str, stage: str, group_arn: str) -> None:
    """Write the access log of a REST API's stage into a log group by its ARN; without one, write none.

    Raises `Failed` when the account has no role with which API Gateway could write it.
    """
    client = session.client("apigateway")
    there = client.get_stage(restApiId=api, stageName=stage).get("accessLogSettings") or {}
    arn = group_arn.removesuffix(":*")  # API Gateway takes it without
    if there == ({"destinationArn": arn, "format": FORMAT} if arn else {}):
        return
    if not arn:
        changes: list[Any] = [{"op": "remove", "path": "/accessLogSettings"}]
    else:
        if not client.get_account().get("cloudwatchRoleArn"):
            raise Failed(
                "API Gateway has no role to write logs with in this account and region, so there can be no access log: "
                'set one (docs/deploy.md, "The access log"), or deploy with --no-access-log'
            )
        settings = {"destinationArn": arn, "format": FORMAT}
        changes = [
            {"op": "replace", "path": f"/accessLogSettings/{name}", "value": value} for name, value in settings.items()
        ]
    client.update_stage(restApiId=api, stageName=stage, patchOperations=changes)
