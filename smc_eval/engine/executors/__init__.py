"""Executors: processes on this machine, SLURM jobs, Ray tasks."""
