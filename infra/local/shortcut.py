"""The way from botocore to moto's DynamoDB without HTTP between: on one machine that is half of what a call costs.

A call is taken where botocore would sign and send it, and given to moto's handler as moto's own dispatch would. What
comes back is JSON in both worlds.
"""

import functools
import json
from collections import deque
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from botocore.awsrequest import AWSResponse
from botocore.client import BaseClient
from botocore.parsers import create_parser
from moto.core import responses as moto_responses
from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.dynamodb.responses import DynamoHandler

from infra.local.tables import ITEM_OPERATIONS

_parser = create_parser("json")


def patches() -> Iterable[AbstractContextManager[Any]]:
    """Return the patches that let moto read each expression once: the same few come with every call."""
    lex = ConditionExpressionParser._lex_condition_expression

    @functools.lru_cache(1_000)
    def lexed(expression: str) -> tuple[Any, ...]:
        return tuple(lex(ConditionExpressionParser(expression, {}, {})))

    return [
        patch.object(
            ConditionExpressionParser,
            "_lex_condition_expression",
            lambda parser: deque(lexed(parser.condition_expression)),
        ),
        # moto copies what it parsed before it changes it.
        patch.object(UpdateExpressionParser, "make", functools.lru_cache(1_000)(UpdateExpressionParser.make)),
        patch.object(
            moto_responses, "method_names_from_class", functools.cache(moto_responses.method_names_from_class)
        ),
    ]


class Shortcut:
    """Answers a client's calls that read and write items."""

    def __init__(self, account: str, region: str) -> None:
        self._account = account
        self._region = region

    def follow(self, client: BaseClient) -> None:
        """Answer the calls of a DynamoDB client."""
        for operation in ITEM_OPERATIONS:
            client.meta.events.register(f"before-call.dynamodb.{operation}", self._answer)

    def _answer(self, model: Any, params: dict[str, Any], **_: Any) -> tuple[AWSResponse, dict[str, Any]] | None:
        if _has_binary(params["body"].decode()):
            return None  # by HTTP, as ever
        handler = _Handler(self._account, self._region, model.name, json.loads(params["body"]))
        status, headers, body = handler.call_action()
        http = AWSResponse(params["url"], status, headers, None)
        metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers, "RetryAttempts": 0}
        if status < 300 and not _has_binary(body):
            return http, {**json.loads(body), "ResponseMetadata": metadata}
        raw = {"status_code": status, "headers": headers, "body": body.encode()}
        parsed = _parser.parse(raw, model.output_shape)
        shape = model.service_model.shape_for_error_code(parsed["Error"]["Code"]) if status >= 300 else None
        if shape is not None:
            parsed.update(_parser.parse(raw, shape))
        return http, {**parsed, "ResponseMetadata": metadata}


def _has_binary(text: str) -> bool:
    """Tell whether JSON may have binary attributes, the only ones that are not what they look like."""
    return '"B":' in text or '"BS":' in text


class _Handler(DynamoHandler):
    """moto's handler of one call, set up without a request."""

    def __init__(self, account: str, region: str, operation: str, params: dict[str, Any]) -> None:
        super().__init__()
        self.params = params
        self.region = region
        self.partition = "aws"
        self.headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}", "Content-Type": "application/x-amz-json-1.0"}
        self.response_headers: dict[str, Any] = {}
        self.querystring: dict[str, Any] = {}
        self.uri_match: dict[str, Any] = {}
        self._account = account

    @property
    def current_account(self) -> str:
        return self._account
