"""Check an installed wheel: simulation and theory agree."""

from pathlib import Path

import jaxscale as js

assert "site-packages" in js.__file__, js.__file__
assert Path(js.__file__).with_name("py.typed").exists()  # type checkers read its annotations
runs = js.run(js.Grid(js.emergence.MultilinearSkills(n_skills=5, n_steps=100), seeds=2))
theory = js.predict(js.Grid(js.emergence.MultilinearSkills(n_skills=5, n_steps=100)))
difference = float(abs(runs.loss - theory.loss).max())
assert difference < 0.01, difference
print("wheel: simulation and theory agree to", difference)
