"""Run a notebook from a clean copy, as a reader would.

    python tests_py/docs/notebook.py examples/remote.ipynb           prints it with its outputs
    python tests_py/docs/notebook.py --write examples/remote.ipynb   keeps them in it

Each cell has half a minute.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"


def executed(path: Path) -> Any:
    """The notebook with outputs of its own, and nothing in it that tells of the machine."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory() as folder:
        options = {"timeout": 30, "record_timing": False, "coalesce_streams": True}
        NotebookClient(notebook, resources={"metadata": {"path": folder}}, **options).execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.validate(notebook)
    return notebook


def without_widgets(notebook: Any) -> Any:
    """A widget lives with its kernel; what is left of it shows how it began."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", ())]
    return notebook


if __name__ == "__main__":
    where = Path(sys.argv[-1])
    ran = executed(where)
    if "--write" in sys.argv:
        where.write_text(nbformat.writes(without_widgets(ran)) + "\n", encoding="utf-8")
    else:
        sys.stdout.write(nbformat.writes(ran) + "\n")
