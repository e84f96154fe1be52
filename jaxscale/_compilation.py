"""How programs are compiled: `keep_compiled` on disk, for the next process; quickly, if brief."""

import contextlib
import functools
import hashlib
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import jax
import platformdirs
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from jaxscale._arguments import hinted
from jaxscale._warn import warn_user

MOST_BYTES = 2_000_000_000
SHORTEST_COMPILATION = 0.05  # seconds; what compiles faster is not worth a file


@hinted
def keep_compiled(folder: str | Path | None = None, max_bytes: int = MOST_BYTES) -> Path | None:
    """Keep compiled programs on disk, so that the next process need not compile them again.

    This is JAX's persistent compilation cache, of this whole process, with a bounded size and small
    programs included; the command line uses it unless it gets `--no-cache`. Several processes
    may share a folder. A folder that JAX was given already (`JAX_COMPILATION_CACHE_DIR`) is used
    as it is, unless `folder` names another one; where JAX's cache is off
    (`JAX_ENABLE_COMPILATION_CACHE=false`), nothing is kept.

    **Arguments**

    - `folder`: where the programs are kept; by default the user's cache folder, apart for every
      kind of processor.
    - `max_bytes`: of all files, when this is called; those that were used longest ago go first.

    **Returns** the folder, or None if it cannot be written to (a warning) or JAX's cache is off.

    **Raises** `ValueError` for a folder that is a file or no path, or bytes that are not positive.

    **Example**

    ```python
    js.keep_compiled()  # before the first run
    ```
    """
    if not isinstance(folder, str | Path | None) or folder == "":
        raise ValueError(f"`folder` must be a path or None, got {folder!r}.")
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
        raise ValueError(f"`max_bytes` must be a positive integer, got {max_bytes!r}.")
    if not jax.config.jax_enable_compilation_cache:  # pyright: ignore
        return None
    if folder is not None and Path(folder).is_file():
        raise ValueError(f"`folder` must be a folder, got the file {str(folder)!r}.")
    configured = compiled_folder()
    if folder is None and configured is not None:
        return configured
    try:
        path = _default_folder() if folder is None else Path(folder).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, RuntimeError) as error:  # RuntimeError: `~` of an unknown user
        warn_user(
            f"compiled programs are not kept on disk ({error}); choose a folder that can be "
            "written to with JAX_COMPILATION_CACHE_DIR, or use --no-cache."
        )
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    _prune(path, max_bytes)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST_COMPILATION)
    reset_cache()  # JAX decides at its first compilation whether it keeps any
    return path


def _prune(folder: Path, max_bytes: int) -> None:
    """Delete what was used longest ago until the rest fits.

    JAX does this by itself (`jax_compilation_cache_max_size`) only where filelock is installed.
    """
    files = []
    for file in folder.iterdir():
        with contextlib.suppress(OSError):  # another process deletes, too
            if file.is_file():
                files.append((file.stat().st_atime, file.stat().st_size, file))
    total = 0
    for _, size, file in sorted(files, reverse=True):
        total += size
        if total > max_bytes:
            with contextlib.suppress(OSError):
                file.unlink()


def compiled_folder() -> Path | None:
    """Folder in which JAX keeps compiled programs, if it does."""
    configured = jax.config.jax_compilation_cache_dir  # pyright: ignore
    used = configured and jax.config.jax_enable_compilation_cache  # pyright: ignore
    return Path(configured) if used else None


def _default_folder() -> Path:
    """The user's cache folder; programs for a CPU only run on CPUs with the same instructions."""
    features = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                features.append(line)
                break
    kind = hashlib.sha256(os.fsencode(" ".join(features))).hexdigest()[:12]
    folder = platformdirs.user_cache_path("jaxscale")
    if not folder.is_absolute():
        raise OSError("there is no home folder")
    return folder / "compiled" / kind


@functools.cache
def quick_options() -> dict[str, Any]:
    """XLA's options for what is computed briefly on a CPU; cached, and not to be changed.

    Its older emitters and its optimization level 2 compile in .4 to .8 of the time. Those are left
    out that XLA no longer has, and those that `XLA_FLAGS` chooses.
    """
    options = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 2}
    chosen = os.environ.get("XLA_FLAGS", "")
    return {n: v for n, v in options.items() if n not in chosen and _takes({n: v})}


def _takes(options: dict[str, Any]) -> bool:
    """Whether XLA knows these options."""
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
