"""Tables in and out: columns, units, quality cuts, cross-matches, the sky."""
