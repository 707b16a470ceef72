"""Why a computation failed: what is known of the task, and running it again."""

from mars._failure._engine import attach, capture, keeps_inputs
from mars._failure._failure import Failure
from mars._failure._replay import failure, replay

__all__ = ["Failure", "attach", "capture", "failure", "keeps_inputs", "replay"]
