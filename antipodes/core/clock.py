"""A hybrid logical clock: wall clock plus counter, never going back, merged on receipt.

A value is one integer: milliseconds since the Unix epoch, shifted left by 16 bits, plus a counter.
Source: Kulkarni et al., "Logical Physical Clocks" (2014); the bound on adoption is CockroachDB's.
"""

from antipodes.core import limits

COUNTER_BITS = 16


def from_ms(wall_ms: int) -> int:
    """Give the least clock value of a millisecond."""
    return wall_ms << COUNTER_BITS


def to_ms(hlc: int) -> int:
    """Give the millisecond of a clock value."""
    return hlc >> COUNTER_BITS


class HybridClock:
    """The clock of one node.

    Attributes:
        value: The last value issued or adopted; persisted with every write.
        drift_rejected: How often a received value was too far ahead to adopt.
    """

    __slots__ = ("drift_rejected", "value")

    def __init__(self, value: int = 0) -> None:
        self.value = value
        self.drift_rejected = 0

    def tick(self, now_ms: int) -> int:
        """Issue a value above all issued and adopted ones."""
        self.value = max(self.value + 1, now_ms << COUNTER_BITS)
        return self.value

    def issue_after(self, stored_hlc: int, now_ms: int) -> int:
        """Issue a value for a new version of an item.

        A write that has seen a version must beat it, even one whose clock ran far ahead; hence
        the result exceeds the stored value. Such a value is adopted only within the drift bound,
        so that one fast clock does not spread.

        Args:
            stored_hlc: Clock value of the version it replaces; 0 when there is none.
            now_ms: Wall clock.
        """
        issued = self.tick(now_ms)
        if stored_hlc >= issued:
            issued = stored_hlc + 1
            if self._acceptable(issued, now_ms):
                self.value = issued
        return issued

    def observe(self, received: int, now_ms: int) -> bool:
        """Merge a value from another region.

        Returns:
            False when it is more than `limits.DRIFT_MS_MAX` ahead of the wall clock and was left
            out; the data it came with is applied all the same.
        """
        if received <= self.value:
            return True
        if not self._acceptable(received, now_ms):
            self.drift_rejected += 1
            return False
        self.value = received
        return True

    @staticmethod
    def _acceptable(hlc: int, now_ms: int) -> bool:
        return (hlc >> COUNTER_BITS) - now_ms <= limits.DRIFT_MS_MAX
