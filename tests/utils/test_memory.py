"""How much memory there is, on machines and in containers that are made up."""

import os
import sys
from functools import partial
from pathlib import Path

import pytest

from skdeltagrad._utils import memory

MIB = 2**20


def container(folder, limit, used=0, stat="anon 5\ninactive_file 0\nactive_file 7\n"):
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(stat)
    return folder


@pytest.fixture
def a_container(tmp_path, monkeypatch):
    """A container of 100 MiB, of which 60 are used, 20 of them for cached files."""
    container(tmp_path, 100 * MIB, 60 * MIB, f"anon 5\ninactive_file {20 * MIB}\n")
    free = partial(memory._free_of_container, root=tmp_path)
    monkeypatch.setattr(memory, "_free_of_container", free)
    monkeypatch.setattr(memory, "_free_of_machine", lambda: 10**15)


def test_a_container_leaves_its_limit_less_what_is_used(tmp_path):
    folder = container(tmp_path, 100 * MIB, 60 * MIB)
    assert memory._free_of_container(folder) == 40 * MIB


def test_cached_files_count_as_free(tmp_path):
    stat = f"anon 1\nfile 2\ninactive_file {20 * MIB}\nactive_file 3\n"
    folder = container(tmp_path, 100 * MIB, 60 * MIB, stat)
    assert memory._free_of_container(folder) == 60 * MIB


def test_a_container_without_a_limit(tmp_path):
    assert memory._free_of_container(container(tmp_path, "max")) is None


def test_no_container(tmp_path):
    assert memory._free_of_container(tmp_path) is None
    assert memory._free_of_container(tmp_path / "nowhere") is None


@pytest.mark.parametrize("name", ["memory.max", "memory.current", "memory.stat"])
def test_a_container_that_tells_half(tmp_path, name):
    (container(tmp_path, 100 * MIB) / name).unlink()
    assert memory._free_of_container(tmp_path) is None


@pytest.mark.parametrize("stat", ["", "anon 5\n"])
def test_a_container_that_does_not_tell_what_is_cached(tmp_path, stat):
    """Not every sandbox fills this file in: `fit` must not fail over that."""
    folder = container(tmp_path, 100 * MIB, 60 * MIB, stat)
    assert memory._free_of_container(folder) in (None, 40 * MIB)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine():
    free = memory._free_of_machine()
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < free <= physical


def no_file(self):
    raise FileNotFoundError(self)


def test_a_machine_without_proc(monkeypatch):
    monkeypatch.setattr(Path, "read_text", no_file)
    sizes = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    assert memory._free_of_machine() == 4_096_000
    assert memory.available_bytes() == 4_096_000


def test_a_machine_that_tells_nothing(monkeypatch):
    monkeypatch.setattr(Path, "read_text", no_file)
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert memory._free_of_machine() is None
    assert memory.available_bytes() is None
    memory.require(10**30, "this", "Try.")


@pytest.mark.parametrize(
    ("machine", "of_container", "expected"),
    [(5, 3, 3), (3, 5, 3), (None, 3, 3), (5, None, 5), (None, None, None)],
)
def test_the_tighter_bound_counts(monkeypatch, machine, of_container, expected):
    monkeypatch.setattr(memory, "_free_of_machine", lambda: machine)
    monkeypatch.setattr(memory, "_free_of_container", lambda: of_container)
    assert memory.available_bytes() == expected


@pytest.mark.usefixtures("a_container")
def test_what_fits_is_not_refused():
    assert memory.available_bytes() == 60 * MIB
    memory.require(60 * MIB, "this", "Try.")
    memory.require(0, "this", "Try.")


@pytest.mark.usefixtures("a_container")
def test_what_does_not_fit_is_refused_with_numbers_and_a_way_out():
    with pytest.raises(MemoryError) as caught:
        memory.require(60 * MIB + 1, "the training run", "Lower max_iter.")
    message = str(caught.value)
    assert "62,914,561 bytes" in message
    assert "62,914,560 bytes" in message
    assert "the training run" in message
    assert message.endswith("Lower max_iter.")
