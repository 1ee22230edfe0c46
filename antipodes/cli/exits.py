"""Exit statuses. Scripts rely on them: a number is never given another meaning."""

OK = 0
FAILED = 1
"""A check did not hold, or something unforeseen happened."""
USAGE = 2
"""The command line is wrong (click's own status)."""
UNREACHABLE = 3
"""No node or router answered, or it could not serve the request now."""
REJECTED = 4
"""The request was refused; the message says what to change."""
NOT_STARTED = 5
"""A process refused to start; the message names the thing and the remedy."""
INTERRUPTED = 130
