"""Every code block of the README, of the documentation and of the docstrings runs and shows what it shows."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import mars.contrib.dask
import mars.remote

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
MODULES = [mars, mars.session, mars.remote, mars.contrib.dask]


def docstrings(modules: list[ModuleType]) -> dict[str, str | None]:
    """By name, the docstring of each module, of what it exports, and of their public methods and properties.

    doctest's own finder passes over what is written in Rust.
    """
    found: dict[str, str | None] = {}
    seen: set[int] = set()
    for module in modules:
        found[module.__name__] = module.__doc__
        for name in module.__all__:
            value = getattr(module, name)
            if id(value) in seen or not callable(value):
                continue
            seen.add(id(value))
            found[f"{module.__name__}.{name}"] = value.__doc__
            if isinstance(value, type):
                for attribute, member in vars(value).items():
                    if not attribute.startswith("_") and (callable(member) or hasattr(member, "__get__")):
                        found[f"{module.__name__}.{name}.{attribute}"] = member.__doc__
    return found


DOCSTRINGS = docstrings(MODULES)


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


@pytest.mark.parametrize("name", [name for name, text in DOCSTRINGS.items() if text and ">>>" in text])
def test_every_docstring_runs(name: str) -> None:
    text = DOCSTRINGS[name]
    assert text
    module = max((module.__name__ for module in MODULES if name.startswith(module.__name__)), key=len)
    names = dict(vars(sys.modules[module]))  # as doctest has it
    test = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    outcome = doctest.DocTestRunner().run(test)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_all_that_is_public_has_a_docstring() -> None:
    assert {"mars.remote.spawn", "mars.remote.Object.fetch_log", "mars.Session.stop"} <= DOCSTRINGS.keys()
    assert [name for name, text in DOCSTRINGS.items() if not text] == []


def test_every_make_target_that_is_named_exists() -> None:
    pages = [*PAGES, ROOT / "CONTRIBUTING.md", *ROOT.glob("*/README.md"), ROOT / "tests_py" / "compat" / "README.md"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    named = set(re.findall(r"^\s*make ([a-z][a-z-]*)", text, re.MULTILINE))
    assert {"demo", "test"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_the_compatibility_page_shows_what_is_left_out() -> None:
    done = run(ROOT / "tests_py" / "compat" / "document.py", "--check")
    assert done.returncode == 0, done.stderr
