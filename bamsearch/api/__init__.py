"""The work of the commands profile, search, train, verify and audit from Python."""
