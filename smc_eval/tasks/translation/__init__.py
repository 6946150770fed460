"""Multilingual translation: one net is trained on all directions at once and scored in each."""
