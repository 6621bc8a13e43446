"""Benchmarks: each prints the machine, its figures and the ratios. None of them is a timed test."""
