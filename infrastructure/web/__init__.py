"""The HTTP API: requests into commands and queries, and their outcomes back into responses."""
