"""Stores of objects, in memory: what a folder promises, one writer, and what is refused."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr
import zarr.buffer
from counted import SYSTEM as COUNTED, logged_runs, runs_done, runs_of

import jaxscale as js
from jaxscale import cli
from jaxscale.emergence import MultilinearSkills
from jaxscale.report._stored import shown_store
from jaxscale.sweep import _bucket as bucket, _object_lock as object_lock
from jaxscale.sweep._layout import Layout
from jaxscale.sweep._locate import place_of
from jaxscale.sweep._object_files import Changed
from jaxscale.sweep._reader import StoreReader
from jaxscale.sweep._store import ZarrStore

SYSTEM = MultilinearSkills(n_skills=3, n_steps=20)
GRID = js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2]}, seeds=3)
PLAN = js.plan(GRID, max_runs_per_chunk=2)
LOGGED = js.Grid(COUNTED, {"learning_rate": [0.1, 0.2]}, seeds=4)


@pytest.fixture(scope="module")
def expected():
    return js.run(PLAN, progress=False)


@pytest.fixture
def url(request):
    """A store of its own for every test."""
    return f"memory://{re.sub('[^a-z0-9]+', '-', request.node.name)}/a.zarr"


def run(grid, url):
    return js.run(grid, store=url, progress=False)


def keys(url):
    """Keys of a store and around it."""
    place = place_of(url)
    return sorted(place.objects.keys(place.prefix.rpartition("/")[0]))


def test_a_store_returns_what_memory_does(url, expected, monkeypatch):
    assert run(PLAN, url).equals(expected)
    assert js.open_store(url).equals(expected)
    monkeypatch.setattr(ZarrStore, "__init__", lambda *_: pytest.fail("it is only read"))
    assert run(PLAN, url).equals(expected)


def test_layout_in_a_bucket(url, expected):
    """A Zarr group names the generation, which any reader of Zarr opens; no header lies above."""
    run(PLAN, url)
    place = place_of(url)
    assert place.objects.inside(place.prefix) == {"zarr.json", place.current().generation}
    assert not place.objects.has("zarr.json")
    assert [k for k in keys(url) if not k.startswith(f"{place.prefix}/")] == [
        f"{place.prefix.removesuffix('a.zarr')}.a.zarr.lock"
    ]
    store = zarr.storage.ObjectStore(place.objects.bucket, read_only=True)
    root = zarr.open_group(store, path=place.prefix, mode="r")
    runs = root[root.attrs["jaxscale_generation"]]
    plain = xarray.open_zarr(store, group=runs.path, consolidated=False)
    rows = [
        int(np.flatnonzero((plain["learning_rate"] == rate) & (plain["seed"] == 0))[0])
        for rate in (0.1, 0.2)
    ]
    np.testing.assert_array_equal(plain["loss"][rows], expected["loss"].sel(seed=0))


def test_what_zarr_may_ask_of_objects(url, monkeypatch):
    """Keys are those below the prefix, and what fails for a moment is asked again."""
    run(PLAN, url)
    current, failed = place_of(url).current(), []
    store, read = current.open_group("r").store, zarr.storage.ObjectStore.list_prefix

    async def fails_once(self, prefix):
        async for key in read(self, prefix):
            if not failed:
                failed.append(key)
                raise OSError("the connection was cut")
            yield key

    monkeypatch.setattr(zarr.storage.ObjectStore, "list_prefix", fails_once)

    async def asked():
        listed = [key async for key in store.list_prefix("run_id/")]
        parts = [(key, None) for key in listed]
        values = await store.get_partial_values(zarr.buffer.default_buffer_prototype(), parts)
        sizes = [await store.getsize(key) for key in listed]
        inside = {name async for name in store.list_dir("run_id")}
        return listed, [len(v) for v in values], sizes, await store.getsize_prefix("run_id"), inside

    listed, lengths, sizes, total, inside = asyncio.run(asked())
    assert failed
    assert sorted(listed) == ["run_id/c/0", "run_id/zarr.json"]
    assert inside == {"c", "zarr.json"}
    assert lengths == sizes
    assert total == sum(sizes)


def test_a_sweep_continues(url, tmp_path, monkeypatch):
    log, plan = tmp_path / "log", js.plan(LOGGED, max_runs_per_chunk=2)
    monkeypatch.setenv("COUNTED_LOG", str(log))
    write, written = ZarrStore.write, []

    def fails(self, *arguments):
        if len(written) == 2:
            raise OSError("the network is down")
        written.append(arguments[:2])
        write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ZarrStore, "write", fails)
        with pytest.raises(OSError, match="network"):
            run(plan, url)
    part = js.open_store(url)
    done = runs_done(part)
    assert len(done) == 4
    assert part.attrs["complete"] == 0
    log.unlink()
    assert run(plan, url).equals(run(plan, None))
    assert set(logged_runs(log, LOGGED)) >= set(runs_of(LOGGED)) - done


def test_a_store_is_extended_and_nothing_of_the_old_one_remains(url):
    run(GRID, url)
    first = place_of(url).current().generation
    for larger in (GRID.replace(seeds=5), js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2, 0.3]}, 5)):
        assert run(larger, url).equals(run(larger, None))
    assert not [key for key in keys(url) if f"/{first}/" in key]
    with pytest.raises(ValueError, match="holds the results of another grid"):
        run(GRID.replace(key=1), url)


@pytest.mark.slow
def test_runs_are_trained_longer(url):
    longer = GRID.longer(50)
    run(js.plan(GRID, keep_states=True), url)
    assert js.open_state(url, learning_rate=0.1, seed=0)[0] == 20
    assert run(longer, url).equals(run(longer, None))
    assert list(place_of(url).current().states) == []


def test_long_runs_go_on_from_their_state(url, monkeypatch):
    monkeypatch.setattr(bucket, "LONG_SECONDS", 0.0)
    plan, steps = js.plan(GRID, checkpoint_seconds=1e-9), []
    write = ZarrStore.write_state

    def interrupted(self, bucket, chunk, state):
        write(self, bucket, chunk, state)
        steps.append(state.step)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ZarrStore, "write_state", interrupted)
        with pytest.warns(UserWarning, match="stopped by Ctrl-C: 0 of 6"):
            part = run(plan, url)
    states = place_of(url).current().states
    assert list(states) == [(0, 0)]
    assert [states.step(*where) for where in states] == steps
    assert (part["status"] == -1).all()
    assert f"at step {steps[0]}" in str(shown_store(url)[0][0])
    assert run(plan, url).equals(run(plan, None))


def test_a_damaged_state_is_refused(url):
    run(js.plan(GRID, keep_states=True), url)
    place = place_of(url)
    key = f"{place.prefix}/{place.current().generation}/done/states/0-0.npz"
    place.objects.write(key, place.objects.read(key)[0][:100])
    with pytest.raises(ValueError, match=r"damaged state memory://.*0-0\.npz .*delete it"):
        run(js.plan(GRID.longer(50)), url)


def test_results_are_read_when_they_are_used(url, expected, monkeypatch):
    run(PLAN, url)
    monkeypatch.setattr(Layout, "result_bytes", 1e18)
    runs = js.open_store(url)
    assert not runs["loss"].variable._in_memory
    np.testing.assert_array_equal(
        runs["loss"].sel(learning_rate=0.2, seed=1), expected["loss"].sel(learning_rate=0.2, seed=1)
    )
    run(GRID.replace(seeds=4), url)
    with pytest.raises(ValueError, match="was replaced since it was opened; open it again"):
        runs["loss"].load()


def test_a_lost_chunk_is_an_error_that_names_the_mark(url):
    run(PLAN, url)
    place = place_of(url)
    base = f"{place.prefix}/{place.current().generation}"
    place.objects.remove([f"{base}/loss/c/1/0"])
    with pytest.raises(ValueError, match=rf"delete memory://{base}/done/c/1 to") as caught:
        js.open_store(url)
    assert "loss/c/1/0 is not there" in str(caught.value)
    place.objects.remove([f"{base}/done/c/1"])
    assert int((js.open_store(url)["status"] == -1).sum()) == 2
    assert run(PLAN, url).equals(run(PLAN, None))


def test_a_store_whose_making_was_killed_is_made_anew(url, expected):
    place = place_of(url)
    header = json.dumps({"attributes": {"jaxscale_root": place.prefix}}).encode()
    place.objects.write(f"{place.prefix}/runs-0123456789ab/zarr.json", header)
    with pytest.raises(ValueError, match="does not exist"):
        js.open_store(url)
    assert run(PLAN, url).equals(expected)
    assert not [key for key in keys(url) if "runs-0123456789ab" in key]


def test_an_extension_that_fails_changes_nothing(url, expected, monkeypatch):
    run(PLAN, url)
    before = keys(url)
    with monkeypatch.context() as patch:
        patch.setattr(ZarrStore, "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(GRID.replace(seeds=5), url)
    assert keys(url) == before
    assert js.open_store(url).equals(expected)


@pytest.mark.parametrize("foreign", ["notes.txt", "zarr.json", "runs-1/zarr.json"])
def test_what_is_not_ours_is_not_touched(url, foreign):
    place = place_of(url)
    header = b'{"zarr_format": 3, "node_type": "group", "attributes": {}}'
    place.objects.write(f"{place.prefix}/{foreign}", header)
    with pytest.raises(ValueError, match="is not a jaxscale store"):
        run(GRID, url)
    assert [key for key in keys(url) if not key.endswith(".lock")] == [f"{place.prefix}/{foreign}"]


def test_a_neighbour_with_the_name_of_a_generation_is_not_touched(url):
    """Names such as runs-0123456789ab are usual: only what names this store as its own is ours."""
    place = place_of(url)
    precious = f"{place.prefix}/runs-0123456789ab/precious.bin"
    place.objects.write(precious, b"data")
    with pytest.raises(ValueError):
        run(GRID, url)
    assert place.objects.read(precious)[0] == b"data"
    place.objects.remove([precious])
    run(GRID, url)
    place.objects.write(precious, b"data")
    other = f"memory://{place.prefix}/runs-ba9876543210"  # a whole store, below this one
    run(GRID, other)
    run(GRID.replace(seeds=5), url)  # an extension deletes what it replaces
    assert place.objects.read(precious)[0] == b"data"
    assert js.open_store(other).sizes["seed"] == 3


def test_a_store_that_was_copied_from_a_folder_can_be_read(url, tmp_path, expected):
    run(PLAN, tmp_path / "a.zarr")
    place = place_of(url)
    for file in (tmp_path / "a.zarr").rglob("*"):
        if file.is_file():
            key = f"{place.prefix}/{file.relative_to(tmp_path / 'a.zarr').as_posix()}"
            place.objects.write(key, file.read_bytes())
    assert js.open_store(url).equals(expected)
    assert run(PLAN, url).equals(expected)
    with pytest.raises(ValueError, match="was copied there from a folder"):
        run(GRID.replace(seeds=5), url)


def test_a_store_can_be_copied_to_a_folder(url, tmp_path, expected):
    run(PLAN, url)
    place = place_of(url)
    base = f"{place.prefix}/{place.current().generation}"
    for key in place.objects.keys(base):
        file = tmp_path / "a.zarr" / key.removeprefix(f"{base}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(place.objects.read(key)[0])
    assert js.open_store(tmp_path / "a.zarr").equals(expected)
    larger = GRID.replace(seeds=5)
    assert run(larger, tmp_path / "a.zarr").equals(run(larger, None))


@pytest.mark.parametrize(
    "store", ["s3://", "s3://b", "s3://b/", "s3:///a", "memory://", "s3://b//a", "gs://b/../a"]
)
def test_a_url_without_bucket_or_name_is_refused(store):
    scheme = store.partition(":")[0]
    like = "memory://NAME" if scheme == "memory" else f"{scheme}://BUCKET/NAME"
    with pytest.raises(ValueError, match=f"`store` must be like {like}, got {store!r}"):
        js.run(GRID, store=store)


def test_other_schemes_are_refused():
    with pytest.raises(ValueError, match=r"begin with one of s3://, gs://, memory://, got 'ftp:"):
        js.run(GRID, store="ftp://server/a.zarr")
    with pytest.raises(ValueError, match="must be given as text"):
        js.run(GRID, store=Path("s3://bucket/a.zarr"))


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ValueError, match=r"`store` s3://b needs obstore: pip install 'jaxscale\[c"):
        js.run(GRID, store="s3://b/a.zarr")


def test_the_command_line_takes_it(url, tmp_path, monkeypatch, capsys):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["jaxscale", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
        return capsys.readouterr().out

    file = tmp_path / "sweep.toml"
    text = 'system = "emergence.MultilinearSkills"\nseeds = 2\n[fields]\nn_steps = 20\nn_skills = 3'
    file.write_text(f'store = "{url}"\n{text}')
    assert f"store: {url}" in command("run", str(file))
    assert "Complete." in command("show", url)
    command("run", str(file), "--store", f"{url}.b")
    assert js.open_store(f"{url}.b").attrs["complete"] == 1


# one writer


@pytest.mark.slow
def test_the_owner_is_named_with_its_age(url):
    place = place_of(url)
    with place.lock():
        time.sleep(1.1)
        with pytest.raises(ValueError, match="`store`") as caught:
            run(GRID, url)
        assert place.is_locked()
    words = re.search(
        r"written by process (\d+) on (\S+) for (\d+) s \(last sign of life (\d+) s ago\)",
        str(caught.value),
    )
    assert words is not None
    assert (int(words[1]), words[2]) == (os.getpid(), socket.gethostname())
    assert 1 <= int(words[3]) < 60
    assert not place.is_locked()
    assert run(GRID, url).attrs["complete"] == 1


def test_of_many_that_try_one_succeeds(url):
    inside, failures, held, begin = [], [], [0] * 4, threading.Barrier(4)

    def race(i):
        begin.wait()
        for _ in range(10_000):  # refused tries included: most end after a few hundred
            try:
                with place_of(url).lock():
                    inside.append(1)
                    failures.extend([1] * (len(inside) != 1))
                    inside.pop()
                    held[i] += 1
            except ValueError:
                time.sleep(0.0005)
            if held[i] == 8:
                return

    threads = [threading.Thread(target=race, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert held == [8] * 4


def test_it_is_released(url):
    for _ in range(3):
        with pytest.raises(KeyError), place_of(url).lock():
            raise KeyError
    with place_of(url).lock():
        pass


def ended(**changes):
    """Name of a process that has ended, as an owner writes it."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return json.dumps({**object_lock._process(), "pid": process.pid, **changes}).encode()


