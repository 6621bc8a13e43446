"""Keeping what is stored whole and no more than that: verification, signatures, retention, garbage."""
