"""Talking to the other regions: tails, and table changes that all make together."""
