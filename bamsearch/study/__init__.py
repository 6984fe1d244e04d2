"""Studies: the trials of a run, its workers, its database and its folder."""
