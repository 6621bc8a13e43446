"""The registry on the real broker."""
