"""A download is whole and right, or there is an error and nothing of it is left."""

import contextlib
import gzip
import io
import socket
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from learnscope.distributions.download import _progress_bar, cache_folder, fetch
from learnscope.distributions.sources import CIFAR10, MNIST, download
from learnscope.errors import DownloadError

CONTENT = bytes(range(256)) * 1000
INSTEAD = "do something else"


def unused_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def contents(folder):
    return sorted(path.name for path in folder.rglob("*"))


class TestFetch:
    def fetch(self, folder, *mirrors):
        """Ask for the first mirror's file with the checksum of what it ought to hold."""
        md5 = mirrors[0].checksums()["a.bin"]
        return fetch("a.bin", md5, [mirror.address for mirror in mirrors], folder, INSTEAD)

    def test_brings_the_file_once(self, serve, tmp_path):
        mirror = serve({"a.bin": CONTENT})
        for _ in range(2):
            path = self.fetch(tmp_path / "made" / "here", mirror)
            assert path.read_bytes() == CONTENT
        assert mirror.requests["a.bin"] == 1
        assert contents(tmp_path) == ["a.bin", "here", "made"]

    def test_refuses_a_corrupt_file_and_keeps_nothing(self, serve, tmp_path):
        mirror = serve({"a.bin": CONTENT})
        mirror.corrupt.add("a.bin")
        with pytest.raises(DownloadError, match=r"wrong checksum.*or do something else"):
            self.fetch(tmp_path, mirror)
        assert contents(tmp_path) == []

    def test_refuses_half_a_file_keeps_nothing_and_recovers(self, serve, tmp_path):
        mirror = serve({"a.bin": CONTENT})
        mirror.broken.add("a.bin")
        with pytest.raises(DownloadError, match="broke off in the middle"):
            self.fetch(tmp_path, mirror)
        assert contents(tmp_path) == []
        mirror.broken.clear()
        assert self.fetch(tmp_path, mirror).read_bytes() == CONTENT

    def test_replaces_a_file_that_changed_in_the_cache(self, serve, tmp_path):
        mirror = serve({"a.bin": CONTENT})
        (tmp_path / "a.bin").write_bytes(CONTENT[:1000])
        assert self.fetch(tmp_path, mirror).read_bytes() == CONTENT

    def test_a_failed_download_leaves_the_old_file_alone(self, serve, tmp_path):
        mirror = serve({"a.bin": CONTENT})
        mirror.broken.add("a.bin")
        (tmp_path / "a.bin").write_bytes(b"old")
        with pytest.raises(DownloadError):
            self.fetch(tmp_path, mirror)
        assert contents(tmp_path) == ["a.bin"]
        assert (tmp_path / "a.bin").read_bytes() == b"old"

    @pytest.mark.parametrize("fault", ["corrupt", "broken", "absent"])
    def test_turns_to_the_second_mirror(self, serve, tmp_path, fault):
        first, second = serve({"a.bin": CONTENT}), serve({"a.bin": CONTENT})
        md5 = first.checksums()["a.bin"]
        if fault == "absent":
            first.files.clear()
        else:
            getattr(first, fault).add("a.bin")
        path = fetch("a.bin", md5, [first.address, second.address], tmp_path, INSTEAD)
        assert path.read_bytes() == CONTENT
        assert (first.requests["a.bin"], second.requests["a.bin"]) == (1, 1)

    def test_tells_in_one_sentence_what_each_mirror_did(self, serve, tmp_path):
        empty, nobody = serve({}), unused_address()
        with pytest.raises(DownloadError) as raised:
            fetch("a.bin", "0" * 32, [empty.address, nobody], tmp_path, INSTEAD)
        assert str(raised.value) == (
            f"a.bin could not be fetched ({empty.address}: HTTP status 404; {nobody}: no connection): check the "
            "network and try again, or do something else."
        )

    def test_an_unwritable_cache_is_not_taken_for_a_network_fault(self, serve, tmp_path):
        mirror = serve({"a.bin": CONTENT})
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(DownloadError, match=r"cannot be kept in .* set LEARNSCOPE_CACHE to a folder"):
            self.fetch(tmp_path / "file", mirror)
        assert mirror.requests.total() == 0


class TestProgressBar:
    def test_shows_the_bytes_on_a_terminal_and_cleans_up_after_a_failure(self, monkeypatch, capsys):
        monkeypatch.setenv("FORCE_COLOR", "1")
        with contextlib.suppress(RuntimeError), _progress_bar("a.bin") as bar:
            bar.total = 2000
            bar.update(500)
            assert bar.total == 2000
            raise RuntimeError
        with _progress_bar("b.bin") as bar:  # a display left behind would forbid a second one
            bar.total = 0
            assert bar.total is None
        shown = capsys.readouterr()
        assert "a.bin" in shown.err
        assert "0.5/2.0 kB" in shown.err
        assert shown.out == ""

    def test_is_silent_elsewhere(self, capsys):
        with _progress_bar("a.bin") as bar:
            bar.total = 2000
            bar.update(500)
        assert capsys.readouterr().err == ""


def test_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("LEARNSCOPE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("LEARNSCOPE_CACHE")
    assert cache_folder().name == "learnscope"


class TestSources:
    """A whole set through a mirror, with small files in the true formats."""

    def test_idx_set(self, serve, tmp_path):
        stored = [np.full((4, 28, 28), 7), np.arange(4), np.full((2, 28, 28), 9), np.arange(2)]
        headers = [bytes([0, 0, 8, a.ndim]) + np.array(a.shape, ">u4").tobytes() for a in stored]
        files = {
            name: gzip.compress(header + values.astype(np.uint8).tobytes())
            for name, header, values in zip(MNIST.files, headers, stored, strict=True)
        }
        mirror = serve(files)
        source = replace(MNIST, mirrors=(mirror.address,), files=mirror.checksums())
        arrays = download(source, tmp_path)
        assert arrays.x_train.shape == (4, 1, 28, 28)
        assert arrays.y_test.tolist() == [0, 1]
        assert contents(tmp_path / "mnist") == sorted(MNIST.files)

    def test_cifar10(self, serve, tmp_path):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            for batch in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{batch}.bin")
                member.size = 3073
                tar.addfile(member, io.BytesIO(bytes([3]) + bytes(3072)))
        mirror = serve({"cifar-10-binary.tar.gz": archive.getvalue()})
        source = replace(CIFAR10, mirrors=(mirror.address,), files=mirror.checksums())
        arrays = download(source, tmp_path)
        assert arrays.x_train.shape == (5, 3, 32, 32)
        assert arrays.y_test.tolist() == [3]
        assert contents(tmp_path) == ["cifar-10-binary.tar.gz", "cifar10"]

    def test_says_what_to_do_without_a_network(self, tmp_path):
        source = replace(MNIST, mirrors=(unused_address(),))
        with pytest.raises(DownloadError, match=r"or set LEARNSCOPE_DATA to a folder that holds mnist\.npz\.$"):
            download(source, tmp_path)


@pytest.mark.parametrize("source", [MNIST, CIFAR10])
def test_addresses_and_checksums_are_well_formed(source):
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in source.mirrors)
    assert all(len(bytes.fromhex(md5)) == 16 for md5 in source.files.values())
