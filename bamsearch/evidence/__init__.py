"""Evidence from training: about scores (``audit``) and about a run's designs (``verify``)."""
