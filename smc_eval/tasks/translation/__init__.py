"""Multilingual translation: one net trained on all directions at once, scored in each."""
