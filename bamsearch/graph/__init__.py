"""From a model's name to a network with BAM in it."""
