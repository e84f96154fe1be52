"""One writer per store: who holds the lock is named, and the dead hold nothing."""

import errno
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from counted import SYSTEM, logged_runs, runs_done, runs_of
from server import Server, when

import jaxscale as js
from jaxscale.sweep import _lock as lock
from jaxscale.sweep._lock import store_lock

GRID = js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2]}, seeds=4)
ALONE = f"""
import errno, os, runpy, sys, time
from pathlib import Path
store_lock = runpy.run_path({lock.__file__!r})["store_lock"]  # without the seconds of importing JAX
path = Path(sys.argv[1])
"""
REFUSES = f"""{ALONE}
import fcntl
def refuse(*_):
    raise OSError(int(sys.argv[2]), "no locks")
fcntl.flock = refuse
"""
OWNER = f"""{ALONE}
with store_lock(path):
    print("held", flush=True)
    time.sleep(600)
"""
RACES = """
inside, n = path.with_name("inside"), 0
while n < 100:
    try:
        with store_lock(path):
            inside.touch(exist_ok=False)  # fails if somebody else is inside
            n += 1
            inside.unlink()
    except ValueError:
        time.sleep(0.0002)
"""
DIES = f"""{REFUSES}
with store_lock(path):
    os._exit(0)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zarr"


@pytest.fixture
def owner(path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", OWNER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def no_locks(monkeypatch, request):
    """A file system without locks."""

    def refuse(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)
    return request.param


def refusal(path):
    with pytest.raises(ValueError, match="`store`") as caught, store_lock(path):
        pass
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_owner_is_named(path):
    with store_lock(path):
        time.sleep(1.1)
        message = refusal(path)
    words = re.search(r"being written by process (\d+) on (\S+) for (\d+) s", message)
    assert words is not None
    assert int(words[1]) == os.getpid()
    assert words[2] == socket.gethostname()
    assert 1 <= int(words[3]) < 60


def test_whether_it_is_held_can_be_asked(path, owner):
    assert lock.is_locked(path)
    owner.kill()
    owner.wait()
    assert not lock.is_locked(path)  # though the file names the dead


def test_a_look_at_the_lock_keeps_nobody_out(path, monkeypatch):
    with store_lock(path):
        pass
    look = os.open(path.with_name(".a.zarr.lock"), os.O_RDONLY)
    fcntl.flock(look, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _: os.close(look))  # it is over in a moment
    with store_lock(path):
        assert lock.is_locked(path)


def test_another_thread_is_refused(path):
    with store_lock(path), ThreadPoolExecutor(1) as pool:
        assert f"process {os.getpid()} " in pool.submit(refusal, path).result()


def test_it_is_released(path):
    for _ in range(3):
        with pytest.raises(KeyError), store_lock(path):
            raise KeyError
    with store_lock(path):
        pass
    assert not path.exists()  # the lock makes no store,
    remaining = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    assert remaining in ({}, {".a.zarr.lock": b""})  # and leaves nothing but its empty file


def test_two_spellings_are_one_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "b.zarr").symlink_to("real/a.zarr")
    with store_lock(Path("real/a.zarr")):
        for other in (tmp_path / "real" / "a.zarr", Path("link/../real/a.zarr"), Path("b.zarr")):
            refusal(other)
        refusal(Path("link/a.zarr"))
        with store_lock(tmp_path / "real" / "b.zarr"):  # another store beside it
            pass


def test_folders_are_made(tmp_path):
    path = tmp_path / "one" / "two" / "a.zarr"
    with store_lock(path):
        assert path.parent.is_dir()


@pytest.mark.parametrize("at", ["file/a.zarr", "file/deep/a.zarr"])
def test_a_folder_that_cannot_be_is_one_error(tmp_path, at):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="`store`"), store_lock(tmp_path / at):
        pass
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written(path, monkeypatch, code):
    if code == errno.EACCES and os.geteuid() != 0:
        path.parent.chmod(0o555)
    else:  # no mode bits bind root

        def refuse(*_, **__):
            raise OSError(code, os.strerror(code), str(path))

        monkeypatch.setattr(os, "open", refuse)
    try:
        refused = refusal(path)
        assert f"cannot be written ({os.strerror(code)} in the folder {path.parent})" in refused
    finally:
        monkeypatch.undo()
        path.parent.chmod(0o755)
    assert not list(path.parent.iterdir())


def test_a_name_that_cannot_be_written_costs_only_the_name(path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", refuse)
    with store_lock(path):
        assert "by another process" in refusal(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid":1,"host":"a","since":"b"}'])
def test_an_owner_that_is_not_readable(path, text):
    with store_lock(path):
        path.with_name(".a.zarr.lock").write_text(text)
        assert "by another process" in refusal(path)


def test_a_process_that_was_killed_holds_nothing(path, owner):
    assert f"process {owner.pid} " in refusal(path)
    owner.kill()
    owner.wait()
    with store_lock(path):
        assert f"process {os.getpid()} " in refusal(path)


@pytest.mark.parametrize("script", [ALONE, REFUSES], ids=["locks", "no locks"])
def test_the_lock_is_taken_and_given_back_safely(path, script):
    """Three processes race for the lock; two inside at once would fail."""
    command = [sys.executable, "-c", script + RACES, str(path), str(errno.ENOSYS)]
    racing = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for process in racing:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()


def named_file(message):
    """The file that the message tells to delete."""
    named = re.search(r"delete (\S+) if that process has ended", message)
    assert named is not None, message
    return Path(named[1])


def test_without_locks_a_file_is_the_lock(path, no_locks):
    assert not lock.is_locked(path)
    with store_lock(path):
        assert lock.is_locked(path)
        message = refusal(path)
        assert f"process {os.getpid()} on {socket.gethostname()} for " in message
        assert named_file(message).exists()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(refusal, path).result() == message
    assert not named_file(message).exists()
    with store_lock(path):
        pass


@pytest.mark.parametrize("host", [None, "elsewhere"])
def test_without_locks_a_killed_process_holds_until_its_file_is_deleted(path, no_locks, host):
    """Whether it runs cannot be told from another machine or container, so nobody guesses."""
    killed = subprocess.run([sys.executable, "-c", DIES, str(path), str(no_locks)])
    assert killed.returncode == 0
    file = named_file(refusal(path))
    owner = json.loads(file.read_text())
    if host is not None:
        owner["host"] = host
        file.write_text(json.dumps(owner))
    for _ in range(2):
        message = refusal(path)
        assert f"process {owner['pid']} on {host or socket.gethostname()} for " in message
    file.unlink()
    with store_lock(path):
        assert f"process {os.getpid()} " in refusal(path)


def test_without_locks_a_lock_that_was_deleted_by_hand_is_not_removed_twice(path, no_locks):
    with store_lock(path):
        file = named_file(refusal(path))
        file.unlink()
        file.write_text("another process has taken it")
    assert file.read_text() == "another process has taken it"
    assert file == named_file(refusal(path))


# through `js.run`


def test_a_store_in_use_is_refused(path, owner):
    with pytest.raises(ValueError, match=f"`store` .*a.zarr.*process {owner.pid} "):
        js.run(GRID, store=path)
    assert not path.exists()
    owner.kill()
    owner.wait()
    assert js.run(GRID, store=path).attrs["complete"] == 1
    assert runs_done(js.open_store(path)) == set(runs_of(GRID))


def test_two_threads_on_one_store(path, monkeypatch, tmp_path):
    """The second is refused and the first completes; readers and finished stores wait for none."""
    log = tmp_path / "log"
    monkeypatch.setenv("COUNTED_LOG", str(log))
    monkeypatch.setenv("COUNTED_SLEEP", "0.1")
    failures = []

    def first():
        try:
            js.run(js.plan(GRID, max_runs_per_chunk=2), store=path, progress=False)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert when(log.exists)
    with pytest.raises(ValueError, match=f"process {os.getpid()} "):
        js.run(GRID, store=path)
    assert js.open_store(path).attrs["complete"] == 0
    thread.join()
    assert not failures
    assert sorted(logged_runs(log, GRID)) == sorted(runs_of(GRID))
    with store_lock(path):
        assert js.run(GRID, store=path).equals(js.open_store(path))


@pytest.mark.slow
def test_two_processes_on_one_store(path, tmp_path):
    def request(name, sleep):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        environment = {"COUNTED_LOG": str(folder / "log"), "COUNTED_SLEEP": str(sleep)}
        return {
            "store": str(path), "grid": GRID.to_dict(), "chunk": 2,
            "outcome": str(folder / "outcome"), "environment": environment,
        }  # fmt: skip

    with Server() as one, Server() as two:
        pid = one.start(**request("one", 0.2))
        assert when((tmp_path / "one" / "log").exists)
        assert two.finish(**request("two", 0.0)) == 1
        outcome = (tmp_path / "two" / "outcome").read_text()
        assert outcome.startswith("ValueError: `store`")
        assert f"process {pid} on {socket.gethostname()}" in outcome
        assert not (tmp_path / "two" / "log").exists()
        assert one.wait() == 0
        runs = js.open_store(path)
        assert runs_done(runs) == set(runs_of(GRID))
        # and one that is killed
        before, path_two = runs, tmp_path / "b.zarr"
        killed = {**request("three", 0.2), "store": str(path_two)}
        pid = one.start(**killed)
        assert when((tmp_path / "three" / "log").exists)
        os.kill(pid, signal.SIGKILL)
        assert one.wait() == -signal.SIGKILL
        assert two.finish(**{**killed, "environment": {}}) == 0
        assert js.open_store(path_two).equals(before)
