"""From a prior and a mixture of densities to posterior and evidence."""
