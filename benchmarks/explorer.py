"""How fast the explorer is in a real browser: first picture, slider to new curve, when idle.

`python -m benchmarks.explorer --out benchmarks/results/` (extras explore and browser, Chromium)
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, sync_playwright

import jaxscale as js
from benchmarks import machine

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SLIDERS = {  # of a system: the slider that moves
    "MultilinearSkills": "skill_exponent",
    "RandomFeatureRegression": "spectrum_exponent",
    "TeacherStudent": "frequency_exponent",
}
MOVES = 100
IDLE_SECONDS = 5.0
IS_DRAWN = """([name, n]) => {
  try { return Bokeh.documents[0].get_model_by_name(name).data.xs.length >= n }
  catch { return false }
}"""
MOVE = """async ([slider, name, moves]) => {
  const model = n => Bokeh.documents[0].get_model_by_name(n);
  const bar = model(slider), source = model(name), times = [];
  for (let i = 0; i < moves; i++) {
    await new Promise(done => setTimeout(done, 30));
    const began = performance.now();
    const drawn = new Promise((done, fail) => {
      const arrived = () => { source.properties.data.change.disconnect(arrived); done() };
      source.properties.data.change.connect(arrived);
      setTimeout(fail, 10000);
    });
    bar.value = 60 + (i * 37) % 120;
    await drawn;
    times.push(performance.now() - began);
  }
  return times;
}"""


@contextlib.contextmanager
def explored(source: str, cache: str) -> Iterator[tuple[str, int]]:
    """Address and process of `jaxscale explore SOURCE`."""
    command = [sys.executable, "-m", "jaxscale", "explore", source, "--no-browser"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": cache},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def measure(browser: Browser, source: str, curve: str, slider: str, cache: str) -> dict[str, Any]:
    """Seconds to the first picture, milliseconds of moves, and the idle share of a core."""
    began = time.perf_counter()
    with explored(source, cache) as (address, pid):
        page = browser.new_page()
        page.goto(address)
        page.wait_for_function(IS_DRAWN, arg=[curve, 1], timeout=120_000)
        result: dict[str, Any] = {"picture_seconds": time.perf_counter() - began}
        if slider:
            page.wait_for_timeout(3000)  # until curves are filled in
            times = page.evaluate(MOVE, [slider, curve, MOVES])
            result["move_ms"] = statistics.median(times)
            result["move_ms_90"] = sorted(times)[int(0.9 * len(times))]
        page.wait_for_timeout(2000)
        process = psutil.Process(pid)
        before = sum(process.cpu_times()[:2])
        time.sleep(IDLE_SECONDS)
        result["idle_share"] = (sum(process.cpu_times()[:2]) - before) / IDLE_SECONDS
        page.close()
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        sys.exit("needs Chromium")
    results: dict[str, Any] = {"machine": machine.about(), "moves": MOVES, "cases": {}}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        store = str(Path(folder, "sweep.zarr"))
        system = js.emergence.MultilinearSkills(n_steps=1000)
        js.run(js.Grid(system, axes={"learning_rate": [0.05, 0.1], "target_scale": [1.0, 2.0]},
                       seeds=5), store=store)  # fmt: skip
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        cases = {name: (name, "claimed loss", slider) for name, slider in SLIDERS.items()}
        cases["a sweep"] = (store, "curves 0", "")
        for name, case in cases.items():
            cache = str(Path(folder, name))
            entry = {"cold": measure(browser, *case, cache), "warm": measure(browser, *case, cache)}
            results["cases"][name] = entry
            print(name, json.dumps(entry), flush=True)
        browser.close()
    results["load_after"] = machine.load_average()
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "explorer.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
