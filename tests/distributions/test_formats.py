"""Every reader returns what was written, and says in a sentence what is wrong with a bad file."""

import gzip
import io
import struct
import tarfile

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
from hypothesis import given, settings

from learnscope.distributions.formats import (
    CIFAR_TEST,
    CIFAR_TRAIN,
    parse_idx,
    read_cifar10_archive,
    read_idx_files,
    read_npz,
)
from learnscope.errors import DownloadError, InputError


def idx_bytes(values):
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def random_bytes(shape, seed=0, high=256):
    return np.random.default_rng(seed).integers(0, high, shape, dtype=np.uint8)


def cifar_records(labels, images):
    return b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True))


def write_tar(path, contents, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = (len(content) if kind == tarfile.REGTYPE else 0), kind
            member.linkname = "elsewhere" if kind != tarfile.REGTYPE else ""
            archive.addfile(member, io.BytesIO(content))
    return path


class TestIdx:
    @given(arrays_of.arrays(np.uint8, arrays_of.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)))
    @settings(max_examples=50, deadline=None)
    def test_returns_what_was_written(self, values):
        assert np.array_equal(parse_idx(idx_bytes(values), "here"), values)

    @pytest.mark.parametrize(
        "data",
        [b"", b"\0\0", b"\0\0\x08", b"\0\0\x08\0", b"\0\0\x0d\x01\0\0\0\0", b"\x1f\x8b\x08\x01", b"\0\0\x08\x03\0\0"],
        ids=["empty", "short", "no rank", "rank zero", "floats", "gzip", "broken header"],
    )
    def test_refuses_another_header(self, data):
        with pytest.raises(DownloadError, match="here is not an idx file of unsigned bytes"):
            parse_idx(data, "here")

    @pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"x"], ids=["shorter", "longer"])
    def test_refuses_another_length_than_the_header_tells(self, change):
        with pytest.raises(DownloadError, match=r"its header tells 6 in the shape \[2, 3\]"):
            parse_idx(change(idx_bytes(random_bytes((2, 3)))), "here")

    def test_sizes_of_the_header_do_not_overflow(self):
        with pytest.raises(DownloadError, match=str((2**32 - 1) ** 2)):
            parse_idx(struct.pack(">BBBBII", 0, 0, 8, 2, 2**32 - 1, 2**32 - 1), "here")


class TestIdxFiles:
    def written(self, folder, images=7, labels=7):
        stored = [
            random_bytes((images, 5, 4)),
            random_bytes(labels, 1),
            random_bytes((3, 5, 4), 2),
            random_bytes(3, 3),
        ]
        paths = [folder / f"{number}.gz" for number in range(4)]
        for path, values in zip(paths, stored, strict=True):
            path.write_bytes(gzip.compress(idx_bytes(values)))
        return paths, stored

    def test_returns_images_with_one_channel(self, tmp_path):
        paths, stored = self.written(tmp_path)
        read = read_idx_files(paths)
        assert read.x_train.shape == (7, 1, 5, 4)
        for ours, theirs in zip(read, stored, strict=True):
            assert np.array_equal(ours.squeeze(), theirs)

    def test_refuses_images_without_a_label(self, tmp_path):
        paths, _ = self.written(tmp_path, images=8)
        with pytest.raises(DownloadError, match=r"images of shape \[8, 5, 4\] for labels of shape \[7\]"):
            read_idx_files(paths)

    def test_refuses_a_truncated_file(self, tmp_path):
        paths, _ = self.written(tmp_path)
        paths[1].write_bytes(paths[1].read_bytes()[:-9])
        with pytest.raises(DownloadError, match=r"1\.gz' is not a whole gzip file"):
            read_idx_files(paths)


class TestCifarArchive:
    def contents(self):
        return {
            name: cifar_records([number, 9], random_bytes((2, 3, 32, 32), number))
            for number, name in enumerate((*CIFAR_TRAIN, *CIFAR_TEST))
        }

    def test_returns_batches_in_order_whatever_their_order_in_the_archive(self, tmp_path):
        contents = {"cifar-10-batches-bin/readme.html": b"hello"} | dict(reversed(self.contents().items()))
        read = read_cifar10_archive([write_tar(tmp_path / "c.tar.gz", contents)])
        assert read.y_train.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
        assert read.y_test.tolist() == [5, 9]
        assert np.array_equal(read.x_train[6:8], random_bytes((2, 3, 32, 32), 3))
        assert np.array_equal(read.x_test, random_bytes((2, 3, 32, 32), 5))

    def test_writes_nothing(self, tmp_path):
        contents = self.contents() | {"../escaped": b"x", "/tmp/escaped-learnscope": b"x"}
        folder = tmp_path / "cache"
        folder.mkdir()
        read_cifar10_archive([write_tar(folder / "c.tar.gz", contents)])
        assert [path.name for path in tmp_path.rglob("*")] == ["cache", "c.tar.gz"]

    def test_refuses_a_missing_batch(self, tmp_path):
        contents = self.contents()
        del contents[CIFAR_TRAIN[3]]
        with pytest.raises(DownloadError, match=r"lacks cifar-10-batches-bin/data_batch_4\.bin"):
            read_cifar10_archive([write_tar(tmp_path / "c.tar.gz", contents)])

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
    def test_takes_no_member_that_is_not_a_regular_file(self, tmp_path, kind):
        with pytest.raises(DownloadError, match="lacks"):
            read_cifar10_archive([write_tar(tmp_path / "c.tar.gz", self.contents(), kind)])

    @pytest.mark.parametrize("content", [b"", b"x" * 3072, b"x" * 3074])
    def test_refuses_broken_records(self, tmp_path, content):
        contents = self.contents() | {CIFAR_TEST[0]: content}
        with pytest.raises(DownloadError, match=f"batch of {len(content)} bytes"):
            read_cifar10_archive([write_tar(tmp_path / "c.tar.gz", contents)])

    @pytest.mark.parametrize("keep", [0, 100, -200])
    def test_refuses_a_truncated_archive(self, tmp_path, keep):
        path = write_tar(tmp_path / "c.tar.gz", self.contents())
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DownloadError, match=r"is not a whole tar\.gz file|lacks"):
            read_cifar10_archive([path])


