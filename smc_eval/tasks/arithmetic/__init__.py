"""Arithmetic word problems: a net reads a question with numbers and writes the equation that answers it."""
