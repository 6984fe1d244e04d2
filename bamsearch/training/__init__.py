"""Train networks: recipes, training loop, checkpoints. Requires the extra ``train``."""
