"""Probabilistic models of open star clusters on JAX."""

__version__ = "0.1.0"
