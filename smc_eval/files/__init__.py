"""Files on disk: whole or absent, known by their digest, leased to one process at a time."""
