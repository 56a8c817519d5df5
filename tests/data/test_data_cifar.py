import hashlib
import io
import os
import pickle
import tarfile
from functools import partial

import numpy as np
import pytest
import torchvision
from helpers.datasets_on_disk import cifar_rows, dump, pack, separable, serving, write_cifar10, write_cifar100
from helpers.refusals import refused_dataset

from ttfs_cupy.data import load_dataset

WRITERS = {"cifar10": write_cifar10, "cifar100": write_cifar100}
CLASSES = {"cifar10": 10, "cifar100": 100}


refused = partial(refused_dataset, name="cifar10")


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_reads_the_folder_and_the_archive(tmp_path, name, archive):
    WRITERS[name](tmp_path, train=203, test=100, archive=archive)
    data = load_dataset(name, tmp_path)
    assert (data.name, data.classes, data.input_shape) == (name, CLASSES[name], (3, 32, 32))
    for half, count, seed in ((data.train, 203, 0), (data.test, 100, 1)):
        images, labels = separable(count, (32, 32, 3), CLASSES[name], seed)
        assert np.array_equal(half.images, images) and np.array_equal(half.labels, labels)
        assert half.images.flags.c_contiguous and half.labels.dtype == np.int32
    # unpacked once, and nothing temporary left
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 1 + archive and not any(path.startswith(".") for path in left)
    assert len(load_dataset(name, tmp_path).train) == 203


def test_the_published_constants(tmp_path):
    for write in WRITERS.values():
        write(tmp_path)
    assert load_dataset("cifar10", tmp_path).mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465])
    assert load_dataset("cifar10", tmp_path).std.tolist() == pytest.approx([0.2470, 0.2435, 0.2616])
    assert load_dataset("cifar100", tmp_path).mean.tolist() == pytest.approx([0.5071, 0.4865, 0.4409])
    assert load_dataset("cifar100", tmp_path).std.tolist() == pytest.approx([0.2673, 0.2564, 0.2762])


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_reads_arrays_of_every_pickle_protocol(tmp_path, protocol):
    file = write_cifar10(tmp_path) / "test_batch"
    file.write_bytes(pickle.dumps(pickle.loads(file.read_bytes()), protocol=protocol))
    assert len(load_dataset("cifar10", tmp_path).test) == 20


def test_reads_arrays_that_an_old_numpy_wrote(tmp_path):
    file = write_cifar10(tmp_path) / "test_batch"
    content = file.read_bytes()
    assert b"cnumpy._core.multiarray\n" in content
    file.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert len(load_dataset("cifar10", tmp_path).test) == 20


def test_absent_data_say_what_to_do(tmp_path):
    refused(tmp_path, tmp_path / "cifar-10-batches-py", "data.download: true", "cifar-10-python.tar.gz")
    refused(tmp_path, tmp_path / "cifar-100-python", "cifar-100-python.tar.gz", name="cifar100")


def test_a_missing_file_is_named(tmp_path):
    folder = write_cifar10(tmp_path)
    (folder / "data_batch_3").unlink()
    (folder / "batches.meta").unlink()
    refused(tmp_path, folder, "lacks data_batch_3, batches.meta")


