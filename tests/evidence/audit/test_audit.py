"""A whole audit on small digits: trainings, resuming and the answer."""

import json
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bamsearch.api.search import search
from bamsearch.errors import (
    DataError,
    DivergedError,
    InvalidValueError,
    OutputError,
    RunError,
    ScoreError,
)
from bamsearch.evidence.audit import run as audit_run
from bamsearch.evidence.audit import trainings as audit_trainings
from bamsearch.evidence.audit.folder import AuditFolder, audit_difference, folder_of
from bamsearch.evidence.audit.request import AuditRequest, plan_audit
from bamsearch.evidence.audit.run import run_audit, with_analysis
from bamsearch.evidence.audit.trainings import estimate_audit, missing
from bamsearch.evidence.audit.verdict import (
    default_score,
    draw_sentences,
    trained_sentences,
    verdict,
)
from bamsearch.records import Agreement, Audit, Effect
from bamsearch.records.audit_files import read_audit, read_trainings
from bamsearch.score.scorer import make_scorer
from bamsearch.score.table import DEFAULT_SCORE
from bamsearch.score.trained import train_once
from bamsearch.training.progress import SILENT, TrainingView

NETS = Path(__file__).parents[2] / "training" / "nets.py"
SCORES = ("naswot", "macs")
COMMITTED = Path(__file__).parents[3] / "reports" / "audit" / "fashion-mnist-light"


KILLED = """
import os, signal, sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from bamsearch.evidence.audit.request import AuditRequest, plan_audit
from bamsearch.evidence.audit.run import run_audit
from bamsearch.training.progress import TrainingView

started, seen = [], []

class Killing(TrainingView):
    def train(self, title, recipe):
        started.append(title)
        seen.clear()
        return nullcontext(self.watch)

    def watch(self, progress):
        seen.append(progress)
        # In the middle of the second training, with a step behind it.
        if len(started) == 2 and len(seen) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

planned = plan_audit(
    AuditRequest(
        sys.argv[1],
        "digits",
        designs=8,
        seeds=2,
        epochs=1,
        score_seeds=3,
        scores=("naswot", "macs"),
        device="cpu",
        output=sys.argv[2],
    )
)
run_audit(replace(planned, recipe=planned.recipe.changed(batch_size=256)), Killing())
"""


def asked(**others):
    usual = {"model": f"{NETS}:small", "data": "digits", "designs": 8, "seeds": 2, "epochs": 1}
    usual |= {"score_seeds": 3}
    return plan_audit(AuditRequest(**(usual | {"scores": SCORES, "device": "cpu"} | others)))


def run_in(folder, planned, view=SILENT, **options) -> Audit:
    """The audit, run in a folder."""
    request = replace(planned.request, **options)
    return run_audit(replace(planned, folder=folder, request=request), view)


@pytest.fixture(scope="module")
def planned():
    plan = asked()
    # Five steps an epoch.
    return replace(plan, recipe=plan.recipe.changed(batch_size=256))


@pytest.fixture(scope="module")
def whole(planned, tmp_path_factory):
    """The folder of an audit that was not interrupted."""
    folder = AuditFolder(tmp_path_factory.mktemp("audit") / "small")
    run_in(folder, planned)
    return folder.path


def record(folder) -> Audit:
    return Audit.from_json((folder / "audit.json").read_text())


def results(folder) -> tuple[object, str, str]:
    """All that is on disk but names, the date and seconds."""
    audit = replace(record(folder), name="", created="")
    rows = [replace(training, seconds=0.0) for training in read_trainings(folder)[0]]
    return audit, str(rows), (folder / "scores.json").read_text()


def test_each_line_is_what_one_training_gives_seed_by_seed(planned, whole):
    rows, _ = read_trainings(whole)
    sample = [design.insertions for design in planned.audit.designs]
    assert [(row.seed, row.insertions) for row in rows] == [
        (seed, insertions) for seed in (0, 1) for insertions in sample
    ]
    design = planned.audit.design(planned.audit.designs[3].insertions)
    alone = train_once(design, planned.data, planned.recipe, seed=1)
    row = rows[len(sample) + 3]
    assert (row.right, row.images, row.curve) == (alone.right, 176, alone.curve)
    assert not (whole / "train").exists()


