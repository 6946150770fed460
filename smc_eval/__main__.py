"""`python -m smc_eval` is `smc-eval`."""

from smc_eval.cli import main

if __name__ == "__main__":
    main()
