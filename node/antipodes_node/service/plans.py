"""What an operation gives when it needs the writer: writes, and how to answer for them."""

from collections.abc import Callable
from typing import NamedTuple

from antipodes.core.replication import Write, WriteOutcome, WriteRequested

EMPTY = b"{}"


class Planned(NamedTuple):
    """Writes that passed every check that needs no transaction, and how to answer for them.

    Attributes:
        writes: What to write.
        answer: Prints the answer from what became of the writes.
        transaction: As in `WriteRequested`.
        once: As in `WriteRequested`.
    """

    writes: tuple[Write, ...]
    answer: Callable[[tuple[WriteOutcome, ...]], bytes]
    transaction: bool = False
    once: tuple[str, bytes] | None = None

    @property
    def event(self) -> WriteRequested:
        """What is to happen."""
        return WriteRequested(self.writes, transaction=self.transaction, once=self.once)
