"""The example notebooks run from the start and show what they show."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import environment

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.ipynb"))
RUN = Path(__file__).with_name("notebook.py")


def shown(notebook: dict[str, Any]) -> list[Any]:
    """By code cell, what was printed and what came out, except where that depends on how fast the machine is."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [None if "varies" in cell["metadata"].get("tags", ()) else said(cell["outputs"]) for cell in cells]


def said(outputs: list[dict[str, Any]]) -> tuple[str, list[Any]]:
    printed = "".join(line for output in outputs for line in output.get("text", ()))
    return printed, [output["data"] for output in outputs if "data" in output]


# The kernel is started and ended by a process of its own, which leaves no threads here.
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_shows(notebook: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient", reason="notebooks are run by nbclient")
    pytest.importorskip("ipykernel", reason="notebooks run on ipykernel")
    folders = {name: str(tmp_path / name) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
    copy = shutil.copy(notebook, tmp_path)
    done = subprocess.run(
        [sys.executable, str(RUN), str(copy)],
        env=environment(PYDEVD_DISABLE_FILE_VALIDATION="1", **folders),
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stored = json.loads(notebook.read_text(encoding="utf-8"))
    assert shown(json.loads(done.stdout)) == shown(stored)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_it_ran(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(outputs not in (None, ("", [])) for outputs in shown(notebook)) >= 5
    text = json.dumps(notebook)
    assert str(Path.home()) not in text
    assert "/tmp/" not in text
