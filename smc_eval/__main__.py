"""`python -m smc_eval` runs the command `smc-eval`."""

from smc_eval.cli import main

if __name__ == "__main__":
    main()
