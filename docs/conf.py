"""How the site is built: ``make docs``. Every notebook is executed, every warning is an error."""

import logging
import os
import sys
from functools import partialmethod
from importlib import metadata
from pathlib import Path

from nbclient import NotebookClient

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project, author, version = "rltoolkit", "the rltoolkit authors", metadata.version("rltoolkit")
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "mathml",  # formulas without a script, and without network
    "generated",  # pages that are made from the code
]
exclude_patterns = ["_build", "tutorials/sweep", "**/.ipynb_checkpoints"]  # the sweep is one of a tutorial
nitpicky = False  # types of torch and its kind have no page here
suppress_warnings = ["ref.python"]  # a Run that trains and a Run that was read: each module's own is found first

myst_enable_extensions = ["amsmath", "attrs_inline", "deflist", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
# MyST-NB begins a line with every piece of a command's output, so they are joined before it sees them
NotebookClient.__init__ = partialmethod(NotebookClient.__init__, coalesce_streams=True)
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # their python is this one
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the notebooks: models this small wait for each other
os.environ.setdefault("COLUMNS", "100")
os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")  # tqdm would like widgets, of which a page has none
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
logging.getLogger("traitlets").setLevel(logging.ERROR)  # a line for every notebook

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_use_rtype = False

html_theme = "furo"
html_title = "rltoolkit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sourcelink = False
html_show_sphinx = False
html_domain_indices = False  # a list of modules says nothing that the reference does not
copybutton_prompt_text = "$ "
