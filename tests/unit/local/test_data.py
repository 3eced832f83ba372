"""What is kept in a folder: written whole, read in its order, by one process at a time."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.local import data
from infra.local.data import FILE, Data, DataUnusable


def test_what_was_written_is_there_after_the_process_was_killed(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys; from infra.local.data import Data\n"
        "kept = Data(pathlib.Path(sys.argv[1]))\n"
        "kept.write([('a', 'one', '1'), ('a', 'two', b'2')]); kept.write([('a', 'one', None), ('b', 'one', '3')])\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "data")], check=False, timeout=60)
    kept = Data(tmp_path / "data")
    assert list(kept.read("a")) == [("two", b"2")]
    assert (kept.get("b", "one"), kept.get("a", "one")) == ("3", None)
    kept.close()


def test_values_are_read_in_the_order_in_which_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "READ_AT_ONCE", 2)
    kept = Data(tmp_path)
    kept.write([("a", key, key) for key in "cabed"])
    kept.write([("b", "x", "x"), ("a", "a", "changed")])
    assert list(kept.read("a")) == [("c", "c"), ("a", "changed"), ("b", "b"), ("e", "e"), ("d", "d")]
    kept.close()


def test_what_may_be_forgotten_goes_with_the_next_write_or_at_the_end(tmp_path: Path) -> None:
    kept = Data(tmp_path)
    kept.write([("a", "one", "1"), ("a", "two", "2")])
    kept.write_later([("a", "one", None)])
    kept.close()
    again = Data(tmp_path)
    assert [key for key, _ in again.read("a")] == ["two"]
    again.close()


def test_what_cannot_be_written_is_an_error_and_goes_with_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Data(tmp_path)

    class Full:
        """A connection to a full disk."""

        in_transaction = False

        def execute(self, *_: Any) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(kept, "_connection", Full())
        with pytest.raises(sqlite3.OperationalError, match="full"):
            kept.write([("a", "one", "1")])
    kept.write([("a", "two", "2")])
    assert [key for key, _ in kept.read("a")] == ["one", "two"]
    kept.close()


def test_a_folder_is_that_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "BUSY_S", 0.01)
    kept = Data(tmp_path)
    with pytest.raises(DataUnusable, match="another Atoll has this folder in use"):
        Data(tmp_path)
    kept.close()
    Data(tmp_path).close()


def test_only_its_user_can_read_it(tmp_path: Path) -> None:
    Data(tmp_path / "data").close()
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_a_file_of_another_layout_is_left_alone(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE)
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(DataUnusable, match="its layout is 99"):
        Data(tmp_path)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataUnusable, match="file"):
        Data(tmp_path / "file")


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("not a database" * 100)
    with pytest.raises(DataUnusable, match="not a database"):
        Data(tmp_path)
