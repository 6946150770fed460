"""Twins: small synthetic data in the official file formats, for trials and tests, never for results."""

from smc_eval.tasks.synthetic.folders import twin

__all__ = ["twin"]
