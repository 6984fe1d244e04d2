"""``bamsearch verify``: whether the best design of a search helps."""
