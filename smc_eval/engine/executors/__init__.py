"""Where cells run: processes on this machine, SLURM jobs, Ray tasks."""
