"""The registry follows folders: agents come, change and go with the ``coral-agent.toml`` that they are written in."""

import contextlib
import dataclasses
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from watchfiles import watch

from chalicelib.domain import errors, registry
from chalicelib.domain.agent_files import FILE, parse, read, referred_files
from chalicelib.store.registry import RegistryAgentRecord
from chalicelib.stores import Stores
from infra.local.agent_patterns import MOST_FOLDERS, find
from infra.local.data import Data

log = logging.getLogger(__name__)

#: The folders are looked at so often, in ms, for what the system does not report: what happened while a watch was
#: being set up, or on file systems that report nothing. Else they are looked at as soon as a change is reported.
LOOK_MS = 500

#: A burst of changes is looked at once: after a pause of `STEP_MS`, at the latest after `DEBOUNCE_MS`.
STEP_MS = 50
DEBOUNCE_MS = 200

#: What was found must be the same after this time, in s, before it counts: editors write files in several steps.
SETTLE_S = 0.1
MOST_SETTLING = 5

#: Pause between two attempts to remove an agent that a session has, in s.
RETRY_S = 2.0

#: How long a look that is under way may take when the watching ends, in s.
FAREWELL_S = 2.0

#: Where the data has the agents that are from folders.
REMEMBERED = ("setting", "agent-folders")

#: Name and version.
Identity = tuple[str, str]

#: Of each file that an agent is made of, what changes when the file does; ``None`` for one that is not there.
Stamps = tuple[tuple[int, int, int] | None, ...]

#: Takes a line for whoever writes the agents, and whether it is of a fault.
Tell = Callable[[str, bool], None]


@dataclasses.dataclass(frozen=True)
class _Source:
    """A folder as it was read last."""

    files: tuple[Path, ...]
    stamps: Stamps
    #: The last version without a fault; ``None`` when there was none yet.
    record: RegistryAgentRecord | None

    @property
    def identity(self) -> Identity | None:
        return (self.record.name, self.record.version) if self.record else None


