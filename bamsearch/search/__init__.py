"""Search: which r, d and placement score best among the designs that fit a budget."""
