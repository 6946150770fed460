"""Numerics of masks: which weights stay, how they are kept away, and the proof that they were.

Knows tensors; knows no task, plan, file or screen.
"""
