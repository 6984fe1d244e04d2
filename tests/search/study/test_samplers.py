"""Whatever proposes: it fits, is new, and depends on the seed and what has finished alone."""

import random
from itertools import islice

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from bamsearch.errors import InvalidValueError
from bamsearch.sampler.basic_samplers import RandomSampler
from bamsearch.sampler.optuna_sampler import distributions, encoding_of, params_of
from bamsearch.space.feasible import feasible
from bamsearch.study.samplers import SAMPLERS, FeasibleSampler, make_sampler

PROPOSERS = ["gp", "tpe", "nsga2", "random"]


def a_score(encoding) -> float:
    return random.Random(str(encoding)).random()


def some_sets(toys, number):
    """Feasible sets of a few to some hundred designs, with one or two budgets."""
    sets = []
    for seed in range(1000):
        space = toys.random_space(seed, required=seed % 2 == 0)
        budgets = toys.random_budgets(seed, space, 1 + seed % 2)
        fitting = toys.brute_force(space, budgets)
        if 4 <= len(fitting) <= 400:
            sets.append((feasible(space, budgets), set(fitting)))
        if len(sets) == number:
            return sets
    raise AssertionError


def a_large_set(toys):
    spaces = (toys.random_space(seed) for seed in range(100))
    return next(
        fitting for fitting in (feasible(s, []) for s in spaces) if 60 < fitting.count < 300
    )


@pytest.mark.parametrize("name", PROPOSERS)
def test_every_proposal_fits_and_is_new(toys, name):
    for seed, (feasible_set, fitting) in enumerate(some_sets(toys, 8)):
        sampler = make_sampler(name, feasible_set, ("score",), seed)
        generator = random.Random(seed)
        observed, excluded = [], set()
        while (encoding := sampler.suggest(observed, excluded)) is not None and len(excluded) < 25:
            assert encoding in fitting
            assert encoding not in excluded
            assert not feasible_set.space.inserts_nothing(encoding)
            excluded.add(encoding)
            if generator.random() < 0.8:
                observed.append((encoding, a_score(encoding)))
        if encoding is None:
            # nothing else is left
            assert {p for p in fitting if not feasible_set.space.inserts_nothing(p)} == excluded


@pytest.mark.parametrize("name", PROPOSERS)
def test_a_proposal_depends_on_what_has_finished_alone(toys, name):
    """One that has seen all, and one that is created for each proposal."""
    feasible_set = a_large_set(toys)
    sampler = make_sampler(name, feasible_set, ("score",), 3)
    nothing = feasible_set.space.encoding(())
    # the base, and a design that was not proposed, as the search's first ones are
    observed = [(nothing, 0.5), (feasible_set.largest(), a_score(feasible_set.largest()))]
    excluded = {feasible_set.largest()}
    for number in range(24):
        encoding = sampler.suggest(observed, excluded)
        for _ in range(2):
            fresh = make_sampler(name, feasible_set, ("score",), 3)
            assert fresh.suggest(observed, excluded) == encoding
        excluded.add(encoding)
        if number % 4 != 2:  # failed
            observed.append((encoding, a_score(encoding)))


@pytest.mark.parametrize("name", ["tpe", "nsga2", "gp"])
def test_scores_matter_and_so_does_the_seed(toys, name):
    feasible_set = a_large_set(toys)

    def proposed(seed, sign):
        sampler, observed = make_sampler(name, feasible_set, ("score",), seed), []
        for _ in range(30):
            encoding = sampler.suggest(observed, {encoding for encoding, _ in observed})
            observed.append((encoding, sign * a_score(encoding)))
        return [encoding for encoding, _ in observed]

    assert proposed(0, 1) != proposed(1, 1)
    assert proposed(0, 1) != proposed(0, -1)


def test_finishing_out_of_order_loses_nothing(toys):
    """As with several workers: earlier trials finish after later ones."""
    feasible_set = a_large_set(toys)
    for name in PROPOSERS:
        sampler = make_sampler(name, feasible_set, ("score",), 0)
        running, observed, excluded = [], [], set()
        generator = random.Random(0)
        for _ in range(40):
            encoding = sampler.suggest(observed, excluded)
            if encoding is None:
                break
            assert encoding not in excluded
            excluded.add(encoding)
            running.append(encoding)
            if len(running) == 4:
                ended = running.pop(generator.randrange(4))
                observed.insert(generator.randrange(len(observed) + 1), (ended, a_score(ended)))


