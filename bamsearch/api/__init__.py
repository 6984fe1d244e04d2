"""The work of the commands search, train, verify and audit from Python."""
