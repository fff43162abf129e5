"""Searches over what `core` trains; the only package that imports Optuna."""
