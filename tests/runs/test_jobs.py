"""Runs are skipped if finished and resumed if interrupted, and one that fails or is killed does not stop the others."""

import errno
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any
from zipfile import ZipFile

import pytest
import torch as th
from filelock import FileLock, Timeout

from ardae_rl.common.training import Stateful
from ardae_rl.runs import jobs, tables
from ardae_rl.runs.files import FolderInUseError, locked, read_json, write_json
from ardae_rl.runs.jobs import Workers, make_run, processes, run_missing
from ardae_rl.runs.run import History, Run
from ardae_rl.runs.run_folder import check_folder, failure, is_finished, record_failure
from ardae_rl.runs.tables import merge_csv, read_csv, write_csv
from tests.conftest import SEARCH_PATH, TIMEOUT, is_running, wait_until


class Walk:
    """A tiny training run: parameters, an optimizer, a history and random numbers."""

    def __init__(self) -> None:
        th.manual_seed(0)
        self.layer = th.nn.Linear(3, 1)
        self.optimizer = th.optim.Adam(self.layer.parameters())
        self.history = History()

    def steps(self, run: Run, n: int = 12) -> Iterator[int]:
        parts: dict[str, Stateful] = {"layer": self.layer, "optimizer": self.optimizer, "history": self.history}
        for step in run.steps(n, parts, every=5):
            self.optimizer.zero_grad()
            loss = self.layer(th.randn(4, 3)).square().mean()
            loss.backward()
            self.optimizer.step()
            self.history.append({"step": step, "loss": loss.item()})
            yield step


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = Walk()
    assert list(whole.steps(Run(tmp_path / "new" / "whole"))) == list(range(12))

    for step in Walk().steps(Run(tmp_path / "cut")):
        if step == 8:  # after the checkpoint of five steps
            break
    cut = Walk()
    assert list(cut.steps(Run(tmp_path / "cut"))) == list(range(5, 12))
    assert cut.history == whole.history
    assert th.equal(cut.layer.weight, whole.layer.weight)
    assert list(Walk().steps(Run(tmp_path / "cut"))) == [], "a finished loop has no steps left"


def _work(log: Path, settings: dict[str, Any], run: Run) -> str:
    with log.open("a") as file:
        file.write(f"{settings['name']}\n")
    if settings.get("fails"):
        raise RuntimeError("on purpose")
    (run.folder / "result.txt").write_text(str(settings["value"]))
    return settings["name"]


def _folder(root: Path, settings: dict[str, Any]) -> Path:
    return root / settings["name"]


def test_runs_are_made_once_for_their_settings(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"

    def make(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return run_missing(partial(_work, log), partial(_folder, tmp_path), runs, processes(jobs=2))

    good, bad = {"name": "good", "value": 1}, {"name": "bad", "value": 2, "fails": True}
    assert make([good, bad]) == [good]
    assert "RuntimeError: on purpose" in capfd.readouterr().err
    assert is_finished(tmp_path / "good", good) and not is_finished(tmp_path / "bad", bad)
    assert failure(tmp_path / "good") is None
    assert (failure(tmp_path / "bad") or "").endswith("RuntimeError: on purpose\n")

    assert make([good]) == [good]
    assert sorted(log.read_text().split()) == ["bad", "good"], "the finished run is not made again"


@pytest.mark.parametrize("name", ["settings.json", "finished.json"])
def test_a_run_of_other_settings_is_never_lost(name: str, tmp_path: Path) -> None:
    """Nothing is started then, not even the other runs."""
    write_json(tmp_path / "old" / name, {"name": "old", "value": 1, "steps": [10]})
    (tmp_path / "old" / "checkpoint.pt").touch()
    runs: list[dict[str, Any]] = [{"name": "new", "value": 2}, {"name": "old", "value": 2, "steps": (10,)}]
    message = r"`folder` must not have a run with other settings, got .*old, whose run differs in value \(1, now 2\);"
    with pytest.raises(ValueError, match=message):
        run_missing(partial(_work, tmp_path / "log"), partial(_folder, tmp_path), runs, processes(jobs=1))
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([name, "checkpoint.pt", "old"])


def test_a_folder_of_something_else_is_never_lost(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"must be empty or have a run's settings\.json"):
        check_folder(tmp_path, {"name": "run"})
    assert (tmp_path / "notes.txt").exists()


def test_incomplete_files_count_as_missing(tmp_path: Path) -> None:
    """A full disk or a crash of the machine leaves such files."""
    (tmp_path / "finished.json").touch()
    (tmp_path / "settings.json").write_text('{"name": "run"')
    assert not is_finished(tmp_path, {"name": "run"})
    write_json(tmp_path / "settings.json", {"name": "run"})
    check_folder(tmp_path, {"name": "run"})
    assert read_json(tmp_path / "settings.json") == {"name": "run"}


def test_one_process_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    settings = {"name": "run", "value": 1}
    log = tmp_path / "log"
    with locked(tmp_path / "run"), pytest.raises(FolderInUseError, match="another process is working in"):
        make_run(partial(_work, log), settings, tmp_path / "run", Queue())
    assert not log.exists()
    assert make_run(partial(_work, log), settings, tmp_path / "run", Queue()) == "run"
    assert make_run(partial(_work, log), settings, tmp_path / "run", Queue()) == "run: finished by another process"
    assert log.read_text() == "run\n"


def test_a_folder_in_use_is_reported_in_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runs = [{"name": "free", "value": 1}, {"name": "used", "value": 1}]
    with locked(tmp_path / "used"):
        done = run_missing(partial(_work, tmp_path / "log"), partial(_folder, tmp_path), runs, processes(jobs=1))
    assert done == runs[:1]
    assert capfd.readouterr().err == f"failed: another process is working in {tmp_path / 'used'}\n"
    assert failure(tmp_path / "used") is None


def _fill_the_disk(settings: dict[str, Any], run: Run) -> str:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run.folder / "model.zip"))


