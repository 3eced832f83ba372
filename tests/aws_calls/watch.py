"""Looks at the calls that the clients of this process make."""

import threading
import time
from collections.abc import Callable
from typing import Any

from botocore import handlers, serialize
from botocore.model import OperationModel
from botocore.validate import ParamValidator

from tests.aws_calls import documented
from tests.aws_calls.models import Models


class Watch:
    """Checks the parameters of each call of every client, once for all in a process."""

    def __init__(self, take: Callable[[str], None]) -> None:
        """
        Parameters
        ----------
        take
            Takes what is wrong with a call. The call is made all the same.
        """
        self._take = take
        self._models = Models()
        self._lock = threading.Lock()
        #: How many calls were checked, and how long that took, in s.
        self.calls = 0
        self.took_s = 0.0

    def begin(self) -> None:
        """Check the calls of all clients whose sessions are made from here on."""
        # Last, for the parameters as they are sent: handlers of botocore and boto3 complete them.
        handlers.BUILTIN_HANDLERS.append(("before-parameter-build", self.look, handlers.REGISTER_LAST))
        # The app makes its clients with ``parameter_validation=False`` and leaves that to AWS; moto does not do it.
        create = serialize.create_serializer
        serialize.create_serializer = lambda protocol, *_, **rest: create(protocol, True, **_given(rest))

    def look(self, params: dict[str, Any], model: OperationModel, **_: Any) -> None:
        """Check one call."""
        began_s = time.perf_counter()
        for fault in self._faults(params, model):
            self._take(f"{model.service_model.service_name}.{model.name}: {fault}")
        took_s = time.perf_counter() - began_s
        with self._lock:
            self.calls += 1
            self.took_s += took_s

    def _faults(self, params: dict[str, Any], model: OperationModel) -> list[str]:
        service = model.service_model.service_name
        try:
            return [*self._models.faults(model, params), *documented.faults(service, model.name, params)]
        except Exception as error:
            if model.input_shape is not None and ParamValidator().validate(params, model.input_shape).has_errors():
                return []  # botocore refuses the call
            return [f"cannot be checked: {error!r}"]


def _given(rest: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in rest.items() if name != "include_validation"}
