"""Numerics of masks: which weights stay, how zeros are kept, and measures of a pruned net.

Works on tensors; imports nothing about tasks, plans, files or the screen.
"""
