"""One file per provider, found by its one word here, in the tests and in settings."""
