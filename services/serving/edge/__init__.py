"""Predictions that were made at the edge come in: `POST /mlops/predictions`."""
