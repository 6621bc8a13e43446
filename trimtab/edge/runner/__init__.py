"""Trimtab at the edge: answers predictions of one model version, keeps each in a log on disk before its answer, and
hands the log to a gateway when one can be reached.

Needs Python 3.11 or newer, ONNX Runtime and NumPy. This package imports nothing of Trimtab: an edge bundle holds a copy
of it, and `python -m trimtab_edge` in the bundle's folder runs it.
"""

ROUTE = "edge"
"""What the log and the answers call the way by which a prediction was made."""
