"""How Sphinx builds the book: `nox -s docs`."""

import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

# Guides about several devices run on eight of one machine's processor.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Without Graphviz, graphs are shown as text (_kernel/sitecustomize.py).
if shutil.which("dot") is None:
    path = [str(HERE / "_kernel"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))

project = "Batiste"
author = "The Batiste authors"
copyright = f"2026, {author}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "api",
    "cell_tabs",
    "docstrings",
    "downloads",
    "inventories",
    "long_lines",
    "mathml",
    "references",
    "signatures",
]
exclude_patterns = ["_build", "_inventories", "_kernel"]
root_doc = "index"

# Guides: Markdown notebooks, run at each change; a cell that fails fails the build.
nb_execution_mode = "cache"
nb_execution_cache_path = os.environ.get(
    "BATISTE_DOCS_CACHE", str(HERE / "_build" / "jupyter")
)
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
# Nothing is fetched from other hosts, neither scripts nor fonts.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3

# Docstrings: Google sections; a name in single backticks is linked where it has a page.
default_role = "py:obj"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_attr_annotations = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_display_short_literal_types = True
python_maximum_signature_line_length = 88

# Every reference into Batiste is checked (_ext/references.py says what it leads to).
# Those of annotations into other packages, and words in single backticks that are no
# names, are not.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!batiste\.).*")]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = "Batiste"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["batiste.css"]
html_copy_source = True
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {
        "color-brand-primary": "#1c5d99",
        "color-brand-content": "#1c5d99",
        "color-code-background": "#f4f6f8",
    },
    "dark_css_variables": {
        "color-brand-primary": "#8ec5ff",
        "color-brand-content": "#8ec5ff",
        "color-code-background": "#1e2126",
    },
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
