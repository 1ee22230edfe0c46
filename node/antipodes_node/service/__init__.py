"""One method per operation: the only place that decides. Both doors call it."""
