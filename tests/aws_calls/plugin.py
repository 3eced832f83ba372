"""The plugin of pytest: fails the test during which a call was made that AWS would refuse."""

import os
import re
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.aws_calls import child
from tests.aws_calls.watch import Watch

MARK = "refused_by_aws"

_ROOT = f"{Path(__file__).parents[2]}/"

#: How many calls of a test were wrong, whether or not it is marked for that.
_refused = pytest.StashKey[int]()

#: What the workers tell the process that started them.
_OUTPUT = "aws_calls"


class Plugin:
    """Notes what is wrong with calls, and fails the test that runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: list[str] = []
        self._calls, self._took_s = 0, 0.0
        self._watch = Watch(self._note)
        self._folder = Path(tempfile.mkdtemp(prefix="aws-calls-"))

    def pytest_configure(self) -> None:
        self._watch.begin()
        child.folder = self._folder

    def pytest_unconfigure(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    # The parts of a test.

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        done = yield
        self._judge(item)
        return done

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        done = yield
        self._judge(item)
        return done

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        # After the last test of a module or of all, this is after the end of what they shared, too.
        done = yield
        self._judge(item)
        if item.get_closest_marker(MARK) and not item.stash.get(_refused, 0):
            pytest.fail(f"marked as {MARK}, and no such call was made", pytrace=False)
        return done

    def _judge(self, item: pytest.Item) -> None:
        """Fail an item for what was noted since the last time, but for what it is marked with."""
        noted = self._drained()
        if mark := item.get_closest_marker(MARK):
            wrong = [each for each in noted if not re.search(mark.args[0], each)]
            item.stash[_refused] = item.stash.get(_refused, 0) + len(noted)
            noted = wrong
        if noted:
            pytest.fail("AWS refuses calls that were made:\n" + "\n".join(noted), pytrace=False)

    def _note(self, fault: str) -> None:
        with self._lock:
            self._noted.append(f"{fault}\n    {_caller()}")

    def _drained(self) -> list[str]:
        with self._lock:
            noted, self._noted = [*self._noted, *child.faults()], []
        return [*dict.fromkeys(noted)]

    # The end. What was noted after the last test fails the run as a whole.

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._calls += self._watch.calls + child.calls()
        self._took_s += self._watch.took_s
        self._noted = self._drained()
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output[_OUTPUT] = (self._calls, self._took_s, self._noted)
        elif self._noted:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        calls, took_s, noted = getattr(node, "workeroutput", {}).get(_OUTPUT, (0, 0.0, []))
        self._calls += calls
        self._took_s += took_s
        self._noted += noted

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_line(f"{self._calls:,} calls of AWS were checked, in {self._took_s:.1f} s")
        for fault in self._noted:
            terminalreporter.write_line(f"AWS refuses a call that was made after the tests: {fault}", red=True)


def _caller() -> str:
    """Return who makes a call: the innermost lines that are no library's, the thread, and the test that runs."""
    frames = traceback.extract_stack(sys._getframe(1))
    ours = [each for each in frames if "/lib/python" not in each.filename and "aws_calls" not in each.filename]
    lines = [f"{each.filename.removeprefix(_ROOT)}:{each.lineno}" for each in ours[:-4:-1]]
    test = os.environ.get("PYTEST_CURRENT_TEST", "no test")
    return f"by {' < '.join(lines)}, in {threading.current_thread().name}, during {test}"
