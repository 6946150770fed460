"""Benchmarks: one file or folder each. A task knows no mask, method, device or seed."""
