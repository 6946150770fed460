"""Commonsense reasoning: a text encoder chooses the answer of a question among several choices."""