def test_the_record_has_accuracies_scores_and_correlations(planned, whole):
    audit = record(whole)
    rows, _ = read_trainings(whole)
    assert audit.scores == ("naswot", "params", "macs")
    for index, design in enumerate(audit.designs):
        assert design.accuracies == (rows[index].percent, rows[index + 8].percent)
        assert design.scores["params"] == (design.params,)
        assert design.scores["macs"] == (design.macs,)
        assert len(design.scores["naswot"]) == 3
    for seed in range(3):
        scorer = make_scorer("naswot", audit.summary, num_classes=10, seed=seed)
        recorded = audit.designs[2].scores["naswot"][seed]
        assert recorded == scorer(audit.design(audit.designs[2].insertions))
    inserted = [design for design in audit.designs if design.insertions]
    assert len(inserted) == 7
    mean = [np.mean(design.accuracies) for design in inserted]
    for name in ("naswot", "params", "macs"):
        draws = np.array([design.scores[name] for design in inserted])
        ranks = stats.rankdata(draws, axis=0).mean(axis=1)
        expected = stats.spearmanr(ranks, mean).statistic
        recorded = audit.agreement(name, "space", "rho")
        assert recorded.value == pytest.approx(expected, abs=1e-4)
        assert recorded.designs == 7
        assert recorded.draws == draws.shape[1] == (3 if name == "naswot" else 1)
    each = [
        stats.kendalltau([design.scores["naswot"][s] for design in inserted], mean)
        for s in range(3)
    ]
    taus = [tau.statistic for tau in each]
    recorded = audit.agreement("naswot", "space")
    assert recorded.one_draw == pytest.approx(np.mean(taus), abs=1e-4)
    assert recorded.draw_sd == pytest.approx(np.std(taus, ddof=1), abs=1e-4)
    # Two seeds: each is held against the other, which is what a seed of another is too.
    pair = stats.kendalltau(
        *zip(*(design.accuracies for design in inserted), strict=True)
    ).statistic
    for name in ("train", "another seed"):
        assert audit.agreement(name, "space").value == pytest.approx(pair, abs=1e-4)
    assert audit.ceiling("space").designs == 7
    assert audit.verdict


