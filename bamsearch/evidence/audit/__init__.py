"""``bamsearch audit``: how well scores rank designs, compared with training."""
