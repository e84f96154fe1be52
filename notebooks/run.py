"""Execute the notebooks from their text pairs: `python notebooks/run.py [--check] [NAME ...]`.

Writes every `NAME.ipynb` anew, with outputs; with `--check` nothing is written. Two run at a time.
Exits with 1 if a cell raises, or if a notebook takes more than a minute of CPU time, compilation
included.
"""

import argparse
import os
import resource
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

FOLDER = Path(__file__).resolve().parent
CPU_SECONDS = 60.0  # of one notebook; other work on the machine does not count
CELL_SECONDS = 240  # by the clock, against a cell that hangs
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(source: Path) -> nbformat.NotebookNode:
    """The notebook of a text pair with its outputs, run in an empty folder."""
    notebook = jupytext.read(source, fmt="py:percent")
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for i, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{i}", nbformat.NotebookNode()
        for output in cell.get("outputs", ()):
            if "metadata" in output:
                output.metadata = nbformat.NotebookNode()
    return notebook


def cpu_seconds() -> float:
    """CPU time of the kernels that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def execute(source: Path, check: bool) -> bool:
    """Execute a notebook, write it unless it is only checked, and tell whether it is sound."""
    before = cpu_seconds()
    try:
        notebook = executed(source)
    except (CellExecutionError, CellTimeoutError) as error:
        print(f"{source.stem}: {error}", file=sys.stderr)
        return False
    used = cpu_seconds() - before
    print(f"{source.stem}: {used:.0f} s of CPU time", flush=True)
    if used > CPU_SECONDS:
        print(f"{source.stem}: more than {CPU_SECONDS:.0f} s", file=sys.stderr)
    if not check:
        nbformat.write(notebook, source.with_suffix(".ipynb"))
    return used <= CPU_SECONDS


def main() -> int:
    """Execute the notebooks that are named, by default all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as 01_emergence")
    parser.add_argument("--check", action="store_true", help="execute only, write nothing")
    arguments = parser.parse_args()
    os.environ.pop("MPLBACKEND", None)  # figures are drawn into the notebook
    sources = [FOLDER / f"{name}.py" for name in arguments.names]
    sources = sources or sorted(FOLDER.glob("[0-9][0-9]_*.py"))
    with ProcessPoolExecutor(2) as pool:  # processes, so that each counts its own kernels
        sound = list(pool.map(execute, sources, repeat(arguments.check)))
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(main())
