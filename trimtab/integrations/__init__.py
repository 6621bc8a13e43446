"""Trimtab inside a user's own application."""
