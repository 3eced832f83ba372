"""Step Functions: moto's engine, with exact waits, prompt ends, and a memory that does not grow."""

import datetime
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from moto.core.exceptions import JsonRESTError
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.resource import ResourceCondition
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import (
    StateTaskServiceCallback,
)
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.timestamp import Timestamp
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction
from moto.stepfunctions.parser.asl.eval.callback.callback import (
    CallbackNotifyConsumerError,
    CallbackOutcome,
    CallbackOutcomeFailure,
    CallbackOutcomeSuccess,
)
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication, Execution
from moto.stepfunctions.parser.models import StepFunctionsParserBackend
from moto.stepfunctions.parser.utils import TMP_THREADS

#: How many finished executions of each machine can still be described.
REMEMBERED = 500

#: How long a wait sleeps at a time, in s. It ends by the wall clock, which a suspended laptop's sleep does not count.
NAP_S = 30.0


#: How long executions may take to end with the stack, in s.
FAREWELL_S = 3.0


class Machines:
    """The state machines of this process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._backends: set[StepFunctionsParserBackend] = set()

    def patches(self) -> Iterable[AbstractContextManager[Any]]:
        """Return the patches that make moto's engine keep time and let go."""
        # The engine logs each error that a machine goes on to catch.
        logging.getLogger("moto.stepfunctions").setLevel(logging.CRITICAL)
        start_execution = StepFunctionsParserBackend.start_execution
        new_client_for: Callable[..., Any] = getattr(lambda_eval_utils, "boto_client_for")  # noqa: B009
        clients: dict[tuple[str, str], Any] = {}
        eval_execution = StateTaskServiceCallback._eval_execution
        terminated = BaseExecutionWorkerCommunication.terminated

        def start_alone(backend: StepFunctionsParserBackend, *arguments: Any, **named: Any) -> Execution:
            with self._lock:
                self._backends.add(backend)
                return start_execution(backend, *arguments, **named)

        def end(communication: BaseExecutionWorkerCommunication) -> None:
            terminated(communication)
            self._forget(communication.execution)

        def succeed(backend: StepFunctionsParserBackend, task_token: str, outcome: str) -> None:
            self._answer(CallbackOutcomeSuccess(callback_id=task_token, output=outcome))

        def fail(
            backend: StepFunctionsParserBackend, task_token: str, error: str | None = None, cause: str | None = None
        ) -> None:
            self._answer(CallbackOutcomeFailure(callback_id=task_token, error=error, cause=cause))

        def evaluate(task: StateTaskServiceCallback, env: Any) -> None:
            # moto keeps the token of the first attempt; on AWS each has its own.
            if task.resource.condition == ResourceCondition.WaitForTaskToken:
                env.callback_pool_manager.add(env.states.context_object.update_task_token())
            eval_execution(task, env)

        def client_for(region: str, service: str, state_credentials: Any = None) -> Any:
            with self._lock:
                if (region, service) not in clients:
                    clients[region, service] = new_client_for(region=region, service=service)
                return clients[region, service]

        return [
            patch.object(StepFunctionsParserBackend, "start_execution", start_alone),
            patch.object(StepFunctionsParserBackend, "send_task_success", succeed),
            patch.object(StepFunctionsParserBackend, "send_task_failure", fail),
            patch.object(BaseExecutionWorkerCommunication, "terminated", end),
            patch.object(StateTaskServiceCallback, "_eval_execution", evaluate),
            patch.object(Timestamp, "_get_wait_seconds", _seconds_until),
            patch.object(WaitFunction, "_wait_interval", _wait),
            # Pauses between retries end with the stack.
            patch.object(retrier_decl, "time", _Pauses(self._stopping)),
            # Parsing a definition takes 25 ms and making a client 10 ms, each time anew.
            patch.object(AmazonStateLanguageParser, "parse", _parse),
            patch.object(lambda_eval_utils, "boto_client_for", client_for),
        ]

    def stop(self) -> None:
        """End every execution."""
        self._stopping.set()
        for execution in self._running():
            env = execution.exec_worker.env
            env.set_stop(stop_date=datetime.datetime.now(tz=datetime.UTC), cause="", error="")
            for endpoint in list(env.callback_pool_manager._pool.values()):
                endpoint.interrupt_all()
        deadline_s = time.monotonic() + FAREWELL_S
        for thread in list(TMP_THREADS):
            thread.join(max(0.0, deadline_s - time.monotonic()))
        TMP_THREADS.clear()

    def _running(self) -> list[Execution]:
        """Return the executions that run and have begun to: moto trips over those that are just being started."""
        with self._lock:
            return [
                execution
                for backend in self._backends
                for machine in backend.state_machines
                for execution in list(machine.executions)
                if execution.exec_status == ExecutionStatus.RUNNING and execution.exec_worker.env is not None
            ]

    def _answer(self, outcome: CallbackOutcome) -> None:
        for execution in self._running():
            try:
                if execution.exec_worker.env.callback_pool_manager.notify(outcome.callback_id, outcome):
                    return
            except CallbackNotifyConsumerError:
                break
        raise JsonRESTError("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")

    def _forget(self, ended: Execution) -> None:
        """Drop the oldest finished executions of a machine, and the threads that moto collects."""
        with self._lock:
            for backend in self._backends:
                for machine in backend.state_machines:
                    if machine.arn == ended.state_machine.arn:
                        finished = [e for e in machine.executions if e.exec_status != ExecutionStatus.RUNNING]
                        for execution in finished[:-REMEMBERED]:
                            machine.executions.remove(execution)
            TMP_THREADS[:] = [thread for thread in TMP_THREADS if thread.is_alive()]


#: Programs hold no state of their executions.
_parse = functools.lru_cache(64)(AmazonStateLanguageParser.parse)


class _Pauses:
    """What the engine's retries see as the module ``time``."""

    def __init__(self, stopping: threading.Event) -> None:
        self.sleep = stopping.wait


def _seconds_until(wait: Timestamp, env: Any) -> float:
    """Return the seconds until a timestamp; moto drops their fraction and takes the local time for UTC."""
    wait.string.eval(env=env)
    text = env.stack.pop()
    moment = None
    if Timestamp._is_valid_timestamp_pattern(text):
        moment = datetime.datetime.fromisoformat(text)
    if moment is None:
        from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEventException

        raise FailureEventException(wait._create_failure_event(env, text))
    return moment.timestamp() - time.time()


def _wait(wait: WaitFunction, env: Any, wait_seconds: float) -> None:
    """Wait to the millisecond; moto rounds what an interrupt leaves."""
    end_s = time.time() + wait_seconds
    while env.is_running() and (left_s := end_s - time.time()) > 0:
        env.program_state_event.wait(min(left_s, NAP_S))
