"""What training says: of scores (``audit``), and of the designs of a run (``verify``)."""
