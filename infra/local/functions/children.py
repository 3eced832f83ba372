"""Agents' functions as processes of this machine: one for a handler, kept warm between turns, as Lambda does it."""

import contextlib
import itertools
import json
import os
import selectors
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chalicelib.aws.agent_functions import LONGEST_ANSWER, LONGEST_ERROR, Answer, Busy, FunctionFailed
from infra.local.ecs.processes import Child, Reaper
from infra.local.logs.output import AgentOutput, SecretsUnknown, TakeLine

if TYPE_CHECKING:
    from chalicelib.store.agents import AgentRecord
    from chalicelib.wire.logs import Io

#: How many processes there are at most, and how long (s) one that is not used stays.
MOST_CHILDREN = 8
IDLE_S = 300.0

#: How long (s) a turn waits for a process when all are in turns.
FREE_WITHIN_S = 10.0

#: How long (s) what a function has printed may take to be read after its answer.
LAST_LINES_S = 1.0

#: How many files of an agent's folder are looked at for changes.
MOST_FILES = 500

_PROGRAM = Path(__file__).with_name("child.py")


class _TooLate(Exception):
    """A function has not answered in time."""


class _Ended(Exception):
    """The process of a function has ended in the middle of a turn."""


class _Warm:
    """A process that answers turns of one handler."""

    def __init__(self, folder: str, handler: str, reaper: Reaper) -> None:
        self.folder, self.handler = folder, handler
        self.stamp = _stamp(folder)
        self.used_s = time.monotonic()
        self.exit_code: int | None = None
        self._take: TakeLine = _nobody
        self._mark = ""
        self._marks = 0
        self._marked = threading.Condition()
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        try:
            self._child = Child(
                [sys.executable, str(_PROGRAM), folder, handler, str(requests), str(answers)],
                variables={},
                directory=folder,
                reaper=reaper,
                on_line=self._line,
                on_exit=self._exited,
                pass_fds=(requests, answers),
            )
        except BaseException:
            self._close()
            raise
        finally:
            os.close(requests)
            os.close(answers)
        os.set_blocking(self._requests, False)

    def ask(self, turn: Mapping[str, Any], take: TakeLine, limit_s: float) -> bytes:
        """Return the line that answers a turn; raise `_TooLate` or `_Ended`."""
        self._take, self._mark, self._marks = take, f"end-of-turn-{uuid.uuid4().hex}", 0
        deadline_s = time.monotonic() + limit_s
        self._send(json.dumps({"mark": self._mark, "turn": turn}).encode() + b"\n", deadline_s)
        answer = b""
        with selectors.DefaultSelector() as pipes:
            pipes.register(self._answers, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                if len(answer) > LONGEST_ANSWER or not pipes.select(max(0.0, deadline_s - time.monotonic())):
                    raise _TooLate
                if not (chunk := os.read(self._answers, 1 << 16)):
                    raise _Ended
                answer += chunk
        return answer

    def _send(self, request: bytes, deadline_s: float) -> None:
        with selectors.DefaultSelector() as pipes:
            pipes.register(self._requests, selectors.EVENT_WRITE)
            while request:
                if not pipes.select(max(0.0, deadline_s - time.monotonic())):
                    raise _TooLate
                try:
                    request = request[os.write(self._requests, request) :]
                except BrokenPipeError:
                    raise _Ended from None

    def is_read(self) -> bool:
        """Wait until all that was printed in the turn is read; ``False`` when that takes too long."""
        with self._marked:
            read = self._marked.wait_for(lambda: self._marks == 2, LAST_LINES_S)
        self._take, self.used_s = _nobody, time.monotonic()
        return read

    def ended(self) -> bool:
        """Wait a moment for the process to have ended, which closed its pipes."""
        return self._child.join(LAST_LINES_S)

    def end(self) -> None:
        """End the process."""
        self._child.signal(signal.SIGKILL)
        self._child.join(LAST_LINES_S)
        self._close()

    def _close(self) -> None:
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                os.close(pipe)

    def _line(self, io: "Io", line: str) -> None:
        if self._mark and line.endswith(self._mark):
            if begun := line.removesuffix(self._mark):
                self._take(io, begun)
            with self._marked:
                self._marks += 1
                self._marked.notify()
        else:
            self._take(io, line)

    def _exited(self, code: int) -> None:
        self.exit_code = code


class Children:
    """The functions of this machine (`chalicelib.aws.agent_functions.AgentFunctions`)."""

    def __init__(self, output: AgentOutput, limit_s: float) -> None:
        self._output = output
        self._limit_s = limit_s
        self._reaper = Reaper()
        self._free = threading.Condition()
        self._idle: list[_Warm] = []
        self._busy: set[_Warm] = set()
        self._closed = False

    def call(
        self, agent: "AgentRecord", function: Mapping[str, str], version: str | None, turn: Mapping[str, Any]
    ) -> Answer:
        """Call a function and wait for its answer; raise `FunctionFailed` or `Busy`."""
        if "handler" not in function:
            raise FunctionFailed(f"{function.get('function')} is a Lambda function, which one machine does not have")
        folder, handler = function["folder"], function["handler"]
        try:
            take = self._output.of(agent.name, {"CORAL_AGENT_SECRET": turn["agent"]["secret"]})
        except SecretsUnknown as error:
            raise Busy(str(error)) from error
        warm = self._taken(folder, handler)
        keep = False
        try:
            answer = json.loads(warm.ask(turn, take, self._limit_s))
            keep = warm.is_read()
        except _TooLate:
            raise FunctionFailed(
                f"{handler} has not answered within {self._limit_s:g} s, which a turn may take"
            ) from None
        except _Ended:
            code = warm.exit_code if warm.ended() else "unknown"
            raise FunctionFailed(f"the process of {handler} has ended in its turn, with code {code}") from None
        finally:
            self._given_back(warm, keep=keep)
        if "error" in answer:
            raise FunctionFailed(f"{handler} failed: {answer['error']}"[:LONGEST_ERROR])
        return Answer(json.dumps(answer["answer"]).encode())

    def close(self) -> None:
        """End every process; those that are in a turn, too."""
        with self._free:
            self._closed = True
            ending = [*self._idle, *self._busy]
            self._idle.clear()
            self._free.notify_all()
        for warm in ending:
            warm.end()
        self._reaper.close()

    def _taken(self, folder: str, handler: str) -> _Warm:
        """Take a process that is warm, or start one; the oldest of those that are idle makes room for it."""
        now_s = time.monotonic()
        with self._free:
            fresh = [each for each in self._idle if now_s - each.used_s < IDLE_S and each.stamp == _stamp(each.folder)]
            ending, self._idle = [each for each in self._idle if each not in fresh], fresh
            for warm in fresh:
                if (warm.folder, warm.handler) == (folder, handler):
                    fresh.remove(warm)
                    self._busy.add(warm)
                    break
            else:
                warm = None
                if not self._free.wait_for(self._has_room, FREE_WITHIN_S) or self._closed:
                    raise Busy(f"all {MOST_CHILDREN} processes for functions are in turns")
                if len(self._idle) + len(self._busy) >= MOST_CHILDREN:
                    ending.append(self._idle.pop(0))
        for each in ending:
            each.end()
        return warm or self._started(folder, handler)

    def _has_room(self) -> bool:
        return self._closed or len(self._busy) < MOST_CHILDREN

    def _started(self, folder: str, handler: str) -> _Warm:
        try:
            warm = _Warm(folder, handler, self._reaper)
        except OSError as error:
            raise FunctionFailed(f"no process can be started in {folder}: {error.strerror}") from error
        with self._free:
            self._busy.add(warm)
        return warm

    def _given_back(self, warm: _Warm, *, keep: bool) -> None:
        with self._free:
            self._busy.discard(warm)
            keep = keep and not self._closed
            if keep:
                self._idle.append(warm)
            self._free.notify()
        if not keep:
            warm.end()


def _stamp(folder: str) -> int:
    """Return what changes when a file of an agent's folder does: a process has read it before."""
    files = itertools.islice(_files(folder), MOST_FILES)
    return max((path.stat().st_mtime_ns for path in files), default=0)


def _files(folder: str) -> Iterator[Path]:
    return (path for path in Path(folder).rglob("*.py") if path.is_file())


def _nobody(_: "Io", __: str) -> None:
    """Take a line that belongs to no turn."""
