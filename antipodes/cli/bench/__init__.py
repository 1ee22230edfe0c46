"""The benchmark: each figure beside the bare limit of the same run."""
