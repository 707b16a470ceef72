"""What the tests of logging share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

Records = list[logging.LogRecord]


class Handler(logging.Handler):
    """Does something with every record, and lets nothing be caught for it."""

    def __init__(self, emit: Callable[[logging.LogRecord], Any]) -> None:
        super().__init__()
        self.emit = emit  # type: ignore[method-assign]


def messages(records: Records, name: str) -> list[str]:
    return [record.getMessage() for record in records if record.name == name]


def divide(x: Any) -> float:
    return 1 / x
