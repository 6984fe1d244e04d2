"""BAM itself and its cost. Imports nothing: the cost is needed where torch is not loaded."""
