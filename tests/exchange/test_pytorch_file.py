"""Files of torch.save: what is read, and what is refused without running any of its code."""

import collections
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.exchange import pytorch_file

torch = pytest.importorskip("torch")

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        pytorch_file.read(path)
    sentence = str(caught.value)
    assert str(path) in sentence and "\n" not in sentence and len(sentence) < 400
    return sentence


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        collections.OrderedDict(TENSORS),
        {"epoch": 3, "state_dict": TENSORS},
        {"model": {"state_dict": TENSORS}},
        {"model": {f"module.{name}": tensor for name, tensor in TENSORS.items()}, "loss": torch.tensor(1.0)},
        {name: torch.nn.Parameter(tensor) for name, tensor in TENSORS.items()},
    ],
    ids=lambda content: "-".join(map(str, content)),
)
def test_a_state_dict_is_found(content: Any, tmp_path: Path) -> None:
    file = pytorch_file.read(saved(tmp_path / "w.pt", content))
    assert [(one.name, one.shape, one.kind) for one in file.tensors] == [
        ("a.weight", (2, 3), "float32"),
        ("a.bias", (2,), "float32"),
    ]
    assert file.in_order
    np.testing.assert_array_equal(file.float32(file.tensors[0]), np.arange(6.0).reshape(2, 3))


def test_the_format_of_old_versions(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", TENSORS, _use_new_zipfile_serialization=False)
    assert len(pytorch_file.read(path).tensors) == 2


def test_the_weights_of_t2fsnn_s_layers_as_a_list(tmp_path: Path) -> None:
    # a pooling layer has None
    file = pytorch_file.read(saved(tmp_path / "w.pt", [torch.zeros(2, 1, 3, 3), None, torch.zeros(4, 2)]))
    assert [(one.name, one.shape) for one in file.tensors] == [("0", (2, 1, 3, 3)), ("2", (4, 2))]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_floats_are_converted(kind: Any, tmp_path: Path) -> None:
    tensor = torch.tensor([0.5, -3.0, 1.0 / 3]).to(kind)
    file = pytorch_file.read(saved(tmp_path / "w.pt", {"a": tensor}))
    values = file.float32(file.tensors[0])
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, tensor.float().numpy())


def test_a_transposed_tensor_that_wants_gradients(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(2, 3).t().requires_grad_()
    file = pytorch_file.read(saved(tmp_path / "w.pt", {"a": tensor}))
    np.testing.assert_array_equal(file.float32(file.tensors[0]), np.arange(6.0).reshape(2, 3).T)


def test_a_tensor_that_is_a_view_of_complex_numbers(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    negative = torch.complex(tensor, tensor).conj().imag
    assert negative.is_neg()
    file = pytorch_file.read(saved(tmp_path / "w.pt", {"a": negative}))
    np.testing.assert_array_equal(file.float32(file.tensors[0]), -np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.zeros(2).to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (torch.zeros(2, dtype=torch.complex64), "complex64"),
        (torch.zeros(2, dtype=torch.int8), "int8"),
        (torch.zeros(2, dtype=torch.bool), "bool"),
        (torch.zeros(2, 2).to_sparse(), "sparse float32"),
        (torch.zeros(2, device="meta"), "float32 without values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_types_are_refused_by_the_tensor_s_name(tensor: Any, kind: str, tmp_path: Path) -> None:
    file = pytorch_file.read(saved(tmp_path / "w.pt", {"some.weight": tensor}))
    with pytest.raises(UserError, match=r"'some\.weight'") as caught:
        file.float32(file.tensors[0])
    assert kind in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_tensor_is_refused(tmp_path: Path) -> None:
    tensor = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    file = pytorch_file.read(saved(tmp_path / "w.pt", {"some.weight": tensor}))
    with pytest.raises(UserError, match=r"'some\.weight'.* are qint8"):
        file.float32(file.tensors[0])


class Harmful:
    """Makes a file where it is unpickled."""

    def __init__(self, traces: Path):
        self.traces = traces

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.traces),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_does_not_run(zipped: bool, tmp_path: Path) -> None:
    traces = tmp_path / "it ran"
    path = saved(tmp_path / "w.pt", {"a": Harmful(traces)}, _use_new_zipfile_serialization=zipped)
    assert "asks for code to be run (posix.mkdir), and none of it was" in refusal(path)
    assert not traces.exists()
    # what the file would do to whoever trusted it
    torch.load(path, weights_only=False)
    assert traces.exists()


def test_a_pickle_of_its_own_does_not_run(tmp_path: Path) -> None:
    traces, path = tmp_path / "it ran", tmp_path / "w.pt"
    path.write_bytes(pickle.dumps(Harmful(traces)))
    refusal(path)
    assert not traces.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    sentence = refusal(saved(tmp_path / "w.pt", torch.nn.Linear(2, 2)))
    assert "torch.nn.modules.linear.Linear" in sentence and "state_dict" in sentence


def test_damaged_files(tmp_path: Path) -> None:
    whole = saved(tmp_path / "w.pt", TENSORS).read_bytes()
    # where more than a few kilobytes are there, PyTorch fails in another way
    large = saved(tmp_path / "w.pt", {"a": torch.zeros(100_000)}).read_bytes()
    path = tmp_path / "damaged.pt"
    for content in (
        *(large[:end] for end in (5_000, 100_000, len(large) - 1)),
        b"",
        b"no file of PyTorch's",
        b"PK\x03\x04" + bytes(100),
        *(whole[:end] for end in range(1, len(whole), 97)),
    ):
        path.write_bytes(content)
        assert "not a whole file of torch.save" in refusal(path)


def test_flipped_bytes_are_read_or_refused_in_one_sentence(tmp_path: Path) -> None:
    whole = saved(tmp_path / "w.pt", TENSORS).read_bytes()
    draws, path = np.random.default_rng(0), tmp_path / "damaged.pt"
    for _ in range(100):
        damaged = bytearray(whole)
        for place in draws.integers(0, len(whole), 3):
            damaged[place] ^= int(draws.integers(1, 256))
        path.write_bytes(damaged)
        try:
            file = pytorch_file.read(path)
            for one in file.tensors:
                file.float32(one)
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("content", "word"),
    [(3, "no tensors"), ({"epoch": 3}, "no tensors"), (torch.zeros(2), "no tensors"), ([], "no tensors")],
)
def test_files_without_tensors(content: Any, word: str, tmp_path: Path) -> None:
    assert word in refusal(saved(tmp_path / "w.pt", content))


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "w.pt")
    assert "directory" in refusal(tmp_path)
    assert "device" in refusal(Path("/dev/zero"))


def test_what_is_written_is_read_back_by_pytorch() -> None:
    arrays = {"b": np.float32([[1, 2], [3, 4]]).T, "a": np.zeros(0, np.float32)}
    state = torch.load(io.BytesIO(pytorch_file.content(arrays)), weights_only=True)
    assert list(state) == ["b", "a"]
    for name, array in arrays.items():
        assert state[name].dtype == torch.float32
        np.testing.assert_array_equal(state[name].numpy(), array)
