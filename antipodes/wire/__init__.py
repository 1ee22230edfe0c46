"""Between the core and protobuf, and nothing else."""
