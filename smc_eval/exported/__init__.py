"""Exported folders: what `smc-eval export` writes, as it is read again. Nothing here needs a net."""
