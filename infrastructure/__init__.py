"""Everything that touches the outside: database, providers, blobs, web, command line."""
