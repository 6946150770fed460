"""The kernels of linear maps by name: dense, torch's tiles and, where numba is installed, compiled loops."""

from __future__ import annotations

from smc_eval.sparse.kernels.numba_products import NumbaProducts, has_numba
from smc_eval.sparse.kernels.products import DenseProducts, Products, TileProducts

MAP_KERNELS: dict[str, Products] = {"dense": DenseProducts(), "tiles": TileProducts()}
"""All kernels by the names that a store keeps."""

if has_numba():
    MAP_KERNELS["numba"] = NumbaProducts()

SPARSE_KERNELS = tuple(name for name in MAP_KERNELS if name != "dense")
"""Those that a question lets choose from."""