class TestNpz:
    def good(self, layout=(28, 28)):
        return {
            "x_train": random_bytes((5, *layout)),
            "y_train": random_bytes(5, 1, high=10),
            "x_test": random_bytes((2, *layout), 2),
            "y_test": random_bytes(2, 3, high=10),
        }

    def read(self, folder, stored, shape=(1, 28, 28)):
        np.savez(folder / "set.npz", **stored)
        return read_npz(folder / "set.npz", shape, 10)

    def test_returns_gray_images_with_one_channel(self, tmp_path):
        read, stored = self.read(tmp_path, self.good()), self.good()
        assert read.x_train.shape == (5, 1, 28, 28)
        assert np.array_equal(read.x_test[:, 0], stored["x_test"])
        assert np.array_equal(read.y_train, stored["y_train"])

    def test_moves_colours_to_the_front(self, tmp_path):
        stored = self.good((32, 32, 3))
        read = self.read(tmp_path, stored, (3, 32, 32))
        assert read.x_train.shape == (5, 3, 32, 32)
        assert np.array_equal(read.x_train[4, 2], stored["x_train"][4, :, :, 2])

    def test_takes_labels_in_a_column_and_of_any_integer_type(self, tmp_path):
        stored = self.good()
        column = self.read(tmp_path, stored | {"y_test": stored["y_test"].astype(np.int64)[:, None]})
        assert np.array_equal(column.y_test, stored["y_test"])

    @pytest.mark.parametrize("key", ["x_train", "y_train", "x_test", "y_test"])
    def test_names_the_missing_array(self, tmp_path, key):
        stored = self.good()
        del stored[key]
        with pytest.raises(InputError, match=rf"set\.npz' lacks {key}; replace the file"):
            self.read(tmp_path, stored)

    @pytest.mark.parametrize(
        ("key", "values", "told"),
        [
            ("x_train", np.zeros((5, 28, 28), np.float32), r"x_train as float32 \[5, 28, 28\], but uint8"),
            ("x_test", np.zeros((2, 28, 27), np.uint8), r"\[2, 28, 27\], but uint8 \[n, 28, 28\] with n ≥ 1"),
            ("x_test", np.zeros((0, 28, 28), np.uint8), r"x_test as uint8 \[0, 28, 28\]"),
            ("x_train", np.uint8(3), r"x_train as uint8 \[\]"),
            ("y_train", np.zeros(4, np.uint8), r"y_train as uint8 \[4\], but integers \[5\]"),
            ("y_train", np.zeros(5), r"y_train as float64 \[5\]"),
            ("y_test", np.array([0, 10], np.uint8), "labels from 0 to 10 in y_test, but 0 to 9"),
            ("y_test", np.array([-1, 3]), "labels from -1 to 3 in y_test"),
            ("y_test", np.array([None, 1]), "damaged or holds pickled objects"),
        ],
    )
    def test_tells_what_is_wrong_with_an_array(self, tmp_path, key, values, told):
        with pytest.raises(InputError, match=told):
            self.read(tmp_path, self.good() | {key: values})

    def test_refuses_what_is_not_an_archive(self, tmp_path):
        np.save(tmp_path / "one.npy", np.zeros(3))
        (tmp_path / "empty.npz").write_bytes(b"")
        for file in ("one.npy", "empty.npz"):
            with pytest.raises(InputError, match=r"is not an \.npz file"):
                read_npz(tmp_path / file, (1, 28, 28), 10)

    def test_refuses_a_damaged_archive(self, tmp_path):
        self.read(tmp_path, self.good())
        path = tmp_path / "set.npz"
        data = bytearray(path.read_bytes())
        data[1000:1100] = bytes(100)
        path.write_bytes(data)
        with pytest.raises(InputError, match="is damaged"):
            read_npz(path, (1, 28, 28), 10)
