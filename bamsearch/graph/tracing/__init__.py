"""Tracing: the graph of a network, and what can be traced."""
