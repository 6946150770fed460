"""What to do next, and what it costs: plans, schedules and searches over cells; no net is touched."""
