"""What colours of isochrones are wrong by."""
