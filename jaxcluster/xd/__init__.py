"""Extreme deconvolution: the mixture of Gaussians that noise has blurred."""

from jaxcluster.xd.deconvolution import Fit, fit, log_likelihood, membership, parameters_of

__all__ = ["Fit", "fit", "log_likelihood", "membership", "parameters_of"]
