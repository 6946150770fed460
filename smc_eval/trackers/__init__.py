"""Trackers: where the values of running cells are shown beside those of other programs, a file for each."""
