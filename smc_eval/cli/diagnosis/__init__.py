"""What `smc-eval doctor` looks at: packages, machine, hub, plugins and store."""
