"""The documentation site: ``sphinx-build -W -c .sphinx . SITE_DIR`` in the repository's root."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pages_in_place

import sb3_ppo_variants

project = "sb3_ppo_variants"
version = release = sb3_ppo_variants.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.linkcode",
    "sphinx.ext.githubpages",
    "pages_in_place",
]

source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
include_patterns = ["*.md", ".sphinx/api/*.rst", *(f"{d}/**.md" for d in ("sb3_ppo_variants", "tuning", "zoo_configs"))]
include_patterns += ["tests/README.md"]

myst_heading_anchors = 6

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_mock_imports = ["rl_zoo3"]
maximum_signature_line_length = 100
linkcode_resolve = pages_in_place.source_of

html_theme = "furo"
html_title = f"sb3_ppo_variants {release}"
html_static_path = ["static"]
html_css_files = ["width.css"]
html_copy_source = False
html_show_copyright = False
