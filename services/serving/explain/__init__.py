"""Explanations: why a version answered as it did, and which features matter to it. Off the hot path.

Two sides, and messages between them (`wire.py`):

- In the serving process: `api.py` and `importance_api.py` (routes), `explainer.py` (the bounded queue),
  `importances.py` (global importance, computed once and kept in the artifact store), `process.py` (the child's life).
- In one child process a replica: `child.py`, which opens the version's graph itself (`subject.py`) and attributes its
  outputs to its inputs by a `method.Method`: `shapley.py` or `lime.py`.

Only the child imports shap and what comes with it (numba, scikit-learn, pandas): 260 MB that the serving process never
holds.
"""
