"""One contract over every registered method, ours and whatever else is installed."""

from __future__ import annotations

from smc_eval.registry import registry
from smc_eval.testing import MethodContract

for name, method in registry().methods.items():
    title = "Test" + name.title().replace("-", "")
    globals()[title] = type(title, (MethodContract,), {"method": method(), "__module__": __name__})
