"""Every code block of the README and the documentation runs and shows what it shows."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mars.contrib.dask

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=50, check=False
    )


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```py" in page.read_text(encoding="utf-8")], ids=lambda p: p.name
)
def test_every_block_of_a_page_runs(page: Path) -> None:
    done = run("-W", "error", Path(__file__).with_name("page.py"), page)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1]) == page.read_text(encoding="utf-8").count("```py")


def test_a_block_that_fails_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for block in ("```pycon\n>>> 1 + 1\n3\n\n```\n", "```python\nassert False\n```\n"):
        page.write_text(block, encoding="utf-8")
        assert run(Path(__file__).with_name("page.py"), page).returncode != 0


def test_the_package_docstring_runs() -> None:
    outcome = doctest.testmod(mars.contrib.dask)
    assert outcome.attempted > 3
    assert outcome.failed == 0


def test_every_make_target_that_is_named_exists() -> None:
    pages = [*PAGES, ROOT / "CONTRIBUTING.md", *ROOT.glob("*/README.md"), ROOT / "tests_py" / "compat" / "README.md"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    named = set(re.findall(r"^\s*make ([a-z][a-z-]*)", text, re.MULTILINE))
    assert {"demo", "test"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_the_compatibility_page_shows_what_is_left_out() -> None:
    done = run(ROOT / "tests_py" / "compat" / "document.py", "--check")
    assert done.returncode == 0, done.stderr
