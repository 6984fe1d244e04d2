"""Searches for the r, d and placement with the best score within a budget.

The package is not called ``search`` because it would hide the function ``bamsearch.search``.
"""
