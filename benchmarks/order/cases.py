"""All cases, in the order of the table."""

from . import arrays, frames, plain
from .registry import CASES

__all__ = ["CASES", "arrays", "frames", "plain"]
