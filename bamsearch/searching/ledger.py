"""The plain record of a run, one line a trial, kept up with its study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from bamsearch.errors import RunError
from bamsearch.records import ReferenceKind, Trial
from bamsearch.records.run_files import TRIALS_FILE
from bamsearch.searching.folder import RunFolder
from bamsearch.searching.learning import learn
from bamsearch.searching.storage import patiently
from bamsearch.searching.study import Key, SearchStudy

Finished = tuple[ReferenceKind | None, Trial]
"""What a trial is compared as, None for the search's own, and the trial."""


class Ledger:
    """Keeps the plain record in a run's folder up with its study.

    Args:
        folder: of the run.
        study: of the run.
        shown: the database's URL for errors, without a password.
        watch: called with what has finished since the last time, the earlier part of a run first.

    Raises:
        RunError: the folder has trials that the study has not.
    """

    def __init__(
        self,
        folder: RunFolder,
        study: SearchStudy,
        shown: str,
        watch: Callable[[Sequence[Finished]], None],
    ) -> None:
        self._folder = folder
        self._study = study
        self._shown = shown
        self._watch = watch
        self._best: tuple[float, int] | None = None
        self._appending = False
        self._behind = True
        known = self._read()
        self._written = _keys(known)
        self._check()
        self._watch(known)

    def write(self) -> bool:
        """Write down what has finished since the last time; whether any of it has a score."""
        if self._appending:
            # It was interrupted, and the file alone knows where.
            self._folder.mend()
            self._written = _keys(self._read())
            self._appending = False
        new = self._new()
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
                what = "trial" if kind is None else f"{kind} reference"
                self._folder.log(f"{what} {trial.number} failed: {trial.reason}")
        trained = self._study.run.trained
        if trained or any(kind is None and self._improves(trial) for kind, trial in finished):
            self._behind = True
            self.follow()
        self._watch(finished)
        return any(trial.state != "failed" for _, trial in finished)

    def _read(self) -> list[Finished]:
        record = self._folder.read_record()
        own: list[Finished] = [(None, trial) for trial in record.trials]
        return own + list(record.references)

    def _new(self, known: frozenset[Key] | None = None) -> list[tuple[Key, Trial]]:
        read = partial(self._study.finished, self._written if known is None else known)
        return patiently(read, self._shown)

    def _check(self) -> None:
        """Raise RunError where the plain record has what the study has not."""
        in_study = {key for key, _ in self._new(frozenset())}
        if self._written - in_study:
            raise RunError(
                f"{self._folder.path / TRIALS_FILE} has trials that are not in {self._shown}: "
                "was one of them replaced? Move the file away to go on from the study"
            )

    def follow(self) -> None:
        """Write what follows from the trials: what trainings say together, and the best design."""
        record = self._folder.read_record()
        if self._study.run.trained:
            learned = learn(record, self._study.feasible)
            if learned is not None and learned != record.learned:
                self._folder.write_learned(learned)
                record = replace(record, learned=learned)
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


def _keys(finished: Sequence[Finished]) -> set[Key]:
    return {(kind, trial.number) for kind, trial in finished}
