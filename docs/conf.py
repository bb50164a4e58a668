"""The documentation site: `make docs` builds it into docs/build/html, with every warning an error.

Static: no web fonts, no trackers, nothing fetched by the reader's browser. Formulas become MathML, which
browsers draw themselves.
"""

import sys
from pathlib import Path

import nonlin

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "nonlin"
author = "The nonlin authors"
copyright = "The nonlin authors, Apache-2.0"
version = release = nonlin.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "pages.mathml",
    "pages.docstrings",
    "pages.catalogue",
    "pages.command_line",
    "pages.interface",
]
exclude_patterns = ["build", "pages"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.header",  # a page that is read on its own may begin at any level
    "ref.python",  # "f : a name or a formula" in a docstring is English and no reference
]
default_role = "literal"

html_theme = "furo"
html_title = f"nonlin {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
html_show_sphinx = False
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# scikit-learn writes these into every estimator, with links into its own pages
autodoc_default_options = {"exclude-members": "set_score_request, set_fit_request, set_predict_request"}
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
