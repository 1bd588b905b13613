"""Where a cluster's stars are: profiles, footprints, rings, segregation, shape."""
