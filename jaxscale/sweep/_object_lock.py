"""One writer per store of objects: a lease, which its owner renews."""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxscale.sweep._object_files import Changed, Objects
from jaxscale.sweep._progress import repeated

RENEW_SECONDS = 10.0
SILENT_SECONDS = 60.0  # after which an owner counts as dead
FREE = b""
TRIES = 5  # of a lock that others take and give back meanwhile
_held: set[str] = set()  # tokens of the leases of this process


class Lease:
    """The right to write a store, held by whoever wrote its object last.

    The object is made if there is none, and swapped by its version: of two that try, one succeeds.
    It is empty when the lock is free; else it holds the owner's name and a count, every
    `RENEW_SECONDS` anew. It is taken from an owner that has not renewed it for `SILENT_SECONDS`, by
    the clock of the server alone, or at once from a process of this machine that has ended or could
    not give it back. An owner that was suspended or cut off learns it before it writes more.
    """

    def __init__(self, objects: Objects, key: str, name: str):
        self.objects, self.key, self.name = objects, key, name
        self.token = uuid.uuid4().hex
        self._version: dict[str, str] | None = None
        self._count, self._holds, self._taken_by = 0, False, ""
        self._renewed = _clocks()
        self._lock = threading.Lock()  # the owner's thread may renew it, too

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; `ValueError` naming the owner if it is taken."""
        _held.add(self.token)
        try:
            self._acquire()
            with repeated(RENEW_SECONDS, self._renew):
                yield
        finally:
            _held.discard(self.token)
            if self._holds:
                self._holds = False
                with contextlib.suppress(OSError, Changed):  # else it is silent from now on
                    self.objects.swap(self.key, FREE, self._version)

    def check(self) -> None:
        """Raise `ValueError` if another process has taken over, as it may after a long silence."""
        if self._holds and self._quiet() > SILENT_SECONDS / 2:
            self._renew()
        if self._holds and not self._taken_by and self._quiet() > SILENT_SECONDS:
            raise OSError(f"the lock could not be renewed for {self._quiet():.0f} s")
        if self._taken_by:
            raise ValueError(
                f"`store` {self.name} was taken over by {self._taken_by}, for this process gave no "
                f"sign of life for {SILENT_SECONDS:g} s; what was finished is kept."
            )

    def _owner(self) -> bytes:
        self._count += 1
        mine = {**self._process, "token": self.token, "count": self._count}
        return json.dumps(mine).encode()

    def _acquire(self) -> None:
        owner = "another process"
        for _ in range(TRIES):
            began, version, self._process = _clocks(), None, _process()
            try:
                data, version = self.objects.read(self.key)
                if data != FREE and not _is_dead(data):
                    seconds = self._silence()
                    owner = f"{_name(data)} (last sign of life {max(0.0, seconds):.0f} s ago)"
                    if seconds <= SILENT_SECONDS:
                        break
            except FileNotFoundError:
                pass
            with contextlib.suppress(Changed):
                self._version = self.objects.swap(self.key, self._owner(), version)
                self._renewed, self._holds, self._taken_by = began, True, ""
                return
        raise ValueError(
            f"`store` {self.name} is being written by {owner}; wait for it or end it, or choose "
            f"another store: after {SILENT_SECONDS:g} s without a sign of life it is dead, and the "
            "same call takes over."
        )

    def _silence(self) -> float:
        """Seconds since the owner renewed its lease, by the clock of the server."""
        probe = f"{self.key}.{self.token}"
        self.objects.write(probe, FREE)
        try:
            return self.objects.seconds(probe) - self.objects.seconds(self.key)
        except FileNotFoundError:
            return 0.0
        finally:
            self.objects.remove([probe])

    def _quiet(self) -> float:
        """Seconds since the lease was renewed, by the clocks of this process."""
        return max(now - then for now, then in zip(_clocks(), self._renewed, strict=True))

    def _renew(self) -> None:
        """Write the lease anew; a server that cannot be reached is tried again the next time."""
        with self._lock, contextlib.suppress(OSError):
            began = _clocks()
            try:
                self._version = self.objects.swap(self.key, self._owner(), self._version)
                self._renewed = began
            except Changed:
                self._taken_by = "another process"
                data, version = self.objects.read(self.key)
                if self._is_own(data):  # an earlier renewal, of which the answer was lost
                    self._version, self._renewed, self._taken_by = version, began, ""
                else:
                    self._taken_by = _name(data)

    def _is_own(self, data: bytes) -> bool:
        try:
            return json.loads(data)["token"] == self.token
        except (ValueError, KeyError, TypeError):
            return False

    def is_held(self) -> bool:
        """Whether somebody seems to hold it; clocks of two machines may differ."""
        try:
            data, _ = self.objects.read(self.key)
            seconds = time.time() - self.objects.seconds(self.key)
        except FileNotFoundError:
            return False
        return data != FREE and not _is_dead(data) and seconds < 2 * SILENT_SECONDS


def _clocks() -> tuple[float, float]:
    """The clock that never jumps, and one that goes on while the machine sleeps."""
    return time.monotonic(), time.time()


def _process() -> dict[str, Any]:
    """Name the own process, and what tells it from those that had or will have its number."""
    owner: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
    with contextlib.suppress(OSError):  # no Linux
        owner["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        owner["numbers"] = os.readlink("/proc/self/ns/pid")  # containers count their own processes
        owner["began"] = _state_and_start(os.getpid())[1]
    return owner


def _state_and_start(pid: int) -> tuple[str, str]:
    """How a process is, and when it began."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]


def _is_dead(data: bytes) -> bool:
    """Whether the owner certainly writes no more: a process of this machine, or a call of this."""
    try:
        owner, mine = json.loads(data), _process()
        pid = int(owner["pid"])
        if any(owner[name] != mine[name] for name in ("boot", "numbers")):
            return False
        os.kill(pid, 0)
        state, began = _state_and_start(pid)
        if pid == os.getpid() and began == owner["began"]:
            return owner["token"] not in _held
        return state in "ZX" or began != owner["began"]
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError):
        return False


def _name(data: bytes) -> str:
    """Name the owner of a lease."""
    try:
        owner = json.loads(data)
        seconds = max(0, round(time.time() - owner["since"]))
        return f"process {owner['pid']} on {owner['host']} for {seconds} s"
    except (ValueError, KeyError, TypeError):
        return "another process"