def rows(count=12, side=32):
    return cifar_rows(np.zeros((count, side, side, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([1, 2], "holds a list, not a dictionary"),
        ({"labels": [0]}, "must hold 'data'"),
        ({"data": rows().astype(np.float32), "labels": [0] * 12}, "not float32 (12, 3072)"),
        ({"data": rows(side=28), "labels": [0] * 12}, "not uint8 (12, 2352)"),
        ({"data": rows().reshape(12, 3, 32, 32), "labels": [0] * 12}, "not uint8 (12, 3, 32, 32)"),
        ({"data": rows()}, "must hold 'labels', a list of integers, not NoneType"),
        ({"data": rows(), "labels": [0.5] * 12}, "a list of integers"),
        ({"data": rows(), "labels": [0] * 11}, "12 images but 11 labels"),
        ({"data": rows(), "labels": [0] * 11 + [10]}, "the label 10, outside the 10 classes 0..9"),
        ({"data": rows(), "labels": [-1] * 12}, "the label -1, outside"),
    ],
)
def test_a_batch_that_does_not_fit_is_named(tmp_path, content, expected):
    file = write_cifar10(tmp_path) / "data_batch_2"
    dump(file, content)
    refused(tmp_path, file, expected)


def test_the_labels_of_cifar100_are_the_fine_ones(tmp_path):
    file = write_cifar100(tmp_path) / "train"
    dump(file, {"data": rows(), "coarse_labels": [0] * 12})
    refused(tmp_path, file, "must hold 'fine_labels'", name="cifar100")


def test_an_empty_half_is_named(tmp_path):
    folder = write_cifar10(tmp_path)
    dump(folder / "test_batch", {"data": rows(0), "labels": []})
    refused(tmp_path, folder / "test_batch", "no images")


def test_class_names_must_be_there(tmp_path):
    file = write_cifar10(tmp_path) / "batches.meta"
    dump(file, {"num_cases_per_batch": 10000})
    refused(tmp_path, file, "must hold 'label_names', the list of class names")
    dump(file, {"fine_label_names": ["a", "b"]})
    refused(tmp_path, file, "'label_names'")


@pytest.mark.parametrize("cut", [0, 1, 100, -10])
def test_a_truncated_batch_is_named(tmp_path, cut):
    file = write_cifar10(tmp_path) / "data_batch_5"
    file.write_bytes(file.read_bytes()[:cut])
    refused(tmp_path, file, "is damaged, or no CIFAR file", "data.download: true")


class Touch:
    """A pickle that runs a command when loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_code_in_a_pickle_is_not_run(tmp_path):
    file = write_cifar10(tmp_path) / "test_batch"
    dump(file, {"data": rows(), "labels": Touch(tmp_path / "harm")})
    refused(tmp_path, file, "system, which image data never needs")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("cut", [0, 50, -2000])
def test_a_truncated_archive_is_named_and_leaves_nothing(tmp_path, cut):
    archive = write_cifar10(tmp_path, archive=True)
    archive.write_bytes(archive.read_bytes()[:cut])
    refused(tmp_path, archive, "cannot be unpacked")
    assert list(tmp_path.iterdir()) == [archive]


def test_an_archive_that_lacks_a_file_is_named(tmp_path):
    folder = write_cifar10(tmp_path)
    (folder / "data_batch_4").unlink()
    archive = pack(folder, tmp_path / "cifar-10-python.tar.gz")
    refused(tmp_path, archive, "does not hold data_batch_4")
    assert list(tmp_path.iterdir()) == [archive]


def test_only_the_data_sets_own_files_leave_an_archive(tmp_path):
    root = tmp_path / "root"
    folder = write_cifar10(root)
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as tar:
        for name in ("../harm", "/tmp/ttfs-harm", "cifar-10-batches-py/../../harm"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"harm"))
        tar.add(folder, f"./{folder.name}")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert len(load_dataset("cifar10", root).train) == 60
    assert not (tmp_path / "harm").exists() and not os.path.exists("/tmp/ttfs-harm")  # noqa: PTH110
    assert len(list(folder.iterdir())) == 7


def test_a_link_in_an_archive_is_no_file(tmp_path):
    folder = write_cifar10(tmp_path)
    (folder / "test_batch").unlink()
    (folder / "test_batch").symlink_to("data_batch_1")
    archive = pack(folder, tmp_path / "cifar-10-python.tar.gz")
    refused(tmp_path, archive, "does not hold test_batch")


def published(monkeypatch, archive, folder):
    """Makes torchvision take these files for the published ones."""

    def md5(path):
        return hashlib.md5(path.read_bytes()).hexdigest()

    reader = torchvision.datasets.CIFAR10
    monkeypatch.setattr(reader, "tgz_md5", md5(archive))
    monkeypatch.setattr(
        reader, "train_list", [[f"data_batch_{i}", md5(folder / f"data_batch_{i}")] for i in range(1, 6)]
    )
    monkeypatch.setattr(reader, "test_list", [["test_batch", md5(folder / "test_batch")]])
    monkeypatch.setattr(reader, "meta", reader.meta | {"md5": md5(folder / "batches.meta")})


@pytest.mark.parametrize("before", ["nothing", "half an archive", "a missing file"])
def test_downloads_through_torchvision_what_is_missing(tmp_path, monkeypatch, before):
    folder = write_cifar10(tmp_path / "plain")
    archive = write_cifar10(tmp_path / "server", archive=True)
    published(monkeypatch, archive, folder)
    root = tmp_path / "root"
    if before == "half an archive":
        root.mkdir()
        (root / archive.name).write_bytes(archive.read_bytes()[:1000])
    elif before == "a missing file":
        (write_cifar10(root) / "data_batch_1").unlink()
    with serving(archive.parent) as address:
        monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", address + archive.name)
        assert len(load_dataset("cifar10", root, download=True).train) == 60


def test_an_archive_that_is_there_is_not_downloaded_over(tmp_path, monkeypatch):
    archive = write_cifar10(tmp_path, train=100, archive=True)
    before = archive.read_bytes()
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "file:///nowhere")
    assert len(load_dataset("cifar10", tmp_path, download=True).train) == 100
    assert archive.read_bytes() == before
