"""How the tour looks: one line a stop, drawn as it ends, with colour on a terminal."""

from __future__ import annotations

import os
import shutil
from typing import TextIO

BAR = 20
WIDTH = 100  # of a line with its bar
EIGHTHS = " ▏▎▍▌▋▊▉█"
MARS, DIM, BOLD, GOOD, BAD = "38;5;209", "2", "1", "32", "1;31"


class View:
    """Prints to a stream; plain where it is no terminal, ASCII where it must be."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.live = out.isatty() and os.environ.get("TERM") != "dumb"
        self.colour = self.live and "NO_COLOR" not in os.environ
        self.unicode = (out.encoding or "").lower().replace("-", "") == "utf8"
        room = shutil.get_terminal_size((WIDTH, 24)).columns if self.live else WIDTH
        self.bars = self.unicode and room >= WIDTH

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def line(self, text: str = "") -> None:
        if not self.unicode:
            for fancy, plain in {"×": "x", "·": "-", "✓": "ok", "✗": "NO", "⋈": "and", "…": "...", "─": "-"}.items():
                text = text.replace(fancy, plain)
        self.out.write(("\r\x1b[2K" if self.live else "") + text + "\n")
        self.out.flush()

    def title(self, facts: str, how: str) -> None:
        self.line()
        self.line(f"  {self.paint('Dask on Mars', f'{BOLD};{MARS}')}  {self.paint(facts, DIM)}")
        self.line(f"  {self.paint(how, DIM)}")
        self.line()
        head = f"  {'':<10} {'':<31} {'tasks':>7} {'Dask':>9} {'Mars':>9}"
        if self.bars:
            head += f"  {'Mars, of Dask’s time':<{BAR}}"
        self.line(self.paint(head, DIM))

    def begun(self, collection: str, what: str) -> None:
        if self.live:
            self.out.write(f"  {collection:<10} {what:<31} {self.paint('…', DIM)}")
            self.out.flush()

    def skipped(self, collection: str, what: str, missing: list[str]) -> None:
        self.line(self.paint(f"  {collection:<10} {what:<31} skipped: needs {', '.join(missing)}", DIM))

    def visited(self, collection: str, what: str, tasks: int, dask: float, mars: float, agreed: bool) -> None:
        text = f"  {self.paint(f'{collection:<10}', BOLD)} {what:<31} {tasks:>7,} {seconds(dask):>9} "
        text += self.paint(f"{seconds(mars):>9}", MARS)
        if self.bars:
            text += f"  {self.bar(mars / dask)}"
        text += f" {self.paint(f'{times(dask, mars):>6}', BOLD)}  "
        text += self.paint("✓ same", GOOD) if agreed else self.paint("✗ DIFFERS", BAD)
        self.line(text)

    def bar(self, share: float) -> str:
        """Mars's part of Dask's time; what is left over was saved."""
        eighths = max(1, min(BAR * 8, round(share * BAR * 8)))
        full, rest = divmod(eighths, 8)
        done = "█" * full + (EIGHTHS[rest] if rest else "")
        return self.paint(done, MARS) + self.paint("·" * (BAR - len(done)), DIM)

    def summary(self, stops: int, differing: int, dask: float, mars: float) -> None:
        self.line()
        if differing:
            self.line(self.paint(f"  {differing} of {stops} answers differ from Dask's.", BAD))
        elif stops:
            same = self.paint(f"All {stops} answers are Dask's own.", GOOD)
            took = f"Dask {seconds(dask)}, Mars {seconds(mars)}: {times(dask, mars)} as fast."
            self.line(f"  {same}  {took}")
            self.line(self.paint("  Yours: x.compute(scheduler=mars_scheduler)", DIM))
        self.line()


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.0f} ms"


def times(dask: float, mars: float) -> str:
    ratio = dask / mars
    return f"{ratio:.0f}×" if ratio >= 9.95 else f"{ratio:.1f}×" if ratio < 0.95 or ratio > 1.05 else f"{ratio:.2f}×"