def test_the_lock_of_a_process_that_has_ended_is_taken_at_once(url):
    place = place_of(url)
    place.objects.write(place.lease.key, ended())
    assert not place.is_locked()
    with place.lock():
        assert place.is_locked()


@pytest.mark.parametrize("changes", [{"boot": "another"}, {"numbers": "another"}])
def test_the_lock_of_another_machine_is_taken_when_it_is_silent(url, changes, monkeypatch):
    place = place_of(url)
    place.objects.write(place.lease.key, ended(**changes))
    with pytest.raises(ValueError, match="after 60 s without a sign of life"), place.lock():
        pass
    monkeypatch.setattr(object_lock, "SILENT_SECONDS", -1.0)
    with place.lock():
        pass


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"pid": 1}', b"\xff"])
def test_an_owner_that_is_not_readable_holds_until_it_is_silent(url, text, monkeypatch):
    place = place_of(url)
    place.objects.write(place.lease.key, text)
    with pytest.raises(ValueError, match="by another process"), place.lock():
        pass
    monkeypatch.setattr(object_lock, "SILENT_SECONDS", -1.0)
    with place.lock():
        pass


def test_it_is_renewed(url, monkeypatch):
    monkeypatch.setattr(object_lock, "RENEW_SECONDS", 0.01)
    place = place_of(url)
    with place.lock():
        first = json.loads(place.objects.read(place.lease.key)[0])
        time.sleep(0.2)
        last = json.loads(place.objects.read(place.lease.key)[0])
    assert last["count"] > first["count"]
    assert {**first, "count": 0} == {**last, "count": 0}


