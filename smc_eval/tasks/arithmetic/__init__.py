"""Arithmetic word problems: read a story with numbers in it, write the equation that answers it."""
