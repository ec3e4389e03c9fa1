"""The process manager in a world of its own: virtual time, scripted providers, workers that die, stores that fail."""
