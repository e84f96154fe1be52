"""Sphinx configuration: `sphinx-build -W --keep-going -n docs OUT` builds the site, offline."""

import gc
import sys
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]  # the package of this checkout, and `site_pages`

gc.set_threshold(200_000, 50, 50)  # a build makes many objects that live long

project = "jaxscale"
author = "The jaxscale developers"
copyright = author
version = release = installed("jaxscale")

extensions = ["myst_nb", "sphinx_design", "site_mathml", "site_pages", "site_theory_pages"]
exclude_patterns = [
    "_build",
    "_theory.md",
    "_made/_claims.md",
    "_made/_papers.md",
    "_made/_atlas.md",
    "_made/_accuracy_*.md",
    "_made/_mutation.md",
]
nitpicky = True
# Annotations name types of JAX, NumPy and xarray; the build is offline and has no inventories.
nitpick_ignore_regex = [("py:class", r"(?!jaxscale\.).*")]
add_module_names = False
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
nb_execution_mode = "off"  # committed outputs; CI executes the notebooks in a step of its own
nb_merge_streams = True

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"jaxscale {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(HERE / "search_scorer.js")
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#005a8c", "color-brand-content": "#005a8c"},
    "dark_css_variables": {"color-brand-primary": "#7cc4ee", "color-brand-content": "#7cc4ee"},
    "footer_icons": [],
}
html_last_updated_fmt = None
