"""A single stellar population in the colour-magnitude plane: isochrones, masses, binaries."""
