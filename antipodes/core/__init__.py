"""Pure logic: no clock, disk, network or randomness of its own."""
