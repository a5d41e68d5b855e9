"""Configuration of the documentation.

python -m sphinx -W --keep-going -b html doc doc/_build/html
"""

import sys
from dataclasses import is_dataclass
from datetime import date
from pathlib import Path

from docutils import nodes

import skdeltagrad

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import _architecture  # noqa: E402
import _choosing  # noqa: E402
import _inventories  # noqa: E402

project = "skdeltagrad"
author = "The skdeltagrad developers"
copyright = f"{date.today().year}, {author}"
version = release = skdeltagrad.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "myst_parser",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "sg_execution_times.rst"]
templates_path = ["_templates"]

# Markdown.

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Copy buttons leave out prompts and output.

copybutton_exclude = ".linenos, .gp, .go"

# API reference.

default_role = "py:obj"  # a link where there is something to link to
autosummary_generate = True
autodoc_typehints = "none"
# Lists of contents name a method `fit()`, not `DeltaGradRidge.fit()`.
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_validation_checks = {
    "PR01",  # parameters that are not documented
    "PR02",  # unknown parameters
    "PR03",  # wrong order
    "PR10",  # no space before the colon
    "RT01",  # no Returns section
    "SS01",  # no summary
    "SS03",  # summary does not end with a period
    "GL02",
    "GL03",
    "GL07",  # sections in the wrong order
}
# What is inherited from scikit-learn is validated there. What is returned is a data
# class in most cases, and has attributes, not parameters. Some methods refer to others.
RESULTS = [
    name
    for module in (skdeltagrad, skdeltagrad.certified, skdeltagrad.inspection)
    for name in module.__all__
    if is_dataclass(getattr(module, name))
]
numpydoc_validation_exclude = {
    r"\.(densify|sparsify|score|predict\w*|decision_function)$",
    rf"\.({'|'.join(RESULTS)}|Trajectory|History|Utility)\b",
    r"\.(plan_unfit|plan_unlearn|RollingWindow\.partial_fit)$",
}

# Links to other projects.

intersphinx_timeout = 5
intersphinx_mapping = _inventories.mapping(HERE / "generated" / "inventories")

# Gallery.

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"[/\\]plot_",
    "ignore_pattern": r"(^|[/\\])quickstart\.py$",
    "subsection_order": [
        "../examples/first_steps",
        "../examples/editing",
        "../examples/inspecting",
    ],
    "within_subsection_order": "_gallery.ExampleOrder",
    "abort_on_example_error": True,
    "doc_module": "skdeltagrad",
    "backreferences_dir": "generated/backreferences",
    "inspect_global_variables": False,
    "show_memory": False,
    "remove_config_comments": True,
    "matplotlib_animations": False,
    "image_srcset": ["2x"],
    "thumbnail_size": (640, 440),
}

# Looks.

html_theme = "pydata_sphinx_theme"
html_title = "skdeltagrad"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
PAGES_WITHOUT_SIDEBAR = ("index", "changelog")
html_sidebars = {page: [] for page in PAGES_WITHOUT_SIDEBAR}
html_theme_options = {
    "logo": {"text": "skdeltagrad"},
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "navbar_persistent": ["search-button"],  # the field does not fit beside the links
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}


def without_signature(app, what, name, obj, *_):
    """Results are not made by users: what they consist of is in their attributes."""
    return ("", None) if what == "class" and is_dataclass(obj) else None


def without_last_lines(app, doctree):
    """Remove the empty line that ends a doctest from the code that readers see."""
    for block in doctree.findall(nodes.literal_block):
        text = block.astext().rstrip("\n")
        block.rawsource = text
        block[:] = [nodes.Text(text)]


def setup(app):
    """Hooks: pictures that every build draws again, signatures, and code."""
    app.connect("builder-inited", _architecture.draw)
    app.connect("builder-inited", _choosing.draw)
    app.connect("autodoc-process-signature", without_signature)
    app.connect("doctree-read", without_last_lines)
