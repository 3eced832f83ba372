"""Lambda: the app's own handlers, called with events as AWS shapes them."""

import json
import logging
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from infra.local.waiting import Stopped

log = logging.getLogger(__name__)

Handler = Callable[[Any, Any], Any]

#: The longest a function may run (Lambda quotas, "Function timeout").
TIMEOUT_MS = 900_000


class FunctionError(Exception):
    """A function raised: what Lambda answers about it, with ``errorType`` and ``errorMessage``."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(f"{answer['errorType']}: {answer['errorMessage']}")
        self.answer = answer


class Context:
    """What a handler learns about its invocation."""

    def __init__(self, function_name: str, arn: str) -> None:
        self.function_name = function_name
        self.function_version = "$LATEST"
        self.invoked_function_arn = arn
        self.memory_limit_in_mb = 512
        self.aws_request_id = str(uuid.uuid4())
        self.log_group_name = f"/aws/lambda/{function_name}"
        self.log_stream_name = "local"
        self.identity = None
        self.client_context = None
        self._started_s = time.monotonic()

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until Lambda would end this invocation."""
        return max(0, TIMEOUT_MS - int((time.monotonic() - self._started_s) * 1000))


class Functions:
    """The functions of one deployment, by the names that Chalice gives them."""

    def __init__(self, prefix: str, arn_prefix: str) -> None:
        self._prefix = f"{prefix}-"
        self._arn_prefix = arn_prefix
        self._handlers: Mapping[str, Handler] = {}

    def serve(self, handlers: Mapping[str, Handler]) -> None:
        """Call these handlers from here on."""
        self._handlers = handlers

    def arn(self, function_name: str) -> str:
        """Return the ARN of a function by its full name."""
        return f"{self._arn_prefix}{function_name}"

    def invoke(self, function: str, event: Any) -> Any:
        """Call a function by its full name or ARN and return its answer, both as JSON would carry them.

        Raises
        ------
        FunctionError
            when the handler raised, or its answer is not JSON.
        LookupError
            when there is no such function.
        """
        full_name = function.rsplit(":", 1)[-1]
        handler = self._handlers.get(full_name.removeprefix(self._prefix))
        if handler is None or not full_name.startswith(self._prefix):
            raise LookupError(f"no function {full_name!r}")
        try:
            answer = handler(json.loads(json.dumps(event)), Context(full_name, self.arn(full_name)))
            return json.loads(json.dumps(answer))
        except Stopped as error:
            raise FunctionError({"errorType": "Stopped", "errorMessage": str(error), "stackTrace": []}) from error
        except Exception as error:
            log.exception("%s failed", full_name)
            raise FunctionError(
                {
                    "errorType": type(error).__name__,
                    "errorMessage": str(error),
                    "stackTrace": traceback.format_tb(error.__traceback__),
                }
            ) from error
