"""The contract for every registered method, built-in or installed as a plugin."""

from __future__ import annotations

from smc_eval.registry import registry
from smc_eval.testing import MethodContract

for name, method in registry().methods.items():
    title = "Test" + name.title().replace("-", "")
    globals()[title] = type(title, (MethodContract,), {"method": method(), "__module__": __name__})
