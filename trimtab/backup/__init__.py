"""A whole installation in a folder, and back: databases, artifacts, consumer offsets."""
