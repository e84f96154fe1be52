"""Runs sweeps in forked processes that may be killed; the imports are paid for once.

As a program: its standard input is a socket that brings others, each of which is served by a fork:
it reads one JSON request per line, forks a child that runs it, says the child's number and, when it
has ended, how. None of them starts JAX's backend but the children, so forking them is safe.
As a module: `Server`, the other end; all of a process share one program.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

LOCK = threading.Lock()


@functools.cache
def _program():
    """The socket of the program, which ends with this process."""
    ours, theirs = socket.socketpair()
    fast = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    with theirs:
        process = subprocess.Popen([sys.executable, __file__], stdin=theirs, env=fast)

    @atexit.register
    def end():
        ours.close()
        process.wait()

    return ours


class Server:
    """A process that runs sweeps, one at a time, each in a child of its own.

    Compiling would be most of what children do: they compile fast, and find the programs of those
    that came before them, where `conftest` says. Their environment is that of `__enter__`.
    """

    def __enter__(self):
        self.socket, theirs = socket.socketpair()
        self.lines = self.socket.makefile("rw")
        with theirs, LOCK:
            socket.send_fds(_program(), [b"."], [theirs.fileno()])
        self._say(dict(os.environ))
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()

    def _say(self, request):
        self.lines.write(json.dumps(request) + "\n")
        self.lines.flush()

    def start(self, **request):
        """Process number of a child that runs `request`."""
        self._say(request)
        return int(self.lines.readline())

    def wait(self):
        """Exit code of the child, minus the signal if one ended it."""
        return int(self.lines.readline())

    def finish(self, **request):
        """Run a request to its end and return its exit code."""
        self.start(**request)
        return self.wait()


def when(condition, seconds=60.0, alive=lambda: True, pause=0.002):
    """Wait until `condition()`; whether it came true before the process ended."""
    end = time.monotonic() + seconds
    while not condition():
        if not alive():
            return bool(condition())
        assert time.monotonic() < end, "the process under test hangs"
        time.sleep(pause)
    return True


def _child(request):
    """Run one sweep; what became of it is written to `request["outcome"]`."""
    import resource

    import jax

    import jaxscale as js

    os.environ |= request.get("environment", {})
    jax.config.update("jax_num_cpu_devices", 1)
    grid = js.Grid.from_dict(request["grid"])
    outcome = Path(request["outcome"])
    if "largest_file" in request:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"],) * 2)
    if "silent_seconds" in request:
        from jaxscale.sweep import _object_lock

        _object_lock.SILENT_SECONDS = request["silent_seconds"]
        _object_lock.RENEW_SECONDS = request["silent_seconds"] / 6
    if "stretch_seconds" in request:
        plan = _stretched(grid, request["stretch_seconds"], Path(request["log"]))
    else:
        plan = js.plan(grid, max_runs_per_chunk=request["chunk"])
    outcome.write_text("began")
    try:
        runs = js.run(plan, store=request["store"], progress=False)
    except Exception as error:
        outcome.write_text(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        return 1
    outcome.write_text(f"complete={runs.attrs['complete']}")
    return 0


def _stretched(grid, seconds, log):
    """Plan of runs that are trained in stretches, whose calls and states are logged."""
    import jaxscale as js
    from jaxscale.sweep import _bucket, _execute, _stretches
    from jaxscale.sweep._states import States

    _bucket.LONG_SECONDS, _stretches.CALL_SECONDS = 0.0, 0.2 * seconds
    write, compute = States.write, _execute.compute

    def line(*words):
        with log.open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def logged_write(states, bucket, chunk, state):
        write(states, bucket, chunk, state)
        line("state", chunk, state.step)

    def logged_compute(task, *arguments, advanced, **how):
        line("from", 0 if task.state is None else task.state.step)

        def called(n_runs, spent):
            line("call", spent)
            advanced(n_runs, spent)

        return compute(task, *arguments, advanced=called, **how)

    States.write, _execute.compute = logged_write, logged_compute
    return js.plan(grid, checkpoint_seconds=seconds)


def _serve():
    import rich.progress  # noqa: F401
    import scipy.linalg  # noqa: F401
    import threadpoolctl  # noqa: F401
    import xarray  # noqa: F401
    import zarr  # noqa: F401

    import jaxscale  # noqa: F401

    with contextlib.suppress(ImportError):  # xarray takes it where it is installed
        import dask.array  # noqa: F401

    sys.path.append(str(Path(__file__).parent))
    import counted  # noqa: F401
    import exact  # noqa: F401

    gc.freeze()  # a child that collects would copy every page
    gc.set_threshold(200_000, 50, 50)
    assert threading.active_count() == 1
    with socket.socket(fileno=sys.stdin.fileno()) as control:
        while (received := socket.recv_fds(control, 1, 1))[0]:
            with socket.socket(fileno=received[1][0]) as connection:
                _forked(_answer, connection)
            with contextlib.suppress(ChildProcessError):  # forget those that have served
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _forked(function, *arguments):
    """Number of a child that ends with what a function returns."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        code = function(*arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _answer(connection):
    """Serve one that has connected, until it leaves."""
    with connection.makefile("rw") as lines:
        os.environ.clear()
        os.environ |= json.loads(lines.readline())
        for line in lines:
            child = _forked(_child, json.loads(line))
            print(child, file=lines, flush=True)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=lines, flush=True)
    return 0


if __name__ == "__main__":
    _serve()
