"""BAM, its cost and its attention maps. No imports here: the cost must not load torch."""
