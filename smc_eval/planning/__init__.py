"""Planning: stages to run, their cost, schedules, and searches for a sparsity. No net is built."""