def test_a_full_disk_is_reported_in_a_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if there is no room to record it."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(jobs, "record_failure", full)
    folder = tmp_path / "run"
    assert run_missing(_fill_the_disk, partial(_folder, tmp_path), [{"name": "run"}], processes(jobs=1)) == []
    expected = f"failed: the run in {folder}: [Errno 28] No space left on device: '{folder / 'model.zip'}'\n"
    assert capfd.readouterr().err == expected


def _die(settings: dict[str, Any], run: Run) -> str:
    """Die as if the system had killed the process for lack of memory."""
    if settings.get("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    return settings["name"]


def test_a_killed_run_fails_alone(tmp_path: Path) -> None:
    runs = [{"name": f"{k}", "dies": k in (0, 3)} for k in range(6)]
    done = run_missing(_die, partial(_folder, tmp_path), runs, processes(jobs=2))
    assert [settings["name"] for settings in done] == ["1", "2", "4", "5"]
    assert "died with exit code -9" in (failure(tmp_path / "3") or "")
    assert failure(tmp_path / "1") is None


def _write_pid_and_wait(settings: dict[str, Any], run: Run) -> str:
    (run.folder / "pid").write_text(str(os.getpid()))
    time.sleep(2 * TIMEOUT)  # until it is killed
    return "waited"


@contextmanager
def _with_pid_of_manager(path: Path) -> Iterator[Workers]:
    with processes(jobs=1) as workers:
        (manager,) = multiprocessing.active_children()  # the pool starts its processes with the first run
        path.write_text(str(manager.pid))
        yield workers


def _run_long(root: Path) -> None:
    run_missing(_write_pid_and_wait, partial(_folder, root), [{"name": "long"}], _with_pid_of_manager(root / "manager"))


def test_processes_end_with_their_command(tmp_path: Path) -> None:
    """Otherwise workers would still write into the folders of the next command."""
    command = multiprocessing.get_context("spawn").Process(target=_run_long, args=(tmp_path,))
    command.start()
    pid = tmp_path / "long" / "pid"
    assert wait_until(lambda: pid.exists() and pid.read_text() != "")
    command.kill()
    assert wait_until(lambda: not is_running(int(pid.read_text())))
    assert wait_until(lambda: not is_running(int((tmp_path / "manager").read_text())))


_LONG_RUNS = """
import signal
import sys
from functools import partial
from pathlib import Path
from ardae_rl.runs.jobs import processes, run_missing
from tests.runs.test_jobs import _folder, _write_pid_and_wait

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with SIGINT ignored
    runs = [{"name": f"run_{k}"} for k in range(6)]
    run_missing(_write_pid_and_wait, partial(_folder, Path(sys.argv[1])), runs, processes(jobs=2))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    "to_group", [True, False], ids=["to the group, as a terminal sends it", "to the command alone"]
)
def test_an_interrupt_stops_all_runs(to_group: bool, tmp_path: Path) -> None:
    """The runs at work are killed, and no other run is started."""
    script = tmp_path / "script.py"
    script.write_text(_LONG_RUNS)
    environment = {**os.environ, "PYTHONPATH": SEARCH_PATH}
    command = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env=environment, start_new_session=True, stderr=subprocess.PIPE
    )

    def pids() -> list[int]:
        return [int(text) for path in tmp_path.glob("*/pid") if (text := path.read_text())]

    assert wait_until(lambda: len(pids()) == 2)
    (os.killpg if to_group else os.kill)(command.pid, signal.SIGINT)
    _, errors = command.communicate(timeout=TIMEOUT)
    assert b"KeyboardInterrupt" in errors and command.returncode != 0
    assert wait_until(lambda: not any(is_running(pid) for pid in pids()))
    assert len(pids()) == 2


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert read_csv(path) == []
    write_csv(path, [{"seed": 0, "value": 1.5}, {"seed": 1, "value": 2.5}])
    merge_csv(path, [{"seed": 1, "value": 3.5}, {"seed": 2, "value": 4.5}], key=["seed"])
    assert [(row["seed"], row["value"]) for row in read_csv(path)] == [("0", "1.5"), ("1", "3.5"), ("2", "4.5")]
    with pytest.raises(ValueError, match="must have the columns"):
        merge_csv(path, [{"seed": 1}], key=["seed"])


def test_one_process_at_a_time_changes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the reading of the old rows to the writing of all, so that no row of another process is lost."""
    path = tmp_path / "new" / "table.csv"

    def write(*arguments: Any) -> None:
        with pytest.raises(Timeout):
            FileLock(path.with_name(".table.csv.lock")).acquire(timeout=0)
        write_csv(*arguments)

    monkeypatch.setattr(tables, "write_csv", write)
    merge_csv(path, [{"seed": 0}], key=["seed"])
    merge_csv(path, [{"seed": 1}], key=["seed"])
    assert [row["seed"] for row in read_csv(path)] == ["0", "1"]


def test_a_table_is_on_the_disk_before_it_replaces_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "table.csv", []
    temporary = tmp_path / "table.csv.tmp"
    monkeypatch.setattr(os, "fsync", lambda _file: synced.append((temporary.read_text(), path.exists())))
    write_csv(path, [{"seed": 0}])
    assert synced == [("seed\n0\n", False)] and path.exists() and not temporary.exists()


def test_a_failure_without_room_for_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty record would say that the run failed, but not why."""

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        record_failure(tmp_path / "run", "RuntimeError: why")
    assert failure(tmp_path / "run") is None


def test_a_full_disk_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, [{"seed": 0}])

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*table\.csv'"):
        write_csv(path, [{"seed": 1}])
    assert read_csv(path) == [{"seed": "0"}] and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_the_error_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 300:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda *_, **__: Full())
    with pytest.raises(OSError, match=r"No space left on device: '.*checkpoint\.pt'"):
        list(Run(tmp_path).steps(1, {"layer": th.nn.Linear(2, 1)}))


def test_a_table_and_a_checkpoint_of_one_name_have_their_own_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary: list[str] = []
    monkeypatch.setattr(Path, "replace", lambda self, _target: temporary.append(self.name))
    write_csv(tmp_path / "controller.csv", [{"seed": 0}])
    list(Run(tmp_path).steps(1, {}, checkpoint="controller"))
    assert temporary == ["controller.csv.tmp", "controller.pt.tmp"]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None], ids=["empty", "other", "cut"])
def test_a_damaged_checkpoint_is_named(content: bytes | None, tmp_path: Path) -> None:
    list(Walk().steps(Run(tmp_path)))
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:100] if content is None else content)
    with pytest.raises(ValueError, match=r"got a damaged .*checkpoint\.pt; delete it to start over"):
        list(Walk().steps(Run(tmp_path)))


@pytest.mark.skipif(th.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_checkpoint_of_a_gpu_loads_without_one(tmp_path: Path) -> None:
    layer, path = th.nn.Linear(2, 1), tmp_path / "checkpoint.pt"
    list(Run(tmp_path).steps(1, {"layer": layer}))
    with ZipFile(path) as saved:
        entries = {info.filename: saved.read(info) for info in saved.infolist()}
    pickled = next(name for name in entries if name.endswith("data.pkl"))
    on_cpu, on_gpu = (b"X" + len(name).to_bytes(4, "little") + name for name in (b"cpu", b"cuda:0"))
    assert on_cpu in entries[pickled]
    entries[pickled] = entries[pickled].replace(on_cpu, on_gpu)
    with ZipFile(path, "w") as moved:
        for name, content in entries.items():
            moved.writestr(name, content)
    with pytest.raises(RuntimeError, match="deserialize object on a CUDA device"):
        th.load(path, weights_only=True)
    other = th.nn.Linear(2, 1)
    assert list(Run(tmp_path).steps(2, {"layer": other})) == [1]
    assert th.equal(other.weight, layer.weight)
