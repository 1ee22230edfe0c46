"""The demonstration: real data, real processes, real failures, and a check of everything."""
