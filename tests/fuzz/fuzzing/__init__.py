"""Random wrong input for smc-eval, and a check of what it accepts."""
