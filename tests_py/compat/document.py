"""Show deselect.tsv in docs/dask-compat.md; with --check, only say whether it is shown.

python tests_py/compat/document.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from selection import deselections

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dask-compat.md"
BEGIN, END = "<!-- left out: begin -->", "<!-- left out: end -->"


def table() -> str:
    rows = deselections()
    lines = []
    for category in dict.fromkeys(category for category, _, _ in rows):
        lines += ["", f"### {category}", "", "| test | reason |", "| --- | --- |"]
        lines += [f"| `{pattern}` | {reason} |" for found, pattern, reason in rows if found == category]
    return "\n".join([BEGIN, *lines, "", END])


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN, 1)
    wanted = before + table() + rest.split(END, 1)[1]
    if "--check" in sys.argv[1:]:
        if wanted != page:
            print(f"{PAGE.name} does not show deselect.tsv: run tests_py/compat/document.py", file=sys.stderr)
        return int(wanted != page)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
