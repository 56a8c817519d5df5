"""What the emulator's tests run is CUDA: NVRTC compiles the same texts, after the headers of a GPU."""

import pytest
from helpers.machine_code import skip_without_nvrtc

from emulator import (
    planted,
    test_emulator,
    test_emulator_errors,
    test_emulator_tensor_cores,
    test_emulator_warpgroups,
)
from emulator.planted import warpgroups
from ttfs_cupy.device.compilation import nvrtc, source

TEXTS = {
    "kernels": "#define FACTOR 3\n" + test_emulator.KERNELS,
    "tensor cores": test_emulator_tensor_cores.KERNELS,
    "banks": test_emulator_errors.BANKS,
    "sectors": test_emulator_errors.SECTORS,
} | {name: bug.text for name, bug in planted.BUGS.items()}

FOR_WARPGROUPS = {"warpgroups": test_emulator_warpgroups.KERNELS} | {
    name: bug.text for name, bug in warpgroups.BUGS.items()
}


@pytest.fixture(scope="module", autouse=True)
def nvrtc_is_installed():
    skip_without_nvrtc()


@pytest.mark.parametrize("name", TEXTS)
def test_nvrtc_compiles_what_is_emulated(name):
    headers = [source.header(header) for header in ("cuda", "common", "neuron", "cooperative/warp")]
    code, _ = nvrtc.compile_text("".join(headers) + TEXTS[name], f"{name}.cu", 80)
    assert code


@pytest.mark.parametrize("name", FOR_WARPGROUPS)
def test_nvrtc_compiles_what_is_emulated_of_warpgroups(name):
    names = ("cuda", "common", "neuron", "cooperative/warp", "cooperative/tensorcore/warpgroup")
    code, _ = nvrtc.compile_text("".join(map(source.header, names)) + FOR_WARPGROUPS[name], f"{name}.cu", "90a")
    assert code
