"""Gaussian densities of noisy stars: the one kernel, mixtures of densities, the stars."""
