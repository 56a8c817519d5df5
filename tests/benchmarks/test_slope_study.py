"""The study of psp_slope: synaptic operations beside a loop over synapses, and the command on digits."""

import json
from pathlib import Path

import pytest
from helpers import commands
from reference.comparison import DEVICE

from ttfs_cupy import Trainer
from ttfs_cupy.benchmarks.slope_study import __main__ as slope_study
from ttfs_cupy.benchmarks.slope_study.measurement import NOISES, Measured
from ttfs_cupy.experiment.config import Config

# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    try:
        code = slope_study.main([str(argument) for argument in arguments])
    except SystemExit as ended:  # argparse's way
        assert isinstance(ended.code, int)
        code = ended.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def options(folder: Path, *more: str) -> list[str | Path]:
    settings = [part for key, value in commands.SMALL.items() for part in ("--set", f"{key}={value}")]
    return ["--config", "quickstart", *settings, "--set", f"device={DEVICE}", "--output", folder, *more]


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "study"
    chosen = [
        "--seeds",
        "3",
        "4",
        "--epochs",
        "2",
        "--slopes",
        "annealed",
        "0",
        "--set",
        "network.normalization=weight",
    ]
    epochs: list[Path] = []
    epoch = Trainer._epoch

    def counted(self: Trainer) -> None:
        if len(epochs) == 11 and interrupts:
            raise KeyboardInterrupt
        epochs.append(self.run.path)
        epoch(self)

    monkeypatch.setattr(Trainer, "_epoch", counted)
    interrupts = True  # in the second epoch of the sixth run
    code, _, _ = run(capsys, *options(output, *chosen))
    assert code == 130
    first = json.loads((output / "results.json").read_text())["runs"]
    assert len(first) == 5
    interrupts = False
    code, out, err = run(capsys, *options(output, *chosen))
    assert (code, err) == (0, "")
    # nothing twice, not even an epoch
    trained = list(dict.fromkeys(epochs))
    assert (len(trained), len(epochs)) == (8, 16)

    content = json.loads((output / "results.json").read_text())
    assert content["runs"][:5] == first
    runs = [Measured.from_json(one) for one in content["runs"]]
    for one in runs:
        assert set(one.noises) == set(NOISES)
        assert 0 < one.spikes < one.dense
        assert 0 < one.accuracy < 1
    for one, path in zip(runs, trained, strict=True):
        config = (path / "config.yaml").read_text()
        assert f"normalization: {one.normalization}" in config and f"seed: {one.seed}" in config
        assert ("psp_slope: 0.0" in config) == (one.slope == "0")
        assert "epochs: 2\n" in config
        # the config is for standardised weights
        assert f"  lr: {0.001 if one.normalization == 'none' else 0.003}\n" in config
    # what evaluate says of the same run
    told = commands.evaluate(trained[-1], "--weight-bits", "4").out
    noise = runs[-1].noises["weights 4 bits"]
    assert f"test accuracy  {100 * noise.accuracy:.2f} %" in told
    assert f"{100 * noise.changed:.2f} % of predictions change" in told

    table = (output / "table.md").read_text()
    assert out.endswith(table)
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert [(row[0], row[1]) for row in rows[2:]] == [
        (f"| {slope}", kind) for slope in ("0", "annealed") for kind in ("none", "weight")
    ]
    assert {len(row) for row in rows} == {5 + len(NOISES)}
    for row in rows[2:]:
        three, four = (
            next(
                100 * one.accuracy
                for one in runs
                if (one.slope, one.normalization, one.seed) == (row[0][2:], row[1], seed)
            )
            for seed in (3, 4)
        )
        assert row[2] == f"{(three + four) / 2:.2f} ({three:.2f}, {four:.2f})"
    picture = (output / "accuracy.png").read_bytes()
    assert picture.startswith(b"\x89PNG")

    # table and picture again, of the numbers alone
    for name in ("table.md", "accuracy.png"):
        (output / name).unlink()
    code, again, err = run(capsys, "--report-only", "--output", output)
    assert (code, err, again) == (0, "", table)
    assert (output / "accuracy.png").read_bytes() == picture
    for changed in (["--set", "optimizer.beta1=0.5"], ["--plain-lr", "2e-3"]):
        code, _, err = run(capsys, *options(output, *chosen, *changed))
        assert code == 2
        assert err == f"error: '{output / 'results.json'}' is of another config: name another folder with --output\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slopes", "2"], "invalid choice: '2'"),
        (["--epochs", "0"], "must be a whole number from 1, not '0'"),
        (["--config", "no_such"], "no_such"),
        (["--plain-lr", "0"], "--plain-lr: must be a number above 0, not '0'"),
        (["--plain-lr", "much"], "--plain-lr: must be a number above 0, not 'much'"),
        # of a later run, found before the first one trains
        (["--slopes", "0", "1", "--set", "network.clip=separate"], "network.clip"),
        (["--report-only"], "results.json' cannot be read: "),
    ],
)
def test_a_mistake_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, out, err = run(capsys, "--output", tmp_path / "study", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "it is [], not keys and values"),
        ('{"title": "x", "configs": {}}', "is not what this command wrote: KeyError('runs')"),
        ('{"title": "x", "configs": "y", "runs": []}', "is not what this command wrote: ValueError("),
        ('{"title": "x", "configs": {}, "runs": [3]}', "is not what this command wrote: TypeError("),
        ('{"title": "x", "configs": {}, "runs": []}', "holds no run"),
    ],
)
def test_results_that_are_none(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results.json").write_text(text)
    code, out, err = run(capsys, "--output", tmp_path, "--report-only")
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "rates"),
    [
        ([], {"weight": 0.003, "none": 0.001}),
        (["--set", "optimizer.lr=0.3"], {"weight": 0.3, "none": 0.1}),
        (["--plain-lr", "0.5"], {"weight": 0.003, "none": 0.5}),
        # one that is for plain weights
        (["--config", "t2fsnn_vgg11_cifar10", "--slopes", "1"], {"weight": 0.0001, "none": 0.0001}),
        (["--normalizations", "none", "--set", "optimizer.fixed_sign=true"], {"none": 0.001}),
    ],
)
def test_plain_weights_have_a_learning_rate_of_their_own(
    arguments: list[str], rates: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, float] = {}

    def tried(self: slope_study.Study, config: Config, slope: str, normalization: str, seed: int) -> None:
        found[normalization] = config.optimizer.lr
        raise KeyboardInterrupt

    monkeypatch.setattr(slope_study.Study, "_try", tried)
    for normalization in rates:
        chosen = ["--normalizations", normalization] if "--normalizations" not in arguments else []
        assert slope_study.main(["--config", "quickstart", "--output", str(tmp_path), *chosen, *arguments]) == 130
    assert found == pytest.approx(rates)


def test_the_configs_own_annealing_is_taken() -> None:
    settings = ["network.psp_slope={from: 0, to: 1, start: 0.1, end: 0.3}"]
    own = slope_study.load_config("quickstart", settings)
    plain = slope_study.load_config("quickstart", ["network.psp_slope=1"])
    assert json.loads(slope_study._slope(own, "annealed")) == {"from": 0, "to": 1, "start": 0.1, "end": 0.3}
    assert json.loads(slope_study._slope(plain, "annealed")) == {"from": 0, "to": 1, "start": 0.2, "end": 0.6}
    assert slope_study._slope(own, "0.5") == "0.5"
