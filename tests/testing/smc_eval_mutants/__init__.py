"""Mutants: methods, tasks and optimizers that are wrong on purpose, each in one way, and correct variants."""
