"""Which r, d and placement score best among the designs that fit a budget.

Called so because ``bamsearch.search`` is the function: a module of that name would hide it.
"""
