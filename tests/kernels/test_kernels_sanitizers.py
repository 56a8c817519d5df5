"""The kernels' checks under AddressSanitizer and UndefinedBehaviorSanitizer."""

import re
import shutil

import pytest
from helpers.environments import REPOSITORY, python
from helpers.sanitizers import CACHE, FLAGS, preloaded, trouble

from ttfs_cupy.device.compilation import source

# Arguments: where to keep the library, the folder of the kernels' sources, and which kernels to check (all by default).
CODE = """
import sys
from pathlib import Path
from helpers.any_threads import AnyThreads
from ttfs_cupy.check.kernels import check_kernels
from ttfs_cupy.device.compilation import cpu_library, source

cache, source.FOLDER, kernels = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
load = cpu_library.load
cpu_library.load = lambda: load({flags}, cache)
# three threads, and no guard elements, which would hide a step beyond an array from the sanitizer
for result in check_kernels(AnyThreads(3), kernels or None, guard=0):
    assert result.passed, result
    print("checked", result.kernel)
"""


pytestmark = pytest.mark.skipif(trouble() is not None, reason=trouble() or "")


def run(cache, folder, *kernels):
    code = f"import sys; sys.argv[1:] = {[str(cache), str(folder), *kernels]!r}\n{CODE.format(flags=FLAGS)}"
    return python(code, variables={**preloaded(), "PYTHONPATH": str(REPOSITORY / "tests")})


def test_all_checks_are_clean():
    CACHE.mkdir(parents=True, exist_ok=True)
    outcome = run(CACHE, source.FOLDER)
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
def test_a_planted_error_is_found(tmp_path, right, wrong, found):
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
    outcome = run(tmp_path, folder, "fire")
    assert outcome.returncode != 0
    assert found in outcome.stderr and "neuron.cu" in outcome.stderr
