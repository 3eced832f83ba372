"""The way from botocore to moto without HTTP between, for the calls that are made most: those about items.

On one machine HTTP and its dispatch are most of what such a call costs. A call is taken where botocore would sign and
send it, and passed to moto's own handler; what comes back is JSON in both worlds.
"""

import functools
import json
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from botocore import xform_name
from botocore.awsrequest import AWSResponse
from botocore.client import BaseClient
from botocore.parsers import create_parser
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.exceptions import ItemSizeTooLarge
from moto.dynamodb.models.dynamo_type import DynamoType, Item, LimitedSizeDict
from moto.dynamodb.models.utilities import dynamo_json_dump
from moto.dynamodb.parsing.expressions import UpdateExpressionParser  # type: ignore[attr-defined]  # unchecked in moto
from moto.dynamodb.responses import DynamoHandler
from werkzeug.exceptions import HTTPException

from infra.local.dynamodb.tables import ITEM_OPERATIONS, Tables

#: Largest item that moto takes, in bytes.
LARGEST_ITEM = 405_000

_parser = create_parser("json")

_Answer = tuple[AWSResponse, dict[str, Any]]


def patches() -> Iterable[AbstractContextManager[Any]]:
    """Return the patches that let moto do once what it does again and again.

    It reads each expression once (the same few come with every call), and weighs an item once, not once more with each
    of its attributes.
    """
    lex = ConditionExpressionParser._lex_condition_expression

    @functools.lru_cache(1_000)
    def lexed(expression: str) -> tuple[Any, ...]:
        return tuple(lex(ConditionExpressionParser(expression, {}, {})))

    def make_item(item: Item, hash_key: DynamoType, range_key: DynamoType | None, attrs: dict[str, Any]) -> None:
        item.hash_key = hash_key
        item.range_key = range_key
        item.attrs = LimitedSizeDict({name: DynamoType(value) for name, value in attrs.items()})
        # As JSON it is never smaller, and that is known sooner.
        if len(dynamo_json_dump(attrs)) > LARGEST_ITEM and item.size() > LARGEST_ITEM:
            raise ItemSizeTooLarge

    return [
        patch.object(
            ConditionExpressionParser,
            "_lex_condition_expression",
            lambda parser: deque(lexed(parser.condition_expression)),
        ),
        # moto copies what it parsed before it changes it.
        patch.object(UpdateExpressionParser, "make", functools.lru_cache(1_000)(UpdateExpressionParser.make)),
        patch.object(Item, "__init__", make_item),
    ]


class Shortcut:
    """Answers the calls of clients that read and write items."""

    def __init__(self, tables: Tables, account: str, region: str) -> None:
        self._tables = tables
        self._account = account
        self._region = region

    def follow(self, client: BaseClient) -> None:
        """Answer the calls of a client of DynamoDB."""
        client._ruleset_resolver = None  # type: ignore[attr-defined]  # else its one endpoint is worked out anew for each call
        client._convert_to_request_dict = _as_it_is(client)  # type: ignore[attr-defined]  # the last step before HTTP
        for operation in ITEM_OPERATIONS:
            # The stubs say that nothing is answered; what is answered here is the call's result.
            client.meta.events.register(f"before-call.dynamodb.{operation}", self._answer)  # type: ignore[arg-type]

    def _answer(self, model: Any, params: dict[str, Any], **_: Any) -> _Answer | None:
        text = params["body"]
        if not isinstance(text, str):
            return None  # by HTTP, as ever
        handler = _Handler(self._account, self._region, model.name, json.loads(text))
        try:
            body = self._tables.alone(handler.perform)
        except (ServiceException, HTTPException) as error:
            return _refused(handler, error, model, params["url"])
        if not _has_binary(body):
            return _accepted(json.loads(body), params["url"])
        parsed = _parser.parse({"status_code": 200, "headers": {}, "body": body.encode()}, model.output_shape)
        return _accepted(parsed, params["url"])


def _as_it_is(client: Any) -> Callable[..., dict[str, Any]]:
    """Return how a client makes requests of its calls: one about items is asked for in the JSON that moto reads."""
    convert: Callable[..., dict[str, Any]] = client._convert_to_request_dict
    validator = getattr(client._serializer, "_param_validator", None)  # where calls are checked, before they are sent

    def request(*, api_params: dict[str, Any], operation_model: Any, **about: Any) -> dict[str, Any]:
        if operation_model.name in ITEM_OPERATIONS and not (
            validator and validator.validate(api_params, operation_model.input_shape).has_errors()
        ):
            text = json.dumps(api_params, default=repr)
            if not _has_binary(text):
                return {"body": text, "headers": {}, "context": about["context"], "url": about["endpoint_url"]}
        return convert(api_params=api_params, operation_model=operation_model, **about)

    return request


def _accepted(parsed: dict[str, Any], url: str) -> _Answer:
    return _answer(parsed, url, 200, {})


def _answer(parsed: dict[str, Any], url: str, status: int, headers: Any) -> _Answer:
    parsed["ResponseMetadata"] = {"HTTPStatusCode": status, "HTTPHeaders": headers, "RetryAttempts": 0}
    return AWSResponse(url, status, headers, None), parsed


def _refused(handler: "_Handler", error: ServiceException | HTTPException, model: Any, url: str) -> _Answer:
    body: str | bytes | None
    if isinstance(error, HTTPException):
        status, headers, body = error.code or 500, dict(error.get_headers()), error.description
    else:
        status, headers, body = handler.serialized(ActionResult(error))
    raw = {"status_code": status, "headers": headers, "body": body.encode() if isinstance(body, str) else body}
    parsed = _parser.parse(raw, model.output_shape)
    shape = model.service_model.shape_for_error_code(parsed["Error"]["Code"])
    if shape is not None:
        parsed.update(_parser.parse(raw, shape))
    return _answer(parsed, url, status, headers)


def _has_binary(text: str) -> bool:
    """Return whether JSON may have binary attributes, the only ones that are not what they look like."""
    return '"B":' in text or '"BS":' in text


class _Handler(DynamoHandler):
    """moto's handler of one call, set up without a request."""

    def __init__(self, account: str, region: str, operation: str, params: dict[str, Any]) -> None:
        super().__init__()
        self.params = self.body = params
        self.region = region
        self.partition = "aws"
        self.headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}", "Content-Type": "application/x-amz-json-1.0"}
        self.response_headers: dict[str, Any] = {}
        self.querystring: dict[str, Any] = {}
        self.uri_match: dict[str, Any] = {}
        self.current_account = account
        self._operation = operation

    def perform(self) -> str:
        """Do what is asked, and return the answer as JSON; moto raises what it refuses."""
        return dynamo_json_dump(getattr(self, xform_name(self._operation))().result)
