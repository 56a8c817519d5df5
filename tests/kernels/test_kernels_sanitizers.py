"""The kernels' checks under AddressSanitizer and UndefinedBehaviorSanitizer."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.environments import python

from ttfs_cupy.device.compilation import source

FLAGS = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

# Arguments: where to keep the library, the folder of the kernels' sources, and which kernels to check (all by default).
CODE = """
import sys
from pathlib import Path
from ttfs_cupy.check.kernels import check_kernels
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.device.compilation import cpu_library, source

cache, source.FOLDER, kernels = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
load = cpu_library.load
cpu_library.load = lambda: load({flags}, cache)
# three threads, and no guard elements, which would hide a step beyond an array from the sanitizer
for result in check_kernels(CpuDevice(3), kernels or None, guard=0):
    assert result.passed, result
    print("checked", result.kernel)
"""


@pytest.fixture(scope="module")
def gxx():
    compiler = shutil.which("g++")
    if not compiler or sys.platform != "linux":
        pytest.skip("GCC's sanitizers need g++")
    return compiler


def run(gxx, cache, folder, *kernels):
    asan = subprocess.run([gxx, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    if not Path(asan.strip()).is_absolute():
        pytest.skip("g++ came without libasan")
    variables = {
        "CXX": gxx,
        # Python itself was not built with it, so it has to come first
        "LD_PRELOAD": asan.strip(),
        # Python's own leaks at exit are no concern here; freed memory need not be kept for long to find a step beyond
        # an array
        "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=8",
        "OPENBLAS_NUM_THREADS": "1",
    }
    code = f"import sys; sys.argv[1:] = {[str(cache), str(folder), *kernels]!r}\n{CODE.format(flags=FLAGS)}"
    return python(code, variables=variables)


def test_all_checks_are_clean(gxx, tmp_path):
    outcome = run(gxx, tmp_path, source.FOLDER)
    assert outcome.returncode == 0, outcome.stderr[-4000:]
    assert re.findall(r"checked (\w+)", outcome.stdout) == list(source.kernels("cpu"))
    assert "Sanitizer" not in outcome.stderr and "runtime error" not in outcome.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "found"),
    [
        (
            "GRID_LOOP(i, n) earliness[i]",
            None,
            "AddressSanitizer: heap-buffer-overflow",
        ),
        ("(scale * drive[i]", "(scale * drive[i] + 0.0f * (float)(2147483000 + i)", "signed integer overflow"),
    ],
    ids=["out of bounds", "undefined"],
)
def test_a_planted_error_is_found(gxx, tmp_path, right, wrong, found):
    # this file alone, which spares the test the building of all others
    folder = tmp_path / "kernels"
    (folder / source.COOPERATIVE).mkdir(parents=True)
    for header in source.FOLDER.glob("*.h"):
        shutil.copy(header, folder)
    text = source.text("neuron")
    # one element too many, which a share's end would hide from nobody but a sanitizer
    wrong = wrong or right.replace("(i, n)", "(i, n + 1)")
    assert right in text
    (folder / "neuron.cu").write_text(text.replace(right, wrong))
    outcome = run(gxx, tmp_path, folder, "fire")
    assert outcome.returncode != 0
    assert found in outcome.stderr and "neuron.cu" in outcome.stderr
