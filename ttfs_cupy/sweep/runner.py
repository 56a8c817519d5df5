"""Has all runs of a sweep made, so many at once as there are devices named, and keeps on disk how they stand."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ttfs_cupy.common.command import interruption
from ttfs_cupy.common.command.command_line import say
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import one_line
from ttfs_cupy.sweep import table
from ttfs_cupy.sweep.child import Child
from ttfs_cupy.sweep.devices import threads_variable
from ttfs_cupy.sweep.folder import SweepFolder
from ttfs_cupy.sweep.plan import PlannedRun
from ttfs_cupy.sweep.results import Result, read_result, write_csv

SECONDS_BETWEEN_LOOKS = 0.05


@dataclass
class _AtWork:
    number: int
    run: PlannedRun
    device: str | None
    child: Child


class Runner:
    """Works in a folder that this process has claimed. devices: None stands for what the config says."""

    def __init__(self, folder: SweepFolder, runs: Sequence[PlannedRun], devices: Sequence[str | None], *, tune: bool):
        self._folder, self._runs, self._tune = folder, runs, tune
        self._results: dict[str, Result] = {}
        self._failures: dict[str, str] = {}
        self._waiting: list[tuple[int, PlannedRun]] = []
        self._free = list(devices)
        self._at_work: list[_AtWork] = []
        self._environment = threads_variable(min(len(devices), len(runs)))
        self._waits_for: str | None = None

    def run(self) -> int:
        """Makes the runs that are not finished, and says what came of all; returns the exit code, 1 if any failed.

        Raises UserError where something cannot be written, and ToldInterrupt where it was interrupted. No process is
        left at work then.
        """
        self._look_for_finished()
        try:
            with interruption.at_wish_to_save(self._have_saved):
                self._work()
        except KeyboardInterrupt:
            self._end_early()
            interruption.arrived()
            say(
                f"interrupted: {len(self._results)} of {len(self._runs)} runs are finished; go on with: "
                f"{self._folder.resume_command}"
            )
            raise interruption.ToldInterrupt from None
        except BaseException:
            self._end_early()
            raise
        say("", *table.lines(self._runs, self._results, self._failures))
        say(f"a line for each run: {self._folder.table}")
        return int(bool(self._failures))

    def _look_for_finished(self) -> None:
        for number, run in enumerate(self._runs, 1):
            result = read_result(self._folder.run_directory(run))
            if result is None:
                self._waiting.append((number, run))
            else:
                self._results[run.name] = result
        self._write()
        if self._results:
            say(f"{len(self._results)} of {len(self._runs)} runs are finished already")

    def _work(self) -> None:
        while self._waiting or self._at_work:
            while self._free and (following := self._next()) is not None:
                self._begin(*following, self._free.pop(0))
            if not self._collect():
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def _next(self) -> tuple[int, PlannedRun] | None:
        """The first that nobody is at work on; it waits no more. A sweep that was killed has its runs end, and they may
        still be saving."""
        owner = None
        for place, (_, run) in enumerate(self._waiting):
            directory = self._folder.run_directory(run)
            owner = directory.owner() if directory.path.is_dir() else None
            if owner is None:
                return self._waiting.pop(place)
        if owner is not None and not self._at_work and owner != self._waits_for:
            self._waits_for = owner
            say(f"waits for {owner}, which is at work on {run.name}")
        return None

    def _begin(self, number: int, run: PlannedRun, device: str | None) -> None:
        directory = self._folder.run_directory(run)
        # whoever was at work on it may have finished it
        result = read_result(directory)
        if result is not None:
            self._free.append(device)
            self._results[run.name] = result
            self._write()
            return
        goes_on = directory.config.exists()
        if goes_on:
            arguments = ["--resume", str(directory.path)]
        else:
            sets = [part for override in run.setting.overrides for part in ("--set", override)]
            arguments = [str(self._folder.base), *sets, "--seed", str(run.seed), "--output", str(directory.path)]
            arguments += [] if self._tune else ["--no-tune"]
        if device is not None:
            arguments += ["--device", device]
        # else a signal now would leave the process to itself
        with interruption.uninterrupted():
            self._at_work.append(_AtWork(number, run, device, Child(arguments, self._environment)))
        on = f" on {device}" if device is not None else ""
        say(f"run {number} of {len(self._runs)}, {run.name}: {'goes on' if goes_on else 'starts'}{on}")

    def _collect(self) -> bool:
        """Takes in what runs that have ended leave; False if none has."""
        ended = [one for one in self._at_work if one.child.has_ended]
        for one in ended:
            self._at_work.remove(one)
            self._free.append(one.device)
            self._take_in(one)
        return bool(ended)

    def _take_in(self, one: _AtWork) -> None:
        error, text = one.child.finish()
        result = None if error else read_result(self._folder.run_directory(one.run))
        if result is not None:
            self._results[one.run.name] = result
            outcome = f"test accuracy {100 * result.test_accuracy:.2f} %, {one.child.seconds:.0f} s"
        else:
            error = error or "it ended without a test accuracy"
            self._failures[one.run.name] = error
            self._keep(one.run.name, text)
            outcome = f"failed: {one_line(error)}"
        self._write()
        say(f"run {one.number} of {len(self._runs)}, {one.run.name}: {outcome}")

    def _write(self) -> None:
        write_csv(self._folder.table, self._runs, self._results, self._failures)

    def _keep(self, name: str, text: str) -> None:
        """What a run said that failed: more than a sentence where it is a mistake of ours."""
        try:
            with self._folder.errors.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{name}:\n{text}\n")
        except OSError as error:
            raise UserError(f"{self._folder.errors} cannot be written: {error.strerror or error}") from None

    def _have_saved(self) -> None:
        for one in self._at_work:
            one.child.ask_to_save()

    def _end_early(self) -> None:
        """Has the runs at work save and end, and waits for them; a second signal kills them."""
        for one in self._at_work:
            one.child.ask_to_end()
        try:
            while not all(one.child.has_ended for one in self._at_work):
                time.sleep(SECONDS_BETWEEN_LOOKS)
        except KeyboardInterrupt:
            interruption.arrived()
            for one in self._at_work:
                one.child.kill()
        finished = ((one.run.name, read_result(self._folder.run_directory(one.run))) for one in self._at_work)
        self._results |= {name: result for name, result in finished if result is not None}
        for one in self._at_work:
            one.child.finish()
        self._at_work.clear()
        self._write()
