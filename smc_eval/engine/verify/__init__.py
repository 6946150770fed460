"""Verify: what the files of a checkpoint show of its sparsity, whatever wrote them, without its net."""
