"""The kernels of linear maps by name: dense, torch's tiles and, where numba is installed, compiled loops."""

from __future__ import annotations

from smc_eval.sparse.kernels.numba_products import NumbaProducts, is_installed
from smc_eval.sparse.kernels.products import DenseProducts, Products, TileProducts

KERNELS: dict[str, Products] = {"dense": DenseProducts(), "tiles": TileProducts()}
"""All kernels by the names that a store keeps."""

if is_installed():
    KERNELS["numba"] = NumbaProducts()

SPARSE_KERNELS = tuple(name for name in KERNELS if name != "dense")
"""Those that a question lets choose from."""
