"""Bars and reports in a notebook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import environment

RUN = Path(__file__).resolve().parents[1] / "docs" / "notebook.py"

COMPUTE = """
import mars, mars.remote as mr, time
with mars.progress("load"):
    mars.execute([mr.spawn(time.sleep, args=(0.2,)) for _ in range(4)])
"""
STALL = """
import dask, mars._stall
dask.config.set({"mars.stall-report": 0.2})
def stands_still():
    time.sleep(0.7)
mr.spawn(stands_still).execute()
"""


@pytest.fixture
def executed(tmp_path: Path) -> Any:
    """Runs cells in a kernel of their own, which is started and ended by a process that leaves no threads here."""
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient", reason="notebooks are run by nbclient")
    pytest.importorskip("ipykernel", reason="notebooks run on ipykernel")
    pytest.importorskip("tqdm")

    def run(*cells: str) -> list[list[dict[str, Any]]]:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
        path = tmp_path / "bars.ipynb"
        path.write_text(nbformat.writes(notebook), encoding="utf-8")
        folders = {name: str(tmp_path / name) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
        done = subprocess.run(
            [sys.executable, str(RUN), str(path)],
            env=environment(PYDEVD_DISABLE_FILE_VALIDATION="1", **folders),
            capture_output=True,
            text=True,
            timeout=55,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [cell["outputs"] for cell in json.loads(done.stdout)["cells"]]

    return run


def text_of(outputs: list[dict[str, Any]]) -> str:
    return "".join("".join(output.get("text", ())) for output in outputs)


def test_without_widgets_there_is_a_bar_of_text_and_no_warning(executed: Any):
    """And a stall is told by itself."""
    hide = "import sys; sys.modules['ipywidgets'] = None"
    _, bar, stall, default = executed(
        hide, COMPUTE, STALL, "dask.config.set({'mars.stall-report': None})\nmars._stall.wanted()"
    )
    assert "Warning" not in text_of(bar)
    assert "\x1b" not in text_of(bar)
    assert {output["name"] for output in bar} == {"stdout"}
    assert "4/4" in text_of(bar)
    assert "100%" in text_of(bar)
    assert "no task has finished for" in text_of(stall)
    assert "in stands_still: time.sleep(0.7)" in text_of(stall)
    assert default[0]["data"]["text/plain"] in ("30.0", ["30.0"])


def test_with_widgets_there_is_one_that_shows_how_it_ended(executed: Any):
    pytest.importorskip("ipywidgets")
    look = """
import gc
from tqdm.notebook import TqdmHBox
for box in [o for o in gc.get_objects() if type(o) is TqdmHBox]:
    left, bar, right = box.children
    print(left.value, bar.value, bar.max, bar.bar_style, right.value)
"""
    fail = """
try:
    with mars.progress("load"):
        mars.execute([mr.spawn(int)])
        mars.execute([mr.spawn(abs, args=("x",)), mr.spawn(int)])
except TypeError:
    pass
"""
    bar, shown, _, after = executed(COMPUTE, look, fail, look)
    assert "Warning" not in text_of(bar)
    assert any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in bar)
    assert "4.0 4.0 success" in text_of(shown)
    assert "danger" in text_of(after)
