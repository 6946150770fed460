"""Files on disk: atomic writes, checksums, and leases for one process at a time."""
