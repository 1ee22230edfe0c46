"""The only reader of the wall clock; everything else takes the time as an argument."""

import time


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000
