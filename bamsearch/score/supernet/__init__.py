"""A supernet: one network that shares its weights among all designs of a space.

``space`` says what it must be able to become, ``options`` how it is trained and scored; ``slot`` is
the BAM of a site at every r and d; ``network`` chooses a design, and copies one out; ``step`` and
``train`` train it; ``scoring`` makes it a score.
"""
