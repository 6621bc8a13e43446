"""Smaller graphs of versions: how they are made, what they lose, and where they are kept."""