@pytest.mark.parametrize("name", PROPOSERS)
def test_in_any_study_of_optuna(toys, name):
    (feasible_set, fitting) = some_sets(toys, 3)[2]
    space = feasible_set.space
    count = len([encoding for encoding in fitting if not space.inserts_nothing(encoding)])
    proposed = []

    def objective(trial: optuna.Trial) -> float:
        labels = {
            choice.name: trial.suggest_categorical(
                choice.name, [option.label for option in choice.options]
            )
            for choice in space.choices
        }
        proposed.append(encoding_of(space, labels))
        if len(proposed) == 2:
            raise optuna.TrialPruned
        return a_score(proposed[-1])

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize",
        sampler=FeasibleSampler(make_sampler(name, feasible_set, ("score",), 0), space),
    )
    study.optimize(objective, n_trials=min(count, 20))
    assert set(proposed) <= fitting
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert len({str(t.params) for t in complete}) == len(complete)


def test_all_are_proposed_and_then_none(toys):
    feasible_set = feasible(toys.random_space(1), [])
    space = feasible_set.space
    study = optuna.create_study(
        sampler=FeasibleSampler(make_sampler("random", feasible_set, ("score",), 0), space)
    )
    for _ in range(feasible_set.count - 1):
        study.tell(study.ask(distributions(space)), 0.0)
    with pytest.raises(InvalidValueError, match="all feasible designs have been proposed"):
        study.ask(distributions(space))


def test_trials_that_are_not_designs_are_passed_over(toys):
    """Of another thread that has set only some parameters, or of another space."""
    feasible_set = a_large_set(toys)
    space = feasible_set.space
    sampler = FeasibleSampler(make_sampler("random", feasible_set, ("score",), 0), space)
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
    encoding = sampler.suggest(study.get_trials())
    assert encoding is not None
    assert encoding_of(space, params_of(space, encoding)) == encoding


def test_random_order_has_each_design_once_and_is_uniform(toys):
    feasible_set = feasible(toys.random_space(1), [])
    space = feasible_set.space
    first: dict[tuple[int, ...], int] = {}
    for seed in range(600):
        order = list(RandomSampler(feasible_set, seed).order())
        assert len(order) == len(set(order)) == feasible_set.count - 1
        first[order[0]] = first.get(order[0], 0) + 1
        assert not space.inserts_nothing(order[0])
    expected = 600 / (feasible_set.count - 1)
    # five standard deviations
    assert all(abs(n - expected) < 5 * expected**0.5 for n in first.values())
    assert len(first) == feasible_set.count - 1


def test_a_longer_random_search_begins_as_a_shorter_one(toys):
    feasible_set = a_large_set(toys)
    ten = list(islice(RandomSampler(feasible_set, 7).order(), 10))
    assert list(islice(RandomSampler(feasible_set, 7).order(), 20))[:10] == ten


def test_unknown_samplers(toys):
    feasible_set = feasible(toys.random_space(1), [])
    with pytest.raises(InvalidValueError, match="no sampler is called 'cma'"):
        make_sampler("cma", feasible_set, ("score",), 0)
    for name in SAMPLERS:
        make_sampler(name, feasible_set, ("score",), 0, score="params")
    with pytest.raises(InvalidValueError, match="sampler sorted needs score params or macs"):
        make_sampler("sorted", feasible_set, ("score",), 0, score="snip")


@pytest.mark.parametrize(("score", "cost"), [("params", "params"), ("macs", "macs")])
def test_sorted_designs_come_from_the_most_expensive_down_those_with_d_4_first(toys, score, cost):
    for seed, (feasible_set, fitting) in enumerate(some_sets(toys, 12)):
        choices = feasible_set.space.choices

        def total(encoding, name, choices=choices):
            chosen = [c.options[n] for c, n in zip(choices, encoding, strict=True)]
            return sum(getattr(option, name) for option in chosen)

        def dilation(choice, reduction):
            """4 where it is an option, else the first."""
            dilations = [o.dilation for o in choice.options if o.reduction == reduction]
            return 4 if 4 in dilations else dilations[0]

        def unusual(encoding, choices=choices, dilation=dilation):
            return any(
                c.options[n].dilation != dilation(c, c.options[n].reduction)
                for c, n in zip(choices, encoding, strict=True)
            )

        sampler = make_sampler("sorted", feasible_set, ("score",), seed, score=score)
        order, excluded = [], set()
        while (encoding := sampler.suggest([], excluded)) is not None:
            order.append(encoding)
            excluded.add(encoding)
        assert set(order) == {p for p in fitting if not feasible_set.space.inserts_nothing(p)}
        assert len(order) == len(excluded)
        keys = [(unusual(p), -total(p, cost), total(p, "macs")) for p in order]
        assert keys == sorted(keys)
        if score == "params" and not feasible_set.space.inserts_nothing(feasible_set.largest()):
            assert total(order[0], "params") == total(feasible_set.largest(), "params")
