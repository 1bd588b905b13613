"""The density of field stars in any plane, and whether the sample's stars are such."""
