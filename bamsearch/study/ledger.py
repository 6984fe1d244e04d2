"""Keeps the plain record of a run, one line per trial, in step with its study."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace

from bamsearch.errors import RunError
from bamsearch.records import BaselineKind, Trial
from bamsearch.records.run_files import TRIALS_FILE
from bamsearch.sampler.training_analysis import analyse_trainings
from bamsearch.study.folder import RunFolder
from bamsearch.study.study import SearchStudy, TrialKey

Finished = tuple[BaselineKind | None, Trial]
"""Baseline kind, None for the search's own trials, and the trial."""


class TrialLedger:
    """Keeps ``trials.jsonl`` and the files derived from it in step with the study.

    Raises:
        RunError: the folder has trials that are missing from the study.
    """

    def __init__(
        self, folder: RunFolder, study: SearchStudy, watch: Callable[[Sequence[Finished]], None]
    ) -> None:
        self._folder = folder
        self._study = study
        self._watch = watch
        self._best: tuple[float, int] | None = None
        self._appending = False
        self._behind = True
        recorded = self._read()
        self._written = _keys(recorded)
        self._check()
        self._watch(recorded)

    def write(self) -> bool:
        """Record newly finished trials; returns whether any has a score."""
        if self._appending:
            # The last append was interrupted: the file shows how far it got.
            self._folder.repair()
            self._written = _keys(self._read())
            self._appending = False
        new = self._new(self._written)
        if not new:
            if self._behind:
                self.follow()
            return False
        finished: list[Finished] = [(key[0], trial) for key, trial in new]
        self._appending = True
        self._folder.append(finished)
        self._written.update(key for key, _ in new)
        self._appending = False
        for kind, trial in finished:
            if trial.state == "failed":
                title = "trial" if kind is None else f"{kind} reference"
                self._folder.log(f"{title} {trial.number} failed: {trial.reason}")
        trained = self._study.run.trained
        if trained or any(kind is None and self._improves(trial) for kind, trial in finished):
            self._behind = True
            self.follow()
        self._watch(finished)
        return any(trial.state != "failed" for _, trial in finished)

    def _read(self) -> list[Finished]:
        record = self._folder.read_record()
        trials: list[Finished] = [(None, trial) for trial in record.trials]
        return trials + list(record.baselines)

    def _new(self, written: Set[TrialKey]) -> list[tuple[TrialKey, Trial]]:
        return self._study.retry(self._study.finished, written)

    def _check(self) -> None:
        """Raise RunError if the plain record has trials that are missing from the study."""
        in_study = {key for key, _ in self._new(frozenset())}
        if self._written - in_study:
            raise RunError(
                f"{self._folder.path / TRIALS_FILE} has trials that are not in "
                f"{self._study.masked_url}: was one of them replaced? "
                "Move the file away to continue from the study"
            )

    def follow(self) -> None:
        """Write the files derived from the trials: the analysis and the best design."""
        record = self._folder.read_record()
        if self._study.run.trained:
            analysis = analyse_trainings(record, self._study.feasible)
            if analysis is not None and analysis != record.analysis:
                self._folder.write_analysis(analysis)
                record = replace(record, analysis=analysis)
        best = record.best
        if best is not None:
            self._folder.write_best(best.design)
        self._behind = False

    def _improves(self, trial: Trial) -> bool:
        if trial.score is None:
            return False
        rank = (trial.score, -trial.macs)
        if self._best is not None and rank < self._best:
            return False
        self._best = rank
        return True


def _keys(finished: Sequence[Finished]) -> set[TrialKey]:
    return {(kind, trial.number) for kind, trial in finished}
