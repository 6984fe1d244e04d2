"""Training a network on a data set: recipes, the loop, checkpoints. Needs the extra train."""
