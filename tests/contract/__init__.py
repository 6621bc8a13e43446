"""Suites that hold for every backend."""
