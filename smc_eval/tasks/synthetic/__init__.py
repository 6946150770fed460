"""Small synthetic data in the official file formats: for trials and tests, never for results."""

from smc_eval.tasks.synthetic.folders import synthetic_folder

__all__ = ["synthetic_folder"]
