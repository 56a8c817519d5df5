"""The rules between a config's keys: what does not go together, and what does."""

from pathlib import Path

import pytest
from helpers.configs import mistake

from ttfs_cupy.experiment.config import dump_config, load_config


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["network.clip=separate", "network.psp_slope=0.5"], "network.clip"),
        (["network.clip=separate", "network.psp_slope={from: 1, to: 1}"], "network.clip"),
        (["network.clip=none", "network.grad_clip=2"], "network.grad_clip"),
        (["network.encoding=direct", "network.standardize=true"], "network.standardize"),
        (["network.initial_weights=a", "network.weight_std=1"], "network.weight_std"),
        (["network.initial_weights=a", "network.weight_mean=1"], "network.weight_mean"),
        (["network.normalization=weight", "network.weight_mean=1"], "network.weight_mean"),
        (["network.silent=excluded"], "network.silent"),
        (["network.normalization=weight", "network.weight_mean={readout: 1, conv1: 0}"], "network.weight_mean"),
        (["network.initial_weights=a", "network.weight_std={conv1: 1}"], "network.weight_std"),
        (["data.mean=0.5"], "data.mean"),
        (["data.std=[0.5, 0.5]"], "data.std"),
        (["network.normalization=weight", "optimizer.weight_clip=[-1, 1]"], "optimizer.weight_clip"),
        (["network.normalization=weight", "optimizer.fixed_sign=true"], "optimizer.fixed_sign"),
        (["optimizer.weight_clip=[0.1, 1]", "optimizer.fixed_sign=true"], "optimizer.weight_clip"),
        (["optimizer.weight_clip=[-1, -0.1]", "optimizer.fixed_sign=true"], "optimizer.weight_clip"),
        (["data.mix_alpha=0.2"], "data.mix_alpha"),
        (["data.size=[32, 32]"], "data.size"),
        (["data.channels=3"], "data.channels"),
        (["data.test=0.1"], "data.test"),
        (["data.dataset=arrays", "data.size=[32, 32]"], "data.size"),
        (["data.dataset=folder", "data.time_window=5"], "data.time_window"),
        (["data.dataset=events", "data.channels=1"], "data.channels"),
        (["data.class_weights=balanced", "data.sampling=balanced"], "data.class_weights"),
        (["optimizer.momentum=0.9"], "optimizer.momentum"),
        (["optimizer.name=sgd", "optimizer.beta1=0.8"], "optimizer.beta1"),
        (["optimizer.name=sgd", "optimizer.beta2=0.8"], "optimizer.beta2"),
        (["optimizer.name=sgd", "optimizer.eps=1e-6"], "optimizer.eps"),
        (["schedule.name=multistep"], "schedule.milestones"),
        (["schedule.milestones=[1]"], "schedule.milestones"),
        (["schedule.factor=0.5"], "schedule.factor"),
        (["schedule.name=cosine", "schedule.annealing=0.9"], "schedule.annealing"),
        (["schedule.rise=0.5"], "schedule.rise"),
        (["schedule.name=cosine", "schedule.start_factor=0.5"], "schedule.start_factor"),
        (["schedule.name=cosine", "schedule.end_factor=0"], "schedule.end_factor"),
        (["schedule.name=onecycle", "schedule.annealing=0.9"], "schedule.annealing"),
        (["schedule.name=onecycle", "schedule.warmup=5"], "schedule.warmup"),
        (["network.psp_slope={from: 0, to: 1, start: 0.6, end: 0.5}"], "network.psp_slope.start"),
    ],
)
def test_keys_that_do_not_go_together(minimal: Path, overrides: list[str], key: str) -> None:
    assert f": {key} " in mistake(minimal, *overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["network.clip=separate", "network.psp_slope=1"],
        ["network.clip=none", "network.grad_clip=1"],
        ["network.readout=spike_times", "network.silent=excluded"],
        ["data.mix=both", "data.mix_alpha=0.2", "training.label_smoothing=0.1", "data.augment=shift_flip"],
        # partners are of the epoch, not of the batch
        ["data.mix=mixup", "training.batch_size=1"],
        ["optimizer.name=sgd", "optimizer.momentum=0.9", "optimizer.beta1=0.9"],
        ["optimizer.beta1=0.8", "optimizer.beta2=0.9", "optimizer.eps=1e-6", "optimizer.momentum=0"],
        ["schedule.name=multistep", "schedule.milestones=[15, 30, 40]", "schedule.factor=0.4"],
        ["schedule.name=cosine", "schedule.annealing=1", "schedule.warmup=10"],
        ["schedule.name=onecycle", "schedule.rise=0", "schedule.start_factor=1", "schedule.end_factor=0"],
        ["schedule.annealing=0.999"],
        ["data.dataset=folder", "data.size=[224, 112]", "data.channels=1", "data.test=0.5"],
        ["data.dataset=arrays", "data.test=0.5"],
        ["data.dataset=events", "data.size=[34, 34]", "data.time_window=300000"],
        ["data.class_weights=[1, 2]", "data.sampling=balanced"],
        ["network.normalization=weight", "network.weight_mean={readout: 0.1}", "network.weight_std={conv1: 0.1}"],
        ["optimizer.l2=5e-4", "optimizer.weight_decay=0.1", "network.normalization=weight"],
        ["optimizer.weight_clip=[0, 1]", "optimizer.fixed_sign=true"],
        ["optimizer.weight_clip=[0.1, 1]", "optimizer.fixed_sign=false"],
    ],
)
def test_keys_that_go_together(minimal: Path, overrides: list[str]) -> None:
    load_config(minimal, overrides)


def test_adamw_is_adam(minimal: Path) -> None:
    settings = ["optimizer.weight_decay=0.1", "optimizer.beta1=0.8"]
    found = load_config(minimal, ["optimizer.name=adamw", *settings])
    assert found == load_config(minimal, ["optimizer.name=adam", *settings])
    assert "\n  name: adam\n" in dump_config(found)
    # what sgd alone has is refused as ever
    assert mistake(minimal, "optimizer.name=adamw", "optimizer.momentum=0.9").endswith(
        "has no effect with optimizer.name adam: leave it out, or choose sgd"
    )
