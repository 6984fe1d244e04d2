"""The default way to propose designs: a Gaussian process over the feasible set.

A proposal is a function of the feasible set, the seed, and what was observed and excluded, so that
a resumed search goes on as if nothing had happened. What is kept between proposals only saves
working it out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from bamsearch.search.acquire import Rows, candidates, log_expected_improvement
from bamsearch.search.choices import Picks
from bamsearch.search.feasible import Feasible, Listed
from bamsearch.search.kernel import Floats, Kernel
from bamsearch.search.posterior import (
    Posterior,
    Weights,
    likely_weights,
    prior_weights,
    standardise,
)

FIRST = 3
ONE_BY_ONE = 100
GROWTH = 1.0 / 16
CONDITIONED = 500
FITTED = 150
class GPProposer:
    def __init__(self, feasible, objectives=("score",), *, seed=0):
        self.feasible=feasible; self.objectives=tuple(objectives); self.seed=seed
        self.kernel=Kernel(feasible)
    def propose(self, observed, excluded):
        n=len(observed)
        rng=np.random.default_rng([self.seed,n])
        empty=tuple(0 for _ in self.feasible.space.choices)
        table=np.array([p for p,_ in observed],dtype=np.int8).reshape(n,len(empty))
        codes=self.kernel.codes(table)
        y=standardise(np.array([s for _,s in observed]))
        w=likely_weights(self.kernel,codes,y) if n>=FIRST else prior_weights(self.kernel)
        self.w=w
        if n:
            post=Posterior(self.kernel,w,codes,y)
            best=post.predict(codes)[0].max()
            def value(rows):
                m,s=post.predict(self.kernel.codes(rows))
                return log_expected_improvement(m,s,best)
            starts=table[np.argsort(-y,kind="stable")[:8]]
            starts=starts[self.feasible.which_fit(starts)]
        else:
            rows=self.feasible.sample(rng,1); return tuple(int(v) for v in rows[0])
        rows,values=candidates(self.feasible,rng,starts,value)
        order=np.argsort(-np.round(values,9),kind="stable")
        for i in order:
            p=tuple(int(v) for v in rows[i])
            if p not in excluded and p!=empty: return p
        return None
