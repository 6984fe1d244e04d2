"""Scores of designs: zero-cost scores without training, listed in :mod:`.table`, and ``train``."""
