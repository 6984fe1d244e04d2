"""Whatever proposes: it fits, is new, and depends on the seed and what has finished alone."""

import random
from itertools import islice

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from bamsearch.errors import InvalidValueError
from bamsearch.searching.fitting import feasible
from bamsearch.searching.params import distributions, params_of, picks_of
from bamsearch.searching.proposers import RandomProposer
from bamsearch.searching.samplers import SAMPLERS, FeasibleSampler, make_proposer

PROPOSERS = ["gp", "tpe", "nsga2", "random"]


def a_score(picks) -> float:
    return random.Random(str(picks)).random()


def some_sets(toys, number):
    """Feasible sets of a few to some hundred designs, with one or two budgets."""
    found = []
    for seed in range(1000):
        space = toys.random_space(seed, required=seed % 2 == 0)
        budgets = toys.random_budgets(seed, space, 1 + seed % 2)
        fitting = toys.brute_force(space, budgets)
        if 4 <= len(fitting) <= 400:
            found.append((feasible(space, budgets), set(fitting)))
        if len(found) == number:
            return found
    raise AssertionError


def a_large_set(toys):
    spaces = (toys.random_space(seed) for seed in range(100))
    return next(found for found in (feasible(s, []) for s in spaces) if 60 < found.count < 300)


@pytest.mark.parametrize("sampler", PROPOSERS)
def test_every_proposal_fits_and_is_new(toys, sampler):
    for seed, (found, fitting) in enumerate(some_sets(toys, 8)):
        proposer = make_proposer(sampler, found, ("score",), seed)
        generator = random.Random(seed)
        observed, excluded = [], set()
        while (picks := proposer.propose(observed, excluded)) is not None and len(excluded) < 25:
            assert picks in fitting
            assert picks not in excluded
            assert not found.space.inserts_nothing(picks)
            excluded.add(picks)
            if generator.random() < 0.8:
                observed.append((picks, a_score(picks)))
        if picks is None:
            # nothing else is left
            assert {p for p in fitting if not found.space.inserts_nothing(p)} == excluded


@pytest.mark.parametrize("sampler", PROPOSERS)
def test_a_proposal_depends_on_what_has_finished_alone(toys, sampler):
    """One that has seen all, and one that is made anew each time."""
    found = a_large_set(toys)
    kept = make_proposer(sampler, found, ("score",), 3)
    nothing = found.space.picks(())
    # the base, and a design that was not proposed, as the search's first ones are
    observed = [(nothing, 0.5), (found.largest(), a_score(found.largest()))]
    excluded = {found.largest()}
    for number in range(24):
        picks = kept.propose(observed, excluded)
        for _ in range(2):
            fresh = make_proposer(sampler, found, ("score",), 3)
            assert fresh.propose(observed, excluded) == picks
        excluded.add(picks)
        if number % 4 != 2:  # failed
            observed.append((picks, a_score(picks)))


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp"])
def test_scores_matter_and_so_does_the_seed(toys, sampler):
    found = a_large_set(toys)

    def proposed(seed, sign):
        proposer, observed = make_proposer(sampler, found, ("score",), seed), []
        for _ in range(30):
            picks = proposer.propose(observed, {one for one, _ in observed})
            observed.append((picks, sign * a_score(picks)))
        return [picks for picks, _ in observed]

    assert proposed(0, 1) != proposed(1, 1)
    assert proposed(0, 1) != proposed(0, -1)


def test_finishing_out_of_order_loses_nothing(toys):
    """As with several workers: earlier trials finish after later ones."""
    found = a_large_set(toys)
    for sampler in PROPOSERS:
        proposer = make_proposer(sampler, found, ("score",), 0)
        running, observed, excluded = [], [], set()
        generator = random.Random(0)
        for _ in range(40):
            picks = proposer.propose(observed, excluded)
            if picks is None:
                break
            assert picks not in excluded
            excluded.add(picks)
            running.append(picks)
            if len(running) == 4:
                ended = running.pop(generator.randrange(4))
                observed.insert(generator.randrange(len(observed) + 1), (ended, a_score(ended)))


@pytest.mark.parametrize("sampler", PROPOSERS)
def test_in_any_study_of_optuna(toys, sampler):
    (found, fitting) = some_sets(toys, 3)[2]
    space = found.space
    count = len([picks for picks in fitting if not space.inserts_nothing(picks)])
    proposed = []

    def objective(trial: optuna.Trial) -> float:
        labels = {
            choice.name: trial.suggest_categorical(
                choice.name, [option.label for option in choice.options]
            )
            for choice in space.choices
        }
        proposed.append(picks_of(space, labels))
        if len(proposed) == 2:
            raise optuna.TrialPruned
        return a_score(proposed[-1])

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize",
        sampler=FeasibleSampler(make_proposer(sampler, found, ("score",), 0), space),
    )
    study.optimize(objective, n_trials=min(count, 20))
    assert set(proposed) <= fitting
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert len({str(t.params) for t in complete}) == len(complete)


