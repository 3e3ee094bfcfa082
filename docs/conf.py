"""Configuration of Sphinx; `bash docs/build.sh` builds the pages."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import _api  # noqa: E402
import _mathml  # noqa: E402
import _tables  # noqa: E402

import sklearn_robust  # noqa: E402

# Written before Sphinx looks for pages.
_tables.write(DOCS / "generated" / "tables")
_api.write(DOCS / "generated" / "api.rst", sklearn_robust)

project = "sklearn_robust"
author = "The sklearn_robust developers"
copyright = "2026, the sklearn_robust developers"
version = release = sklearn_robust.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "gallery", "generated/tables", "requirements.txt"]
templates_path = ["_templates"]
default_role = "py:obj"
add_module_names = False
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

autosummary_generate = True
autodoc_typehints = "none"
autodoc_inherit_docstrings = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("sklearn_robust",),
    "download_all_examples": False,
    "min_reported_time": 0,
    "show_signature": False,
    "abort_on_example_error": True,
    "image_scrapers": ("matplotlib",),
    "reset_modules": ("matplotlib",),
    "capture_repr": ("_repr_html_",),  # a display shows its figure, not its name
    "within_subsection_order": "FileNameSortKey",
}

html_theme = "pydata_sphinx_theme"
html_title = f"sklearn_robust {version}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]
# Without pages beside it: an empty bar would take a quarter of its width.
html_sidebars = {"index": []}
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_center": ["licence"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "light"}


def _skip(app, what, name, member, skip, options):
    """Leave out what scikit-learn adds to every estimator: metadata routing and parameters."""
    return skip or name.startswith(("set_", "get_metadata")) or name == "get_params"


def _plain(app, what, name, obj, options, lines):
    """Take a link to scikit-learn's own pages out of the docstring of an inherited `score`."""
    lines[:] = [line.replace(":ref:`accuracy <accuracy_score>`", "accuracy") for line in lines]


def _resolve(app, env, node, contnode):
    """Resolve `sklearn_robust.name` to the sub-package where the name is documented."""
    target = node.get("reftarget", "")
    name = target.removeprefix("sklearn_robust.")
    if node.get("refdomain") != "py" or name not in sklearn_robust._PUBLIC:
        return None
    module = sklearn_robust._PUBLIC[name]
    own = module.startswith("_")  # such a name is documented as the package's
    node["reftarget"] = f"sklearn_robust.{name}" if own else f"sklearn_robust.{module}.{name}"
    domain = env.get_domain("py")
    docname = node.get("refdoc", env.docname)
    return domain.resolve_xref(
        env, docname, app.builder, node["reftype"], node["reftarget"], node, contnode
    )


def setup(app):
    app.add_html_math_renderer("mathml", _mathml.inline, _mathml.block)
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _plain)
    app.connect("missing-reference", _resolve)
