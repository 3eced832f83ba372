"""Tries every fault of a scenario without playing its beginning again: each is a copy of the process at that point.

A world in the middle of a scenario cannot be copied, but a process can: before each call it is forked once for each
kind of fault, and the copy goes on with that fault to the end of the scenario and reports the broken invariants.
"""

import gc
import os
import pickle
import warnings
from collections.abc import Sequence

from tests.faults.platform import Emulator, Fault, World
from tests.faults.scenarios import Broken, Scenario, begin, judge


class Copies:
    """The copies of one scenario's run."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self._kinds = kinds
        self._result: int | None = None
        self.tried = 0
        self.broken: list[Broken] = []

    def at_call(self, world: World) -> None:
        """Fork the process for each kind of fault that is worth trying at this call."""
        for kind in self._kinds:
            before = world.calls[-2] if len(world.calls) > 1 else None
            if world.in_window and Fault.differs(kind, world.calls[-1], before):
                self._fork(world, Fault(len(world.calls), kind))
            if self._result is not None:
                return

    def _fork(self, world: World, fault: Fault) -> None:
        read_end, write_end = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 and later warn of it beside other threads, which is an error in tests, and would leave the
            # copy to itself. The only one is the runner's (pytest-xdist), of which the copy uses nothing.
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            process = os.fork()
        if process == 0:
            os.close(read_end)
            self._result = write_end
            world.at_call = None
            world.fault = fault
            return
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(process, 0)
        self.tried += 1
        broken = pickle.loads(answer) if answer else Broken("", fault, "", ["its process ended without a word"])
        if broken is not None:
            self.broken.append(broken)

    def end(self, broken: Broken | None) -> None:
        """In a copy: report the result, and end. In the original: go on."""
        if self._result is not None:
            os.write(self._result, pickle.dumps(broken))
            os._exit(0)


def play_all(emulator: Emulator, scenario: Scenario, kinds: Sequence[str]) -> Copies:
    """Play a scenario without a fault and, in copies, with each; return the broken invariants."""
    copies = Copies(kinds)
    gc.collect()
    gc.freeze()
    try:
        world, witness = begin(emulator)
        world.at_call = copies.at_call
        broken = judge(scenario, world, witness)
        copies.end(broken)
        if broken is not None:
            copies.broken.append(broken)
    finally:
        copies.end(Broken(scenario.__name__, None, "", ["the harness itself failed"]))
        gc.unfreeze()
    return copies
