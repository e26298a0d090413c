"""Sphinx configuration. ``make docs`` builds the site into build/docs; warnings are errors."""

import os
import sys
import urllib.request
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent), str(DOCS.parent / "envs")]

from ardae_rl.version import __version__  # noqa: E402

project = "ardae-rl"
author = "The ardae-rl developers"
copyright = "The ardae-rl developers"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "results",
]
source_suffix = {".md": "myst-nb"}
exclude_patterns = ["_build"]
default_role = "code"
nitpicky = False

# Markdown
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 4
# Tutorials run where their outputs are wanted: `make tutorials`. The tests run them at small budgets in any case.
nb_execution_mode = os.environ.get("ARDAE_RL_TUTORIALS", "off")
nb_execution_timeout = 3600
nb_execution_raise_on_error = True
nb_merge_streams = True

# API reference
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"show-inheritance": False}
python_use_unqualified_type_names = True


def _escape(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep |x|, an absolute value, from being read as a substitution."""
    for index, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = line.split("`")
            parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
            lines[index] = "`".join(parts)


def setup(app: object) -> None:
    """Register the function above."""
    app.connect("autodoc-process-docstring", _escape)  # type: ignore[attr-defined]


# Links to other projects are resolved if their inventories can be had, and are plain text otherwise.
_OTHERS = {
    "python": "https://docs.python.org/3",
    "torch": "https://docs.pytorch.org/docs/stable",
    "gymnasium": "https://gymnasium.farama.org",
    "stable_baselines3": "https://stable-baselines3.readthedocs.io/en/master",
}


def _reachable() -> bool:
    """Return whether the sites can be reached; ``ARDAE_RL_OFFLINE=1`` spares the attempt."""
    if os.environ.get("ARDAE_RL_OFFLINE"):
        return False
    try:
        urllib.request.urlopen(f"{_OTHERS['python']}/objects.inv", timeout=5).close()
    except OSError as error:
        print(f"note: references to other projects are not linked, as their sites cannot be reached ({error})")
        return False
    return True


if _reachable():
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {name: (url, None) for name, url in _OTHERS.items()}
    intersphinx_timeout = 20

# Appearance
html_theme = "furo"
html_title = f"ardae-rl {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"
