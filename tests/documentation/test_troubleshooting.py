"""docs/troubleshooting.md quotes the program: each symptom is brought about, and what is said is what the page has."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Outcome, command, run_small, small, train
from helpers.datasets_on_disk import separable, write_images
from helpers.environments import REPOSITORY

from ttfs_cupy import device
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.device.compilation import cpu_library
from ttfs_cupy.device.libraries import cuda_libraries
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.watching.epochs import new_warnings

PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
BOXED = re.findall(r"^> `(.*)`$", PAGE, re.MULTILINE)
PLAIN = {"network__normalization": "none", "optimizer__clip_norm": "null"}

# What brings a symptom about; it runs in a folder of its own, and returns what was said.
Symptom = Callable[[pytest.MonkeyPatch], str]


def said(outcome: Outcome) -> str:
    return outcome.out + outcome.err


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as raised:
        call()
    return f"error: {raised.value}"


def after_epochs(*lines: dict[str, object]) -> str:
    return "\n".join(new_warnings(lines, load_config("quickstart"), 2.3025))


def silent_layers(_: pytest.MonkeyPatch) -> str:
    return said(train(*small(Path("run"), **PLAIN, network__weight_mean=-1)))


def faint_layer(_: pytest.MonkeyPatch) -> str:
    return after_epochs({"epoch": 1, "firing_rates": {"conv1": 0.004}})


def saturated_layer(_: pytest.MonkeyPatch) -> str:
    return said(train(*small(Path("run"), **PLAIN, network__weight_mean=1)))


def rising_loss(_: pytest.MonkeyPatch) -> str:
    losses = enumerate((0.1, 0.5, 0.6), 1)
    return after_epochs(*({"epoch": epoch, "train_loss": loss, "psp_slope": 0.0} for epoch, loss in losses))


def skipped_steps(_: pytest.MonkeyPatch) -> str:
    return after_epochs({"epoch": 4, "skipped_steps": 12})


def lost_loss(_: pytest.MonkeyPatch) -> str:
    return said(train(*small(Path("run"), **PLAIN, optimizer__lr="1e37")))


def no_gpu(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(device, "cuda_trouble", lambda *_: "this machine has no NVIDIA driver (libcuda.so.1)")
    return refused(lambda: device.get_device("cuda"))


def two_cupys(monkeypatch: pytest.MonkeyPatch) -> str:
    both = [("cupy-cuda12x", "14.0.0"), ("cupy-cuda13x", "14.0.0")]
    monkeypatch.setattr(cuda_libraries, "cupy_distributions", lambda: both)
    return str(cuda_libraries.cupy_trouble())


def large_batch(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(CpuDevice, "free_bytes", lambda _: 11 << 20)
    return said(train(*small(Path("run"), training__batch_size=512)))


def little_memory(_: pytest.MonkeyPatch) -> str:
    def work() -> int:
        raise MemoryError("Unable to allocate 3.00 GiB for an array")

    return said(command(lambda _: command_line.run(work)))


def no_compiler(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(cpu_library.shutil, "which", lambda _: None)
    monkeypatch.setattr(cpu_library.importlib.util, "find_spec", lambda _: None)
    return refused(cpu_library.find_compiler)


def missing_data(_: pytest.MonkeyPatch) -> str:
    return said(train(*small(Path("run"), data__dataset="mnist")))


def no_classes(_: pytest.MonkeyPatch) -> str:
    Path("empty").mkdir()
    return said(train(*small(Path("run"), data__dataset="folder", data__root="empty")))


def several_sizes(_: pytest.MonkeyPatch) -> str:
    for name, shape in (("flower", (279, 269)), ("temple", (215, 179))):
        for half in ("train", "test"):
            write_images(Path("photos", half, name), {"IMG_0.jpg": np.zeros(shape, np.uint8)})
    return said(train(*small(Path("run"), data__dataset="folder", data__root="photos")))


def run_on_pictures() -> Path:
    images, labels = separable(60, (8, 8, 1), 2)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        write_images(Path(f"pictures/{label}"), {f"{number}.png": image[..., 0]})
    return run_small(Path("run"), data__dataset="folder", data__root="pictures", training__batch_size=16)


def changed_key(_: pytest.MonkeyPatch) -> str:
    return said(train("--resume", run_on_pictures(), "--set", "training.batch_size=8"))


def changed_pictures(_: pytest.MonkeyPatch) -> str:
    run = run_on_pictures()
    Path("pictures/1/1.png").unlink()
    return said(train("--resume", run, "--set", "training.epochs=3"))


def second_run(_: pytest.MonkeyPatch) -> str:
    return said(train(*small(run_on_pictures())))


# By what the box says
SYMPTOMS: dict[str, Symptom] = {
    "never fire": silent_layers,
    "almost never fires": faint_layer,
    "come as the window opens": saturated_layer,
    "no better than chance": saturated_layer,
    "the training loss rises": rising_loss,
    "were skipped": skipped_steps,
    "the loss is no longer finite": lost_loss,
    "device 'cuda' cannot be used": no_gpu,
    "are both installed": two_cupys,
    "the largest batch that fits": large_batch,
    "the memory does not suffice": little_memory,
    "no C++ compiler was found": no_compiler,
    "the data set mnist is not in": missing_data,
    "holds no class folder": no_classes,
    "set data.size to": several_sizes,
    "--resume cannot change": changed_key,
    "was made with other data": changed_pictures,
    "already holds a run": second_run,
}
# What takes a cold cache, a GPU or a network to say, and where it stands
IN_CODE = {
    "building the kernels": "ttfs_cupy/device/compilation/cpu_library.py",
    "kernels for GPUs": "ttfs_cupy/device/compilation/compile_pool.py",
    "could not be downloaded": "data/sources/torchvision_access.py",
}


def pattern(box: str) -> str:
    """`...` and numbers stand for any."""
    parts = re.split(r"(\.\.\.|\d+(?:\.\d+)?)", box)
    return "".join(".*" if place % 2 else re.escape(part) for place, part in enumerate(parts))


@pytest.mark.parametrize("box", BOXED)
def test_what_a_box_says_is_said(box: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if any(beginning in box for beginning in IN_CODE):
        return
    # of "never fire" and "almost never fires" the longer one
    beginning = max((beginning for beginning in SYMPTOMS if beginning in box), key=len)
    text = SYMPTOMS[beginning](monkeypatch)
    assert re.search(rf"^{pattern(box)}$", text, re.MULTILINE), text


@pytest.mark.parametrize("beginning", IN_CODE)
def test_what_takes_more_than_this_machine_stands_in_the_code(beginning: str) -> None:
    (box,) = (box for box in BOXED if beginning in box)
    code = (REPOSITORY / IN_CODE[beginning]).read_text()
    parts = re.split(r"\.\.\.|cifar10|datasets|^error: ", box)
    assert [part for part in parts if part not in re.sub(r'"\s+f?"', "", code)] == []


def test_the_reasons_against_a_gpu_are_those_that_are_given() -> None:
    libraries = REPOSITORY / "ttfs_cupy" / "device" / "libraries"
    code = "".join((libraries / name).read_text() for name in ("cupy_library.py", "cuda_libraries.py"))
    table = PAGE.split("| the reason that it gives |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) == 5
    for row in table:
        reason = row.split("`")[1]
        parts = re.split(r"\.\.\.|pip install .*|\b0\b|\(\.\.\.\)", reason)
        assert [part for part in parts if part.strip() and part.strip() not in code] == [], reason


def test_there_are_boxes() -> None:
    assert len(BOXED) > 15


def test_the_links_at_the_top_are_the_headings() -> None:
    linked = re.findall(r"\]\(#([\w-]+)\)", PAGE)
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert linked == [re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings]
