"""Trains and evaluates one configuration; knows nothing of searches, of plots, of Optuna."""
