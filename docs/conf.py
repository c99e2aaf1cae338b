"""How Sphinx builds this site: ``sphinx-build -W --keep-going docs docs/_build``; fetches nothing."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from pyrovae import __version__

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "pyrovae"
version = release = __version__
extensions = ["myst_parser", "registry", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
toc_object_entries = False

# Equations. This one file of MathJax 3.2.2 draws them as SVG, so that not even a font is loaded: pages show
# them without a network and when they are opened as files. Its menu would offer what other files hold.
_mathjax = find_spec("sphinx-mathjax-offline")
assert _mathjax is not None, "pip install '.[docs]'"
assert _mathjax.origin is not None
MATHJAX = Path(_mathjax.origin).parent / "static" / "mathjax" / "tex-svg-full.js"
mathjax_path = MATHJAX.name
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"scale": 0.9}}
myst_enable_extensions = ["dollarmath"]

python_maximum_signature_line_length = 100
autodoc_typehints_format = "short"
autodoc_type_aliases = {alias: alias for alias in ("Array", "ArrayLike", "Checkpoint")}
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "__init__, __new__"}

html_theme = "furo"
html_title = "pyrovae"
html_static_path = ["_static", str(MATHJAX)]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#9a3412", "color-brand-content": "#9a3412"},
    "dark_css_variables": {"color-brand-primary": "#fdba74", "color-brand-content": "#fdba74"},
}
