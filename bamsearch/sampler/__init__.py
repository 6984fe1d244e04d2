"""Samplers: which design next, as functions of the seed and the finished trials."""