def test_no_seed_is_held_against_itself(audit):
    first = (1.0, 2.0, 3.0, 4.0, 5.0)
    designs = tuple(
        replace(
            audit.designs[1],
            accuracies=(value, 7 - value * value, third),
            in_band=False,
            scores={"params": (value,)},
        )
        for value, third in zip(first, (0.0, 9.0, 0.0, 9.0, 1.0), strict=True)
    )
    analysed = with_analysis(replace(audit, designs=designs, seeds=(0, 1, 2)))
    columns = np.array([design.accuracies for design in designs]).T
    expected = np.mean(
        [
            stats.kendalltau(columns[s], np.delete(columns, s, 0).mean(axis=0)).statistic
            for s in range(3)
        ]
    )
    assert analysed.agreement("train", "space").value == pytest.approx(expected, abs=1e-4)
    pairs = [
        stats.kendalltau(columns[i], columns[j]).statistic for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    assert analysed.agreement("another seed", "space").value == pytest.approx(
        np.mean(pairs), abs=1e-4
    )


def test_stopped_anywhere_it_ends_the_same(planned, whole, tmp_path, monkeypatch):
    folder = AuditFolder(tmp_path / "cut")
    folder.path.mkdir()
    lines = (whole / "trainings.jsonl").read_text().splitlines(keepends=True)
    (folder.path / "trainings.jsonl").write_text("".join(lines[:10]))
    titles = []

    class Cutting(TrainingView):
        @contextmanager
        def train(self, title, recipe):
            titles.append(title)
            seen = []

            def interrupt(progress):
                seen.append(progress)
                # Before the first step, and in the middle of a training.
                if len(titles) == 2 and len(seen) == calls:
                    raise KeyboardInterrupt

            yield interrupt

    for stop in (1, 2):
        calls = stop
        titles.clear()
        with pytest.raises(KeyboardInterrupt):
            run_in(folder, planned, Cutting())
        assert not record(folder.path).finished
        with open(folder.path / "trainings.jsonl", "ab") as file:
            file.write(b'{"design": [["3", 4')
    assert len(read_trainings(folder.path)[0]) == 12
    run_in(folder, planned)
    assert results(folder.path) == results(whole)
    before = (folder.path / "audit.json").read_bytes()
    monkeypatch.setattr(audit_trainings, "train_once", lambda *a, **k: pytest.fail("trained"))
    run_in(folder, planned)
    assert (folder.path / "audit.json").read_bytes() == before


def test_killed_and_run_again(planned, whole, preloaded, tmp_path):
    folder = AuditFolder(tmp_path / "killed")
    folder.path.mkdir()
    lines = (whole / "trainings.jsonl").read_text().splitlines(keepends=True)
    (folder.path / "trainings.jsonl").write_text("".join(lines[:13]))
    line = [preloaded / "python", "-c", KILLED, f"{NETS}:small", str(folder.path)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(read_trainings(folder.path)[0]) == 14
    run_in(folder, planned)
    assert results(folder.path) == results(whole)


def test_trainings_that_were_done_elsewhere_are_taken(planned, whole, tmp_path):
    folder = AuditFolder(tmp_path / "other")
    folder.path.mkdir()
    lines = (whole / "trainings.jsonl").read_text().splitlines(keepends=True)
    (folder.path / "trainings.jsonl").write_text("".join(reversed(lines[2:])))
    assert [job.index for job in missing(planned.audit, folder)] == [0, 1]
    run_in(folder, planned)
    assert replace(record(folder.path), name="") == replace(record(whole), name="")


ORPHAN = """
import os, signal
from bamsearch.evidence.audit import trainings
context = trainings._process_context()
process = context.Process(target=trainings._watch_stop, args=(context.Event(),))
process.start()
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_its_processes_end_when_it_is_killed(preloaded):
    line = [preloaded / "python", "-c", ORPHAN]
    # Its process holds stdout: what never ends is a timeout.
    done = subprocess.run(line, stdout=subprocess.PIPE, timeout=900)
    assert done.returncode == -signal.SIGKILL
    process = Path("/proc", done.stdout.decode().strip())
    end = time.monotonic() + 900
    while process.exists():
        assert time.monotonic() < end, "it goes on"
        time.sleep(0.1)


def test_a_process_of_its_own_gives_the_same(planned, whole, tmp_path):
    jobs = missing(planned.audit, None)[2:4]
    # One process, as each loads torch again; --jobs is the number of processes.
    done = list(audit_trainings._in_processes(planned, tmp_path, jobs, 1))
    assert [job for job, _ in done] == jobs
    expected = read_trainings(whole)[0][2:4]
    assert [replace(training, seconds=0) for _, training in done] == [
        replace(training, seconds=0) for training in expected
    ]


def test_more_score_seeds_are_added_and_fewer_take_none_away(planned, whole, tmp_path, monkeypatch):
    folder = AuditFolder(Path(shutil.copytree(whole, tmp_path / "more")))
    before = json.loads((whole / "scores.json").read_text())
    asked_seeds = []

    def counted(name, *args, seed, **others):
        asked_seeds.append((name, seed))
        return make_scorer(name, *args, seed=seed, **others)

    monkeypatch.setattr(audit_run, "make_scorer", counted)
    monkeypatch.setattr(audit_trainings, "train_once", lambda *a, **k: pytest.fail("trained"))
    command = "bamsearch audit --score-seeds 5"
    more = replace(planned, audit=replace(planned.audit, score_seeds=5, command=command))
    audit = run_in(folder, more)
    assert asked_seeds == [("naswot", 3), ("naswot", 4)]
    assert (audit.score_seeds, audit.command) == (5, command)
    assert audit.agreement("naswot", "space").draws == 5
    after = json.loads((folder.path / "scores.json").read_text())
    assert after["naswot"][:3] == before["naswot"]
    assert (len(after["naswot"]), after["macs"]) == (5, before["macs"])
    assert run_in(folder, planned) == audit


def test_an_audit_of_one_draw_says_so(planned, whole, tmp_path):
    folder = AuditFolder(Path(shutil.copytree(whole, tmp_path / "once")))
    for name in ("audit.json", "scores.json"):
        (folder.path / name).unlink()
    once = replace(planned, audit=replace(planned.audit, score_seeds=1))
    audit = run_in(folder, once)
    agreement = audit.agreement("naswot", "space")
    assert (agreement.draws, agreement.one_draw, agreement.draw_sd) == (1, None, None)
    # The first of the three draws of the other audit.
    first = [design.scores["naswot"][:1] for design in record(whole).designs]
    assert [design.scores["naswot"] for design in audit.designs] == first
    assert not [line for line in audit.remarks if "draw" in line]
    # The record of an older bamsearch has no field of draws, and a number for each score.
    old = json.loads(audit.to_json())
    del old["score_seeds"]
    assert type(old["designs"][0]["scores"]["naswot"]) is float
    for agreement in old["agreements"]:
        for key in ("draws", "one_draw", "draw_sd"):
            del agreement[key]
    assert Audit.from_json(json.dumps(old)) == record(folder.path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seeds": 3}, "was made with `seeds` 2, not 3"),
        ({"epochs": 2}, "`epochs` 1, not 2"),
        ({"seed": 1}, "`seed` 0, not 1"),
        ({"budgets": {"params": "+90%"}}, r"`budget_params` none, not \+90%"),
        ({"scores": ("snip",)}, "`scores` naswot, params, macs, not snip, params"),
        ({"init": "identity"}, "`init` paper, not identity"),
    ],
)
def test_another_request_is_refused_by_its_first_difference(whole, change, says):
    with pytest.raises(RunError, match=says):
        run_in(AuditFolder(whole), asked(**change))


def test_trainings_of_something_else_are_refused(planned, whole, tmp_path):
    folder = AuditFolder(tmp_path / "odd")
    folder.path.mkdir()
    shutil.copy(whole / "trainings.jsonl", folder.path)
    with pytest.raises(RunError, match="line 9 has seed 1 that was not requested"):
        run_in(folder, replace(planned, audit=replace(planned.audit, seeds=(0, 7))))
    (folder.path / "trainings.jsonl").write_text(
        '{"design": [["3", 5, 1]], "seed": 0, "diverged": true}\n'
    )
    with pytest.raises(RunError, match="line 1 has a design that was not requested"):
        run_in(folder, planned)


def test_force_starts_again(planned, whole, tmp_path, monkeypatch):
    folder = AuditFolder(Path(shutil.copytree(whole, tmp_path / "again")))
    trained = []

    def quick(design, *args, seed, **others):
        trained.append(seed)
        raise DivergedError("the loss is nan")

    monkeypatch.setattr(audit_trainings, "train_once", quick)
    audit = run_in(folder, planned, force=True)
    assert trained == [0] * 8 + [1] * 8
    assert {design.accuracies for design in audit.designs} == {(None, None)}
    assert audit.default is None
    assert audit.verdict.startswith("Not known")
    assert "7 left out: a training of theirs diverged." in audit.remarks
    assert {agreement.value for agreement in audit.agreements} == {None}


def test_a_score_that_fails_on_a_design_is_a_gap(planned, tmp_path, monkeypatch):
    folder = AuditFolder(tmp_path / "gap")
    folder.path.mkdir()

    def make(name, *args, **others):
        def score(design):
            if not design.insertions:
                raise ScoreError("no")
            return 1.0

        return score

    monkeypatch.setattr(audit_run, "make_scorer", make)
    values = [float(n) for n in range(8)]
    (folder.path / "scores.json").write_text(json.dumps({"supernet": values}))
    scores = audit_run.score_missing(planned.audit, folder)
    assert scores["naswot"] == [[None] + [1.0] * 7] * 3
    # What another source has put there is audited too: a list of numbers is one draw.
    assert list(scores) == ["supernet", "naswot", "params", "macs"]
    assert scores["supernet"] == [values]
    # One draw is written as before, several as a list per score seed.
    assert json.loads((folder.path / "scores.json").read_text()) == {
        "supernet": values,
        "naswot": scores["naswot"],
        "params": [None] + [1.0] * 7,
        "macs": [None] + [1.0] * 7,
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"supernet": [1.0]}', "supernet: 1 values, but the audit has 8 designs"),
        (f'{{"supernet": {[[1.0]] * 8}}}', "supernet: 1 values, but the audit has 8 designs"),
        (f'{{"supernet": {[[1.0] * 8, [1.0] * 7]}}}', "supernet: 7 values, but the audit has 8"),
        (f'{{"train": {[1.0] * 8}}}', "train is computed here"),
        ("{", "is not a whole JSON file"),
        ("[]", "is a list of 0, expected an object"),
    ],
)
def test_scores_of_another_sample_are_refused_and_kept(planned, tmp_path, text, says):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(RunError, match=says):
        AuditFolder(tmp_path).read_scores(planned.audit)
    assert (tmp_path / "scores.json").read_text() == text


@pytest.mark.parametrize("spoiled", ["NaN", '"high"', "true", "{}"])
def test_scores_that_are_not_numbers_are_refused(planned, tmp_path, spoiled):
    (tmp_path / "scores.json").write_text(f'{{"supernet": [{", ".join([spoiled] * 8)}]}}')
    with pytest.raises(
        RunError, match=r"scores\.json .*: key supernet\[0\] is .*, expected a finite number"
    ):
        AuditFolder(tmp_path).read_scores(planned.audit)


def test_the_time_of_what_is_left(planned, whole, tmp_path):
    folder = AuditFolder(tmp_path / "new")
    ticks = iter(range(0, 1000, 2))
    estimate = estimate_audit(replace(planned, folder=folder), lambda: float(next(ticks)))
    # 5 steps of 2 s, and 176 images of which a batch of 256 takes a third of a step.
    assert estimate.seconds == pytest.approx(16 * 2.0 * (5 + 176 / 256 / 3))
    assert (estimate.trainings, estimate.done) == (16, 0)
    finished = replace(planned, folder=AuditFolder(whole))
    done = estimate_audit(finished)
    assert (done.done, done.seconds) == (16, 0.0)
    forced = replace(finished, request=replace(planned.request, force=True))
    assert estimate_audit(forced).done == 0
    assert not folder.path.exists()


def test_an_audit_of_an_edited_model_is_another_one(planned):
    source = planned.audit.source
    assert source is not None
    edited = replace(planned.audit, source="sha256 0")
    difference = ("the content of MODEL", source, "sha256 0")
    assert audit_difference(planned.audit, edited) == difference
    # An older version did not know it.
    assert audit_difference(replace(planned.audit, source=None), edited) is None


def test_clearing_an_audit_leaves_other_files(whole, tmp_path):
    folder = AuditFolder(Path(shutil.copytree(whole, tmp_path / "mine")))
    training = folder.train / "0-1"
    training.mkdir(parents=True)
    (training / "checkpoint.pt").touch()
    (folder.path / "thesis.tex").write_text("mine")
    folder.clear()
    assert not folder.train.exists()
    assert not (folder.path / "trainings.jsonl").exists()
    assert (folder.path / "thesis.tex").read_text() == "mine"


def test_the_same_command_finds_its_folder(planned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = folder_of(None, None, planned.audit)
    assert str(first.path) == "audits/small-digits-001"
    first.create(planned.audit)
    assert folder_of(None, None, planned.audit).name == "small-digits-001"
    other = replace(planned.audit, threads=2)
    assert audit_difference(planned.audit, other) == ("`threads`", "1", "2")
    assert folder_of(None, None, other).name == "small-digits-002"
    with first.locked(), pytest.raises(RunError, match="another audit is running in"):
        run_in(AuditFolder(first.path), planned)
    with pytest.raises(OutputError, match="cannot be written"):
        first.create(other)
    assert first.opened(planned.audit).threads == 1
    # Killed before the folder was renamed.
    AuditFolder(Path("audits/.writing-small-digits-002-17")).create(other)
    assert folder_of(None, None, other).name == "small-digits-002"


def test_a_run_sets_model_space_budgets_and_data(tmp_path):
    run = search(
        f"{NETS}:small",
        score="params",
        trials=2,
        input_size=(8, 8),
        num_classes=10,
        budget_params="+60%",
        variant="official",
        output=tmp_path / "run",
    ).record.run
    audit = asked(model=str(tmp_path / "run")).audit
    assert (audit.model, audit.variant, audit.num_classes) == (run.model, "official", 10)
    assert (audit.budgets, audit.feasible_designs) == (run.budgets, run.feasible_designs)
    assert all(design.params <= run.budgets[0].limit for design in audit.designs)
    with pytest.raises(
        InvalidValueError, match="`data` is missing: run run was searched without data"
    ):
        asked(model=str(tmp_path / "run"), data=None)
    search(f"{NETS}:small", score="params", trials=2, input_size=(16, 16), output=tmp_path / "big")
    with pytest.raises(DataError, match="run big is for 3x16x16"):
        asked(model=str(tmp_path / "big"))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"designs": 7}, InvalidValueError, "at least 8"),
        ({"seeds": 1}, InvalidValueError, "at least 2"),
        ({"score_seeds": 0}, InvalidValueError, "`score_seeds=0`: give at least 1"),
        ({"seed": 2**32 - 2, "score_seeds": 3}, InvalidValueError, "the last seed"),
        ({"seed": 2**32 - 1}, InvalidValueError, "the last seed"),
        ({"recipe": "fine-tune"}, InvalidValueError, "from random weights"),
        ({"data": None}, InvalidValueError, "`data` is missing"),
        ({"input_size": (9, 9)}, InvalidValueError, "has images of 8x8, but `input_size` is 9x9"),
        ({"scores": ("snap",)}, ScoreError, "did you mean snip"),
    ],
)
def test_bad_requests(change, error, says):
    with pytest.raises(error, match=says):
        asked(**change)


def told(score: str, value: float, more: float, low: float) -> Agreement:
    return Agreement(
        score, "band", "tau", 9, value, value - 0.2, value + 0.2, more, low, more + 0.1
    )


@pytest.mark.parametrize(
    ("low", "default", "says"),
    [
        (0.01, "snip", "Inside the budget, snip ranks designs better than params: tau 0.50"),
        # zico is distinguishable from params, though snip is not: no sentence about all scores.
        (
            -0.01,
            "params",
            "snip, the zero-cost score closest to training, does not rank designs ",
        ),
    ],
)
def test_the_default_is_distinguishable_from_params_or_params(audit, low, default, says):
    many = (
        replace(told("params", 0.15, 0, 0), more=None, more_low=None, more_high=None),
        told("snip", 0.5, 0.35, low),
        told("zico", 0.4, 0.25, 0.2),
        # Of scores.json: no search can take it.
        told("mine", 0.9, 0.75, 0.7),
        told("train", 0.9, 0.75, 0.5),
        told("another seed", 0.8, 0.65, 0.5),
    )
    analysed = replace(audit, scores=("snip", "zico", "params"), agreements=many)
    assert default_score(analysed) == default
    assert says in verdict(analysed)
    # Of params, where that is what is taken.
    assert ("params itself is not distinguishable from chance" in verdict(analysed)) == (
        default == "params"
    )
    assert trained_sentences(analysed) == [
        "One training of a design (train) ranks designs better than params: "
        "tau 0.90 [0.70, 1.10], difference +0.75 [+0.50, +0.85]."
    ]
    # One draw of snip, and that is said.
    noise = "snip was drawn once: the interval does not include the noise of the draw."
    assert verdict(analysed).endswith(noise)
    several = tuple(
        replace(agreement, draws=8, one_draw=0.4, draw_sd=0.083)
        if agreement.score == "snip"
        else agreement
        for agreement in many
    )
    assert "drawn once" not in verdict(replace(analysed, agreements=several))
    assert draw_sentences(analysed) == []
    assert draw_sentences(replace(analysed, seeds=(5, 6), agreements=several)) == [
        "The ranks of scores that depend on initial weights and images are averaged over 8 draws "
        "(seeds 5 to 12). A search uses a single draw, which for snip has tau 0.40 inside the "
        "band, sd 0.08 over draws."
    ]
    plain = verdict(replace(analysed, budgets=()))
    assert plain.startswith("In the most expensive quarter of the space, ")


def test_the_default_score_is_what_the_committed_audit_says():
    committed = read_audit(COMMITTED)
    assert DEFAULT_SCORE == committed.default == default_score(committed)
    assert verdict(committed) == committed.verdict
    assert committed.agreement("snip", "band").draws == 24
    inserted = [design for design in committed.designs if design.insertions and design.in_band]
    mean = [round(design.mean, 9) for design in inserted]  # sums differ in Python 3.12
    draws = np.array([design.scores["snip"] for design in inserted])
    agreement = committed.agreement("snip", "band")
    average = stats.kendalltau(stats.rankdata(draws, axis=0).mean(axis=1), mean).statistic
    assert agreement.value == pytest.approx(average, abs=1e-4)
    each = [stats.kendalltau(draw, mean).statistic for draw in draws.T]
    assert agreement.one_draw == pytest.approx(np.mean(each), abs=1e-4)
    # The draw that the default rested on before was the luckiest of all.
    assert max(each) == each[0] == pytest.approx(0.7162, abs=1e-4)
    scores = AuditFolder(COMMITTED).read_scores(committed)
    assert {name: len(draws) for name, draws in scores.items()} == {
        **dict.fromkeys(("synflow", "grad_norm", "snip", "jacob_cov", "naswot", "zico"), 24),
        **dict.fromkeys(("params", "macs", "supernet"), 1),
    }


def test_effects_are_kept(audit):
    effect = Effect("site", ("layer2",), 0.4, 0.2, 0.6, 3)
    assert with_analysis(audit, [effect]).effects == (effect,)
