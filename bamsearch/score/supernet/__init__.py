"""A supernet: one network that shares its weights among all designs of a space.

``space`` says what it must be able to become, ``options`` how it is trained and scored, ``plan``
both with the designs that are feasible. ``slot`` is the BAM of a site at every r and d; ``network``
chooses a design, and copies one out; ``step`` and ``train`` train it; ``trained`` is the result,
which ``scoring`` makes a score.
"""
