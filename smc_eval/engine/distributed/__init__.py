"""Several ranks compute one cell: launch, communication, and sharded nets."""
