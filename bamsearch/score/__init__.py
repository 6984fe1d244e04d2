"""Scores: what a design may be worth, without training it. Which there are: :mod:`.table`."""
