"""A fresh process on chosen cores and JAX devices that prepares calls and times them on request.

Cores and devices are fixed when a process starts, and its peak memory never falls: every case has a
worker of its own, and the workers of one case take turns. Requests and answers are lines of JSON.
"""

import importlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from benchmarks import machine

ROOT = Path(__file__).parents[1]


class WorkerError(RuntimeError):
    """What was raised in the worker."""


class Worker:
    """Parent's end of a worker process; use it as a context manager.

    **Arguments**

    - `cores`: how many cores the process may use; None for all.
    - `devices`: virtual CPU devices of JAX; None for one per core.
    - `platform`: the JAX platform; None leaves the choice to JAX.
    - `group`: folder of a control group that the process enters before it does anything.
    """

    def __init__(
        self,
        cores: int | None = None,
        devices: int | None = None,
        platform: str | None = "cpu",
        group: Path | None = None,
    ):
        cores = machine.n_cores() if cores is None else cores
        given = [str(cores), str(cores if devices is None else devices), str(group or "")]
        environment = {**os.environ, **({} if platform is None else {"JAX_PLATFORMS": platform})}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *given],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()  # pyright: ignore
        self._process.wait()
        self._process.stdout.close()  # pyright: ignore

    def prepare(self, target: str, **given: Any) -> dict[str, Any]:
        """Call `module:function` in the worker; it returns timed calls, kept there, and facts."""
        return self._ask({"prepare": target, "given": given})

    def time(self, name: str) -> float:
        """Seconds of one prepared call."""
        return self._ask({"time": name})

    def _ask(self, request: dict[str, Any]) -> Any:
        self._process.stdin.write(json.dumps(request) + "\n")  # pyright: ignore
        self._process.stdin.flush()  # pyright: ignore
        line = self._process.stdout.readline()  # pyright: ignore
        answer = json.loads(line) if line else {"error": f"exit {self._process.wait()}"}
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["value"]


def _answer(request: dict[str, Any], calls: dict[str, Any]) -> Any:
    if "time" in request:
        return machine.seconds(calls[request["time"]])
    module, _, function = request["prepare"].partition(":")
    prepared, facts = getattr(importlib.import_module(module), function)(**request["given"])
    calls.update(prepared)
    return facts


def main() -> None:
    """The worker's end: pin, choose devices, then answer until the input ends."""
    n_cores, n_devices = map(int, sys.argv[1:3])
    if group := sys.argv[3]:
        Path(group, "cgroup.procs").write_text(str(os.getpid()))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_cores])
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever prints must not answer

    import jax

    jax.config.update("jax_num_cpu_devices", n_devices)
    calls: dict[str, Any] = {}
    for line in sys.stdin:
        try:
            answer = {"value": _answer(json.loads(line), calls)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
