"""ttfs-simulate on small runs: what it says, what it writes, and what it refuses."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Outcome, command, evaluate, run_small
from tqdm import tqdm

from ttfs_cupy import simulate
from ttfs_cupy.simulation import progress, simulator
from ttfs_cupy.simulation.convergence import fitted_order

AGREES = "the simulation agrees with the closed form: every spike and every potential is within what a step explains\n"


def simulated(*arguments: str | Path) -> Outcome:
    return command(simulate.main, *arguments)


def test_it_tells_of_every_layer_and_agrees(run: Path) -> None:
    outcome = simulated(run, "--dt", "1e-2")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.endswith(AGREES)
    # all of the digits' test set, of which there are fewer than 1,000
    images = int(re.findall(r"test images    (\d+)\n", outcome.out)[0])
    assert f"test images    {images}\n" in evaluate(run).out
    assert "time           200 steps of 0.01 a window, float32\n" in outcome.out
    tables = re.split(r"each layer given .*:\n|the closed form given .*:\n|end to end:\n", outcome.out)
    assert len(tables) == 4
    for table in tables[1:]:
        rows = [line.split() for line in table.splitlines() if line.startswith("  ")][:5]
        assert [row[0] for row in rows] == ["layer", "conv1", "pool1", "conv2", "pool2"]
        assert all(int(row[1]) > 1000 and float(row[2]) <= 2 for row in rows[1:])
    # what evaluate measures
    closed = re.findall(r"test accuracy  ([\d.]+) % by the closed form", outcome.out)
    assert closed == re.findall(r"test accuracy  ([\d.]+) %", evaluate(run).out)
    # no number depends on the day
    assert simulated(run, "--dt", "1e-2").out == outcome.out


def test_a_long_simulation_tells_how_far_it_is(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = (run, "--convergence", "2e-2,1e-2", "--images", "30")
    assert "to go" not in simulated(*options).out
    monkeypatch.setattr(progress, "LONG", 0)
    monkeypatch.setitem(simulator.MOST_STEPPED, "cpu", 1 << 12)
    outcome = simulated(*options)
    told = re.findall(r"\n +(\d+) % simulated, about \d\d:\d\d to go(?=\n)", outcome.out)
    assert told == [str(tenth) for tenth in range(10, 100, 10)]
    assert simulated(*options, "--quiet").out == AGREES


def test_on_a_terminal_there_is_a_bar(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, **options: Any):
            super().__init__(**{**options, "disable": False, "file": io.StringIO()})

        def close(self) -> None:
            shown.append(dict(self.format_dict))
            super().close()

    monkeypatch.setattr(progress, "tqdm", Bar)
    assert simulated(run, "--convergence", "2e-2,1e-2", "--images", "30").code == 0
    bar = shown[0]
    # all of it
    assert bar["n"] == bar["total"] > 1e6
    monkeypatch.setattr(progress, "LONG", 0)
    assert "to go" not in simulated(run, "--convergence", "2e-2,1e-2", "--images", "30").out


def test_quiet_says_the_verdict_alone(run: Path) -> None:
    assert simulated(run, "--dt", "2e-2", "--images", "3", "--quiet").out == AGREES


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network__readout": "spike_times"}, None),
        ({"network__encoding": "direct"}, "pixels are constant currents, which charge the coding layer"),
        ({"network__standardize": True}, "standardised latencies leave the window, so no spikes have them"),
        ({"network__psp_slope": 0, "network__normalization": "weight", "network__model": "[8, {linear: 20}]"}, None),
        ({"network__model": "[{convolution: 6, kernel: [2, 3], stride: 2, padding: 0}, {pool: 2, stride: 1}]"}, None),
    ],
    ids=str,
)
def test_every_kind_of_network_agrees(tmp_path: Path, changes: dict[str, Any], said: str | None) -> None:
    run = run_small(tmp_path / "run", training__epochs=1, **changes)
    outcome = simulated(run, "--dt", "4e-3", "--images", "60")
    assert (outcome.code, outcome.err) == (0, "") and outcome.out.endswith(AGREES)
    assert (said is None) == ("\ninput " not in outcome.out) and (said or "") in outcome.out
    exact = simulated(run, "--dt", "4e-3", "--images", "60", "--dtype", "float64", "--quiet")
    assert (exact.code, exact.out) == (0, AGREES)


@pytest.mark.parametrize("slope", [0, 1])
def test_deviations_shrink_in_proportion_to_the_step(tmp_path: Path, slope: int) -> None:
    run, file = run_small(tmp_path / "run", network__psp_slope=slope), tmp_path / "found.json"
    steps = ("--convergence", "1e-2,1e-3,1e-4", "--dtype", "float64", "--images", "20")
    outcome = simulated(run, *steps, "--json", file)
    assert (outcome.code, outcome.err) == (0, "") and outcome.out.endswith(AGREES)
    orders = json.loads(file.read_text())["orders"]
    # a time by itself only where no gain stretches it
    assert 0.9 < orders["scaled"] < 1.1 and 0.9 < orders["mean"] < 1.1
    assert slope or 0.9 < orders["largest"] < 1.1
    assert re.search(rf"^  order +{orders['largest']:.2f} ", outcome.out, re.MULTILINE)


def test_the_json_file_has_what_the_tables_have(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    outcome = simulated(run, "--images", "30", "--json", file)
    found = json.loads(file.read_text())
    assert (found["images"], found["agrees"], found["orders"]) == (30, True, None)
    assert f"{found['verdict']}\n" == AGREES
    (simulation,) = found["simulations"]
    assert (simulation["dt"], simulation["steps"], simulation["dtype"]) == (0.002, 1000, "float32")
    layers = simulation["given the closed form's spikes"]
    assert [layer["layer"] for layer in layers] == ["conv1", "pool1", "conv2", "pool2", "readout"]
    for layer in layers:
        assert 0 < layer["largest_share"] <= 1.001 and layer["unexplained"] == 0
        assert f"{layer['largest']:.2e}" in outcome.out
        # of how late a spike may be: the step, and what late inputs and rounding add
        median = layer["median_bound"]
        assert layer["p99_bound"] is None or median <= layer["p99_bound"]
        assert median is None if layer["layer"] == "readout" else 1 <= median < 20 and f" {median:.3g} " in outcome.out
    before = file.read_bytes()
    assert simulated(run, "--images", "30", "--json", file, "--force").code == 0
    assert file.read_bytes() == before


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_a_neuron_is_drawn_the_same_each_time(run: Path, tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / f"neuron{ending}"
    options = ("--images", "2", "--dt", "2e-2", "--plot", file, "--neuron", "conv1", "--image", "1")
    outcome = simulated(run, *options)
    assert (outcome.code, outcome.err) == (0, "")
    assert re.search(
        rf"drawn          \S+neuron{ending}: conv1, neuron \d+, test image 1, steps of 0.02\n", outcome.out
    )
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG" if ending == ".png" else b"<?xml")
    assert simulated(run, *options, "--force").code == 0
    assert file.read_bytes() == content
    # another neuron, and one that does not spike
    for neuron in ("conv1:3", "readout:9"):
        assert simulated(run, "--images", "1", "--dt", "2e-2", "--plot", file, "--neuron", neuron, "--force").code == 0
        assert file.read_bytes() != content


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--dt", "0.3"], "--dt must divide the window of 2, and 0.3 does not: 0.2857 does, with 7 steps"),
        (["--dt", "much"], "argument --dt: invalid float value: 'much'"),
        (["--images", "0"], "--images must be a whole number from 1, not 0"),
        (["--images", "100000"], "--images 100000 is more than the 360 of the test set"),
        (["--convergence", "1e-2"], "--convergence must be two or more different time steps, not '1e-2'"),
        (["--convergence", "1e-2,1e-2"], "--convergence must be two or more different time steps"),
        (["--convergence", "1e-2,fine"], "--convergence must be time steps, such as 1e-2,1e-3, not '1e-2,fine'"),
        (["--convergence", "1e-2,nan"], "--convergence must be a number from 2e-6 to 2, not nan"),
        (["--convergence", "1e-2,1e-3", "--dt", "1e-2"], "--dt is one time step and --convergence several"),
        (["--neuron", "conv1"], "--neuron and --image say what --plot draws: name its file"),
        (["--image", "3"], "--neuron and --image say what --plot draws: name its file"),
        (["--plot", "a.pdf"], "--plot must end in .png or .svg, not 'a.pdf'"),
        (
            ["--plot", "a.png", "--neuron", "pool1"],
            "--neuron pool1 names no layer of neurons: there are conv1, conv2, r",
        ),
        (["--plot", "a.png", "--neuron", "conv1:x"], "--neuron must be LAYER:NUMBER, such as conv1:0, not 'conv1:x'"),
        (["--plot", "a.png", "--neuron", "conv1:512"], "the number of a neuron of conv1 must be at most 511, not 512"),
        (["--plot", "a.png", "--neuron", f"conv1:{'9' * 5000}"], "the number of a neuron of conv1 must be at most 511"),
        (["--plot", "a.png", "--neuron", "conv1:-1"], "--neuron must be LAYER:NUMBER"),
        (["--plot", "a.png", "--image", "360"], "--image must be at most 359, not 360"),
        (["--plot", "a.png", "--image", "-1"], "--image must be a whole number from 0 to 359, not -1"),
        (["--json", "there.json"], "'there.json' is there already: name another file, or add --force"),
        (["--json", "none/a.json"], "none/a.json cannot be written: there is no folder none"),
        (["--json", "a.png", "--plot", "./a.png"], "--json and --plot are one file, 'a.png': name two"),
        (["--dtype", "float16"], "argument --dtype: invalid choice: 'float16'"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_wrong_is_one_sentence(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.json").write_text("mine")
    outcome = simulated(run, *options)
    assert outcome.code == 2 and outcome.err.startswith(f"error: {sentence}") and outcome.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.json"]
    assert Path("there.json").read_text() == "mine"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    outcome = simulated(tmp_path)
    assert outcome.code == 2 and outcome.err.startswith("error: ") and outcome.err.count("\n") == 1


def test_the_order_that_is_fitted() -> None:
    steps = [1e-1, 1e-2, 1e-4]
    assert fitted_order(steps, [3 * step**2 for step in steps]) == pytest.approx(2)
    assert fitted_order(steps, [5.0, 5.0, 5.0]) == pytest.approx(0)
    assert fitted_order(steps[:1], [1.0]) is None
    assert fitted_order(steps, [1.0, 0.0, 1.0]) is None
    assert fitted_order(steps, [1.0, np.nan, 1.0]) is None
