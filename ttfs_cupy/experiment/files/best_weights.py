"""What may be called a run's best weights: those of an epoch that was validated, with psp_slope where it will stay."""

from ttfs_cupy.common.checks import check_count, is_whole
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.config import Config, load_config
from ttfs_cupy.experiment.config.values import PspSlopeSchedule
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.files.progress import saved
from ttfs_cupy.experiment.files.run_directory import OWN_WEIGHTS, RunDirectory


def first_epoch(config: Config) -> int:
    """The first, counted from 1, that may be the best. While psp_slope still moves, the network is not yet the one that
    will be used."""
    slope = config.network.psp_slope
    return slope.rests_after(config.training.epochs) if isinstance(slope, PspSlopeSchedule) else 1


def standing(config: Config, run: RunDirectory) -> str:
    """A part of a sentence: where the best weights so far are, or why there are none."""
    epoch = epoch_of(run)
    if epoch is not None and epoch >= first_epoch(config):
        return f"the best weights so far, of epoch {epoch}, are in {run.best}"
    return f"there are no best weights yet: {_reason(config, _progress(run)[0])}"


def require(run: RunDirectory) -> None:
    """Raises UserError, which says what to do, if the run has not come so far that it has best weights."""
    config = load_config(run.config, [OWN_WEIGHTS])
    epoch, first = epoch_of(run), first_epoch(config)
    # earlier versions wrote best.safetensors at Ctrl-C, validated or not
    if (epoch is None and run.best.exists()) or (epoch is not None and epoch >= first):
        return
    epochs, best = _progress(run)
    if epochs < first:
        owner = run.owner()
        advice = f"{owner} is at work on it" if owner else f"go on with: {run.resume_command}"
        raise UserError(f"'{run.path}' has no best weights yet: {_reason(config, epochs)}; {advice}")
    if not best:
        raise UserError(
            f"'{run.path}' has no best weights: psp_slope still moved in each epoch that is over ({epochs}), as the "
            f"run's config said then; raise training.epochs in {run.config}, and go on with: {run.resume_command}"
        )


def _reason(config: Config, epochs: int) -> str:
    first = first_epoch(config)
    if first == 1:
        return "its first epoch is not over"
    return f"psp_slope moves until epoch {first} of {config.training.epochs} (over: {epochs})"


def _progress(run: RunDirectory) -> tuple[int, int]:
    """How many epochs are over, and which of them is the best, 0 for none."""
    if not run.has_checkpoint:
        return 0, 0
    progress = saved(run)
    epochs, best = (progress.get(key) if isinstance(progress, dict) else None for key in ("epochs", "best_epoch"))
    try:
        return check_count("epochs", epochs, least=0), check_count("best_epoch", best, least=0)
    except UserError as error:
        raise UserError(f"'{run.last}' is not the file that ttfs-train wrote: its {error}") from None


def epoch_of(run: RunDirectory) -> int | None:
    """That of best.safetensors; None if there is no such file, or another program wrote it."""
    if not run.best.exists():
        return None
    epoch = checkpoint.metadata(run.best).get("epoch")
    return int(epoch) if is_whole(epoch) else None
