"""What an agent's file says of its ECS task: ``[runtimes.docker.fargate]``, a table of Atoll's own.

No answer of the registry has it: Coral's shapes are exact. It is stored beside the agent.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

Architecture = Literal["x86_64", "arm64"]

#: The memory in MiB that Fargate has for so many CPU units: smallest, largest, step (ECS Developer Guide, "Task CPU and
#: memory"). The smallest task has no steps, but twice the memory each.
_MEMORY_MIB = {
    512: (1_024, 4_096, 1_024),
    1_024: (2_048, 8_192, 1_024),
    2_048: (4_096, 16_384, 1_024),
    4_096: (8_192, 30_720, 1_024),
    8_192: (16_384, 61_440, 4_096),
    16_384: (32_768, 122_880, 8_192),
}
_MEMORY_OF_SMALLEST_MIB = (512, 1_024, 2_048)


class Fargate(BaseModel):
    """The size of an agent's task, and where it runs; what is left out is the deployment's."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    #: CPU units (1,024 are a vCPU) and memory.
    cpu: Literal[256, 512, 1_024, 2_048, 4_096, 8_192, 16_384] | None = None
    memory_mib: int | None = None
    architecture: Architecture | None = None
    #: Whether it runs on spare capacity, at a lower price: AWS may end it at any time.
    spot: bool = False
    #: Ephemeral storage: Fargate has 20 GiB for each task, and at most 200.
    ephemeral_storage_gib: Annotated[int, Field(ge=21, le=200)] | None = None
    #: The last part of the name of the secret ``atoll-<stage>/images/<credentials>``: user and password of the registry
    #: of its image.
    credentials: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.cpu is None) != (self.memory_mib is None):
            raise PydanticCustomError("size", "must have both cpu and memory_mib, or neither")
        if self.cpu is not None and not fits(self.cpu, self.memory_mib or 0):
            raise PydanticCustomError(
                "size",
                "has {memory} MiB for {cpu} CPU units, which Fargate does not have",
                {"memory": self.memory_mib, "cpu": self.cpu},
            )
        return self


def fits(cpu: int, memory_mib: int) -> bool:
    """Return whether Fargate has tasks with so much memory for so many CPU units."""
    if cpu == 256:
        return memory_mib in _MEMORY_OF_SMALLEST_MIB
    low, high, step = _MEMORY_MIB.get(cpu, (0, -1, 1))
    return low <= memory_mib <= high and memory_mib % step == 0
