"""Proteins: how much heat they bear, told from their sequences alone."""
