"""The search space of a model: what may be tried, what it costs, and which designs are feasible."""
