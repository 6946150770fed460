"""What was asked: the run's configuration, and the cells it is multiplied into."""
