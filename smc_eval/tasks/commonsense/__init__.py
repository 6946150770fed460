"""Commonsense reasoning: questions with choices, of which a text encoder picks one."""
