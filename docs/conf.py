"""Sphinx configuration: MyST pages, the Furo theme, and reference pages made from the package itself."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "openmetering"
author = "the openmetering contributors"
copyright = author
version = release = installed_version("openmetering")

extensions = ["myst_parser", "tables", "commands", "api", "machines", "usecases", "rest", "configuration", "rules"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext", "reference/generated/_*"]

# Every cross reference must lead somewhere; `make docs` turns a warning into an error.
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"openmetering {version}"
html_show_copyright = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
pygments_style = "friendly"
pygments_dark_style = "monokai"
