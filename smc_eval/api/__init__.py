"""The suite as Python functions: evaluate, load, prune, and a callback for transformers' Trainer."""