class AgentFolders:
    """Keeps the agents of some folders registered: as they are at `scan`, and from `start` to `stop` as they change."""

    def __init__(self, stores: Stores, patterns: Iterable[str], tell: Tell, data: Data | None = None) -> None:
        """
        Parameters
        ----------
        patterns
            Absolute paths of folders, in which ``*`` stands for any text within one name. Of two agents with the same
            name and version the one that was there first stays, at the beginning that of the earlier pattern.
        tell
            Takes each fault, and from `start` on each change, once.
        data
            Where it is remembered which agents are from folders: the next run removes those whose folders have gone.
        """
        self._stores = stores
        self._data = data
        self._patterns = list(patterns)
        self._tell = tell
        self._sources: dict[Path, _Source] = {}
        self._owners: dict[Identity, Path] = {}
        self._registered: dict[Identity, RegistryAgentRecord] = {}
        self._told: dict[str, list[str]] = {}
        self._watched: set[Path] = set()
        self._removals_due_s: float | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def agents(self) -> list[Identity]:
        """Names and versions of the agents that are registered from these folders."""
        return sorted(self._registered)

    def scan(self) -> None:
        """Look at the folders, and bring the registry up to date."""
        if self._data is not None and (remembered := self._data.get(*REMEMBERED)) is not None:
            for name, version in json.loads(remembered):
                if record := self._stores.registry.find(name, version):
                    self._registered[name, version] = record
        self._apply(self._look())

    def start(self) -> None:
        """Begin to watch."""
        self._thread = threading.Thread(target=self._watch, name="agent-folders", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; agents stay registered."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(FAREWELL_S)

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch_the_same_folders()
            except FileNotFoundError:  # removed between the look and the watch
                self._stop.wait(LOOK_MS / 1000)
            except OSError as error:
                self._tell_new("watch", [f"folders of agents are looked at twice a second: {error}"])
                self._stop.wait(LOOK_MS / 1000)
            except Exception:
                log.exception("following the folders of agents failed")
                self._stop.wait(LOOK_MS / 1000)

    def _watch_the_same_folders(self) -> None:
        """Follow changes until other folders are to be watched."""
        self._update()
        watched = self._watched
        changes = watch(
            *sorted(watched),
            watch_filter=None,
            recursive=False,
            ignore_permission_denied=True,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            stop_event=self._stop,
        )
        with contextlib.closing(changes):
            for _ in changes:
                self._update()
                if self._watched != watched:
                    return

    def _update(self) -> None:
        """Bring the registry up to date if something has changed."""
        stamps = self._look()
        is_due = self._removals_due_s is not None and time.monotonic() >= self._removals_due_s
        if is_due or stamps != self._seen():
            self._apply(self._settled(stamps))

    def _seen(self) -> dict[Path, Stamps]:
        return {folder: source.stamps for folder, source in self._sources.items()}

    def _settled(self, stamps: dict[Path, Stamps]) -> dict[Path, Stamps]:
        for _ in range(MOST_SETTLING):
            self._stop.wait(SETTLE_S)
            before, stamps = stamps, self._look()
            if stamps == before:
                break
        return stamps

    def _look(self) -> dict[Path, Stamps]:
        """Return the stamps of each folder with an agent's file, in the order of the patterns."""
        found = find(self._patterns)
        cut = f"more than {MOST_FOLDERS} folders could have agents: the others are left out"
        self._tell_new("cut", [cut] if found.is_cut else [])
        self._watched = found.watched
        looked_at = {}
        for folder in found.agents:
            known = self._sources.get(folder)
            stamps = _stamps(known.files if known else (folder / FILE,))
            if stamps[0] is not None:
                looked_at[folder] = stamps
        return looked_at

    def _apply(self, looked_at: dict[Path, Stamps]) -> None:
        sources = {}
        for folder, stamps in looked_at.items():
            known = self._sources.get(folder)
            sources[folder] = known if known and known.stamps == stamps else self._read(folder, known)
        self._sources = sources
        self._owners = self._owned()
        for identity, folder in self._owners.items():
            self._register(identity, folder)
        self._remove_others()
        if self._data is not None:
            self._data.write([(*REMEMBERED, json.dumps(self.agents))])

    def _read(self, folder: Path, known: _Source | None) -> _Source:
        """Read a folder's file anew; with a fault, which is told, the last version stays."""
        files: tuple[Path, ...] = (folder / FILE,)
        # Before the text, so that a change while it is read is seen by the next look.
        stamps = _stamps(files)
        record = known.record if known else None
        try:
            text = read(folder)
            referred = tuple(referred_files(text, folder))
            files, stamps = (*files, *referred), (*stamps, *_stamps(referred))
            record = registry.record_of(self._stores, parse(text, folder), base_path=str(folder))
            for warning in registry.warnings_of(self._stores, text, record):
                self._tell(f"{folder / FILE}: {warning}", True)
        except (errors.AtollError, OSError) as error:
            what_stays = f"; agent {record.name} {record.version} stays as it was" if record else ""
            self._tell(f"{folder / FILE}: {error}{what_stays}", True)
        return _Source(files, stamps, record)

    def _owned(self) -> dict[Identity, Path]:
        """Return the folder that provides each agent; tell of every other folder that would."""
        owners = {
            identity: folder
            for identity, folder in self._owners.items()
            if folder in self._sources and self._sources[folder].identity == identity
        }
        duplicates = []
        for folder, source in self._sources.items():
            if source.identity and (owner := owners.setdefault(source.identity, folder)) != folder:
                name, version = source.identity
                duplicates.append(f"{folder / FILE}: agent {name} {version} is that of {owner / FILE} already")
        self._tell_new("duplicates", duplicates)
        return owners

    def _register(self, identity: Identity, folder: Path) -> None:
        record, before = self._sources[folder].record, self._registered.get(identity)
        if record is None or (before and before.digest == record.digest):
            return
        self._stores.registry.register(record)
        self._registered[identity] = record
        self._tell_change(f"agent {record.name} {record.version} {'changed' if before else 'added'}: {folder / FILE}")

    def _remove_others(self) -> None:
        """Remove the agents that no folder provides any more; those that a session has are tried again later."""
        self._removals_due_s = None
        in_use = []
        for identity in self._registered.keys() - self._owners.keys():
            try:
                self._remove(*identity)
            except errors.Conflict as error:
                in_use.append(f"{error}: it stays until that is over")
                self._removals_due_s = time.monotonic() + RETRY_S
        self._tell_new("in use", in_use)

    def _remove(self, name: str, version: str) -> None:
        there = self._stores.registry.find(name, version)
        # One that was put into the registry by request since then is not this folder's to remove.
        if there and there.digest == self._registered[name, version].digest:
            registry.delete(self._stores, name, version)
            self._tell_change(f"agent {name} {version} removed")
        del self._registered[name, version]

    def _tell_change(self, text: str) -> None:
        if self._thread is not None:
            self._tell(text, False)

    def _tell_new(self, kind: str, faults: list[str]) -> None:
        """Tell of the faults of a kind that were not there the last time."""
        for text in faults:
            if text not in self._told.get(kind, []):
                self._tell(text, True)
        self._told[kind] = faults


def _stamps(files: Iterable[Path]) -> Stamps:
    return tuple(map(_stamp, files))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)
    except (OSError, ValueError):  # not there, not for this user, or no path at all
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    # Of the times the one that a change of permissions moves too, and that no program can set back.
    return status.st_ctime_ns, status.st_size, status.st_ino