def test_all_are_proposed_and_then_none(toys):
    found = feasible(toys.random_space(1), [])
    space = found.space
    study = optuna.create_study(
        sampler=FeasibleSampler(make_proposer("random", found, ("score",), 0), space)
    )
    for _ in range(found.count - 1):
        study.tell(study.ask(distributions(space)), 0.0)
    with pytest.raises(InvalidValueError, match="all feasible designs have been proposed"):
        study.ask(distributions(space))


def test_trials_that_are_no_designs_are_passed_over(toys):
    """Of another thread that has set only some parameters, or of another space."""
    found = a_large_set(toys)
    space = found.space
    sampler = FeasibleSampler(make_proposer("random", found, ("score",), 0), space)
    study = optuna.create_study(sampler=sampler)
    first = space.choices[0]
    label = first.options[0].label
    some = {first.name: label}
    study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params=some,
            distributions={first.name: distributions(space)[first.name]},
        )
    )
    other = optuna.distributions.CategoricalDistribution(["r99 d99"])
    study.add_trial(
        create_trial(
            value=1.0,
            params={choice.name: "r99 d99" for choice in space.choices},
            distributions={choice.name: other for choice in space.choices},
        )
    )
    study.add_trial(create_trial(value=1.0))
    picks = sampler.propose(study.get_trials())
    assert picks is not None
    assert picks_of(space, params_of(space, picks)) == picks


def test_random_order_has_each_design_once_and_is_uniform(toys):
    found = feasible(toys.random_space(1), [])
    space = found.space
    first: dict[tuple[int, ...], int] = {}
    for seed in range(600):
        order = list(RandomProposer(found, seed).order())
        assert len(order) == len(set(order)) == found.count - 1
        first[order[0]] = first.get(order[0], 0) + 1
        assert not space.inserts_nothing(order[0])
    expected = 600 / (found.count - 1)
    # five standard deviations
    assert all(abs(n - expected) < 5 * expected**0.5 for n in first.values())
    assert len(first) == found.count - 1


def test_a_longer_random_search_begins_as_a_shorter_one(toys):
    found = a_large_set(toys)
    ten = list(islice(RandomProposer(found, 7).order(), 10))
    assert list(islice(RandomProposer(found, 7).order(), 20))[:10] == ten


def test_unknown_samplers(toys):
    found = feasible(toys.random_space(1), [])
    with pytest.raises(InvalidValueError, match="no sampler is called 'cma'"):
        make_proposer("cma", found, ("score",), 0)
    for sampler in SAMPLERS:
        make_proposer(sampler, found, ("score",), 0, score="params")
    with pytest.raises(InvalidValueError, match="sampler sorted needs score params or macs"):
        make_proposer("sorted", found, ("score",), 0, score="snip")


@pytest.mark.parametrize(("score", "cost"), [("params", "params"), ("macs", "macs")])
def test_sorted_designs_come_from_the_most_expensive_down_those_with_d_4_first(toys, score, cost):
    for seed, (found, fitting) in enumerate(some_sets(toys, 12)):
        choices = found.space.choices

        def total(picks, name, choices=choices):
            chosen = [c.options[n] for c, n in zip(choices, picks, strict=True)]
            return sum(getattr(option, name) for option in chosen)

        def dilation(choice, reduction):
            """4 where it is an option, else the first."""
            dilations = [o.dilation for o in choice.options if o.reduction == reduction]
            return 4 if 4 in dilations else dilations[0]

        def unusual(picks, choices=choices, dilation=dilation):
            return any(
                c.options[n].dilation != dilation(c, c.options[n].reduction)
                for c, n in zip(choices, picks, strict=True)
            )

        proposer = make_proposer("sorted", found, ("score",), seed, score=score)
        order, excluded = [], set()
        while (picks := proposer.propose([], excluded)) is not None:
            order.append(picks)
            excluded.add(picks)
        assert set(order) == {p for p in fitting if not found.space.inserts_nothing(p)}
        assert len(order) == len(excluded)
        keys = [(unusual(p), -total(p, cost), total(p, "macs")) for p in order]
        assert keys == sorted(keys)
        if score == "params" and not found.space.inserts_nothing(found.largest()):
            assert total(order[0], "params") == total(found.largest(), "params")
