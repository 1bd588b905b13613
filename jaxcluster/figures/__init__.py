"""One file a figure, in one style."""
