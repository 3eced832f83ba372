"""Sessions come and go without a write to anything that they share."""

from tests.client import session, sleeper
from tests.faults.platform import Emulator
from tests.faults.scenarios import NAMESPACES, begin, create


def test_the_namespace_is_written_by_its_first_and_its_last_session_only(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    world.ecs.lives_ms = {"short": 100, "long": 60_000}
    witness.reasons = {"agents_exited"}
    create(world, witness, session(sleeper("long")))
    world.run_for(1_000)
    before = len(world.streams["atoll-local-namespaces"].carried)
    for _ in range(3):
        create(world, witness, session(sleeper("short")))
        world.run_for(5_000)
    assert len(world.items("sessions")) == 1
    assert len(world.streams["atoll-local-namespaces"].carried) == before
    assert not witness.broken()


def test_deleting_a_namespace_with_many_sessions_writes_to_it_a_few_times_only(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"namespace_deleted"}
    for _ in range(5):
        create(world, witness, session(sleeper("a")))
    world.run_for(5_000)
    before = len(world.streams["atoll-local-namespaces"].carried)
    assert world.ask("DELETE", f"{NAMESPACES}/tests")[0] == 200
    assert not witness.broken()
    assert len(world.streams["atoll-local-namespaces"].carried) - before <= 3
