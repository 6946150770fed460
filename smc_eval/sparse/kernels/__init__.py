"""Kernels: products of matrices with many zeros, for speed alone."""
