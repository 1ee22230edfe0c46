"""The seeded simulator: the project's own core over a simulated network, disk and clock."""
