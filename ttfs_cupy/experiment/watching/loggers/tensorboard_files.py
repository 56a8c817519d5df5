"""TensorBoard's event files, written by its own package: neither TensorFlow nor PyTorch is imported."""

import logging
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_cupy.common.packages import imported
from ttfs_cupy.experiment.watching.loggers.interface import EpochReport, RunReport

logger = logging.getLogger("ttfs_cupy")

# of event files; TensorBoard knows them by the third word
_NAME = "events.out.tfevents.{}.run"

INSTALL = "pip install 'ttfs-cupy[tensorboard]'"


def require() -> None:
    """Raises UserError where TensorBoard is not installed."""
    for module in ("summary.writer.record_writer", "compat.proto.event_pb2", "compat.proto.summary_pb2"):
        imported(f"tensorboard.{module}", "TensorBoard", INSTALL)


class TensorBoardFiles:
    """A file for each start of the run. The one of a run that goes on begins with a word to forget later steps.

    folder: which is there. Epochs are the steps; values of the test set stand one step behind the last epoch.
    """

    def __init__(self, folder: Path):
        require()
        self._folder = folder
        self._writer: Any = None
        self._epochs = 0

    def begin(self, run: RunReport) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._epochs = run.epochs
        # readers take files in the order of their names; numbered, since a clock may stand still or go back
        numbers = (path.name.split(".")[-2] for path in self._folder.glob(_NAME.format("*")))
        number = 1 + max((int(found) for found in numbers if found.isdecimal()), default=0)
        self._writer = RecordWriter((self._folder / _NAME.format(f"{number:010d}")).open("xb"))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=run.epochs + 1, session_log=start))
        self._writer.flush()
        logger.info("look at its curves with: tensorboard --logdir %s", shlex.quote(str(self._folder.parent)))

    def epoch(self, epoch: EpochReport) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._epochs = epoch.number
        histograms = [
            Summary.Value(tag=f"spike_times/{layer}", histo=_histogram(counts, epoch.edges(counts)))
            for layer, counts in epoch.spike_times.items()
        ]
        self._tell(epoch.number, epoch.values, histograms)

    def end(self, test: Mapping[str, float] | None) -> None:
        if self._writer is None:
            return
        try:
            if test is not None:
                self._tell(self._epochs + 1, test, [])
        finally:
            self._writer.close()

    def _tell(self, step: int, values: Mapping[str, float], histograms: list[Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[*scalars, *histograms])))
        # so that who looks on sees each epoch as it ends
        self._writer.flush()

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())


def _histogram(counts: np.ndarray, edges: np.ndarray) -> Any:
    """Each bin by its upper edge; the first begins at min."""
    from tensorboard.compat.proto.summary_pb2 import HistogramProto

    middles = (edges[1:] + edges[:-1]) / 2
    return HistogramProto(
        min=edges[0],
        max=edges[-1],
        num=float(counts.sum()),
        sum=float(counts @ middles),
        sum_squares=float(counts @ middles**2),
        bucket_limit=edges[1:].tolist(),
        bucket=counts.astype(float).tolist(),
    )
