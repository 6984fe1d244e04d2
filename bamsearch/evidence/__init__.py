"""What training says of the designs of a run: ``bamsearch verify``."""