def test_a_renewal_whose_answer_was_lost_is_the_owners(url):
    lease = place_of(url).lease
    with lease.held():
        lease.objects.swap(lease.key, lease._owner(), lease._version)  # it arrived, unknown to us
        lease._renew()
        lease.check()
    assert not lease.is_held()


def test_a_session_that_was_taken_over_writes_nothing(url, expected, monkeypatch):
    """It is suspended, another finishes its work, and it wakes up."""
    write, resumed = ZarrStore.write, []

    def suspended(self, bucket, chunk, *arguments):
        if not resumed:
            resumed.append(1)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(object_lock, "_is_dead", lambda _: True)
                assert run(PLAN, url).equals(expected)
            monkeypatch.setattr(object_lock, "SILENT_SECONDS", 0.0)  # it has been so for long
        write(self, bucket, chunk, *arguments)

    monkeypatch.setattr(ZarrStore, "write", suspended)
    with pytest.raises(ValueError, match="was taken over by another process"):
        run(PLAN, url)
    monkeypatch.undo()
    assert js.open_store(url).equals(expected)


@pytest.mark.slow
def test_an_extension_that_was_taken_over_does_not_replace_the_store(url):
    """It wakes up after its last look at the lock: only the root keeps it from replacing."""
    run(GRID, url)
    first, second = place_of(url), place_of(url)
    with first.lock():
        first.recover()
        first.objects.write(first.lease.key, b"")  # it was silent
        with second.lock():
            with pytest.raises(ValueError, match="replaced by another process"), first.replacing():
                second.recover()
            with pytest.raises(ValueError, match="written by another process"), first.replacing():
                pytest.fail("the root names the other")
    larger = GRID.replace(seeds=4)
    assert run(larger, url).equals(run(larger, None))


def test_an_extension_whose_store_was_replaced_finds_no_damage(url):
    """It was suspended as it copied, and wakes up when the chunks that it copies are gone."""
    run(PLAN, url)
    stored = StoreReader(place_of(url))
    run(GRID.replace(seeds=5), url)
    with pytest.raises(ValueError, match="was replaced since it was opened; open it again"):
        stored.read("loss", 0, stored.shard_length)


def test_a_swap_compares(url):
    objects, key = place_of(url).objects, "swapped"
    version = objects.swap(key, b"1", None)
    assert objects.swap(key, b"1", None) == version  # the answer to the first was lost
    second = objects.swap(key, b"2", version)
    for old in (None, version):
        with pytest.raises(Changed):
            objects.swap(key, b"3", old)
    assert objects.read(key) == (b"2", second)
