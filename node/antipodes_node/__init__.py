"""The process that serves one region."""
