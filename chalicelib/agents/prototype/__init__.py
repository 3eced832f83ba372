"""prototype: agents that are prompts and a model (C.4).

A turn is an iteration: the model is asked with its tools, and they are called. A tool that waits ends the turn, and the
next one goes on with the calls that are left. A turn that was cut off is taken again, its model and tools among it.
"""

from chalicelib.agents.prototype.loop import Ended, take

__all__ = ["Ended", "take"]
