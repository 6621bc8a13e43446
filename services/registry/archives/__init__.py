"""One version as an archive, to move between registries."""
