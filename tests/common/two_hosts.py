"""Two hosts: network namespaces with one link between them, and Dask processes inside."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

CLIENT, WORKER = "jaxscale-client", "jaxscale-worker"  # namespaces
ADDRESSES = {CLIENT: "10.79.0.1", WORKER: "10.79.0.2"}
LINK = {CLIENT: "jxs-a", WORKER: "jxs-b"}
PORT = 18786
SCHEDULER = f"tcp://{ADDRESSES[CLIENT]}:{PORT}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@contextlib.contextmanager
def hosts() -> Iterator[None]:
    """Two namespaces with a link; they end with everything that runs in them."""
    try:
        for name in ADDRESSES:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", LINK[CLIENT], "netns", CLIENT, "type", "veth",
            "peer", "name", LINK[WORKER], "netns", WORKER)  # fmt: skip
        for name, address in ADDRESSES.items():
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", LINK[name])
            _ip("-n", name, "link", "set", LINK[name], "up")
        yield
    finally:
        for name in ADDRESSES:
            with contextlib.suppress(subprocess.SubprocessError):
                _ip("netns", "del", name)


def set_link(up: bool) -> None:
    """Connect or cut the link."""
    _ip("-n", WORKER, "link", "set", LINK[WORKER], "up" if up else "down")


def start(host: str, command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    """Start a command on a host."""
    return subprocess.Popen(
        ["ip", "netns", "exec", host, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def scheduler(**environment: str) -> subprocess.Popen[str]:
    """Start a Dask scheduler on the host of the client."""
    address = ["--host", ADDRESSES[CLIENT], "--port", str(PORT), "--no-dashboard"]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *address]
    return start(CLIENT, command, **environment)


def worker(**environment: str) -> subprocess.Popen[str]:
    """Start a Dask worker on the other host; its nanny starts another when it dies."""
    options = ["--host", ADDRESSES[WORKER], "--nthreads", "1", "--no-dashboard", "--death-timeout",
               "60"]  # fmt: skip
    command = [sys.executable, "-m", "distributed.cli.dask_worker", SCHEDULER]
    return start(WORKER, [*command, *options], **environment)


def worker_processes(nanny: subprocess.Popen[str]) -> list[int]:
    """Numbers of the processes that compute, which a nanny has started."""
    listed = subprocess.run(["pgrep", "-g", str(nanny.pid), "-f", "spawn_main"],
                            capture_output=True, text=True, timeout=30)  # fmt: skip
    return [int(number) for number in listed.stdout.split()]


def end(process: subprocess.Popen[str]) -> None:
    """Kill a command and everything that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def sweep(store: Path, **environment: str) -> subprocess.Popen[str]:
    """Start `main` on the host of the client."""
    return start(CLIENT, [sys.executable, __file__, str(store)], **environment)


def plan():
    """Sixteen runs in eight chunks."""
    from counted import DRAWN

    import jaxscale as js

    grid = js.Grid(DRAWN, {"learning_rate": [0.1, 0.2]}, seeds=8)
    return js.plan(grid, max_runs_per_chunk=2)


def main(store: str) -> None:
    """Run the sweep, and print what became of it as JSON."""
    import distributed

    import jaxscale as js

    began, outcome = time.monotonic(), "complete"
    with distributed.Client(SCHEDULER, timeout=60) as client:
        client.wait_for_workers(1, timeout=60)
        try:
            js.run(plan(), store=store, executor=client.get_executor())
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        print(json.dumps({"seconds": time.monotonic() - began, "outcome": outcome}), flush=True)
        os._exit(0)  # a client that lost its scheduler would wait for it


if __name__ == "__main__":
    main(sys.argv[1])
