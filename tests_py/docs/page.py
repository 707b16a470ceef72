"""Run the code blocks of one page, in order and in one namespace, as a reader would.

    python tests_py/docs/page.py README.md

`python` blocks are executed, `pycon` blocks must show what they show. Line numbers
in tracebacks are those of the page. Prints how many blocks ran.
"""

from __future__ import annotations

import doctest
import re
import sys
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, int, str]]:
    """Language, first line and text of each block."""
    return [(m[1], page.count("\n", 0, m.start(2)), m[2]) for m in BLOCK.finditer(page)]


def run(path: Path) -> int:
    found = blocks(path.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    runner = doctest.DocTestRunner()
    for language, line, text in found:
        if language == "python":
            exec(compile("\n" * line + text, str(path), "exec"), names)
        else:
            test = doctest.DocTestParser().get_doctest(text, names, path.name, str(path), line)
            runner.run(test, clear_globs=False)
            names = test.globs
    if runner.failures:
        raise SystemExit(1)
    return len(found)


if __name__ == "__main__":
    print(run(Path(sys.argv[1])))
