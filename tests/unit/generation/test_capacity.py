"""What is free: the least of what the machine, a container and the limits of this process leave."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from trident.generation.capacity import Free, free_disk, free_memory, longest_file, size_text

MIB = 2**20


def group(cgroups: Path, process: Path, line: str, folder: str, files: dict[str, str]) -> None:
    """Write down a control group as the kernel shows it."""
    process.mkdir(exist_ok=True)
    (process / "cgroup").write_text(f"11:cpu,cpuacct:/elsewhere\n{line}\n")
    (cgroups / folder).mkdir(parents=True)
    for name, text in files.items():
        (cgroups / folder / name).write_text(text)


def of(tmp_path: Path) -> Free:
    return free_memory(cgroups=tmp_path / "cgroup", process=tmp_path / "process")


def test_without_limits_it_is_the_memory_of_the_machine(tmp_path: Path) -> None:
    found = of(tmp_path)
    assert found.of == "memory of this machine"
    assert found.size_bytes > 64 * MIB


@pytest.mark.parametrize("file_cache", [0, 7])
def test_the_limit_of_a_container_counts(tmp_path: Path, file_cache: int) -> None:
    files = {
        "memory.max": f"{50 * MIB}\n",
        "memory.current": f"{30 * MIB}\n",
        "memory.stat": f"anon 1\ninactive_file {file_cache * MIB}\nactive_file 0\n",
    }
    group(tmp_path / "cgroup", tmp_path / "process", "0::/pods/one", "pods/one", files)
    found = of(tmp_path)
    assert found.size_bytes == (20 + file_cache) * MIB  # the page cache goes when memory is wanted
    assert found.of.startswith("memory of this container (")


def test_the_limit_of_a_group_around_counts(tmp_path: Path) -> None:
    group(tmp_path / "cgroup", tmp_path / "process", "0::/pods/one", "pods/one", {"memory.max": "max\n"})
    (tmp_path / "cgroup" / "pods" / "memory.max").write_text(f"{40 * MIB}\n")
    (tmp_path / "cgroup" / "pods" / "memory.current").write_text(f"{41 * MIB}\n")
    assert of(tmp_path).size_bytes == 0


def test_the_first_kind_of_control_groups_counts(tmp_path: Path) -> None:
    files = {"memory.limit_in_bytes": f"{50 * MIB}\n", "memory.usage_in_bytes": f"{10 * MIB}\n"}
    group(tmp_path / "cgroup", tmp_path / "process", "9:memory:/docker/x", "memory/docker/x", files)
    assert of(tmp_path).size_bytes == 40 * MIB


def test_no_limit_of_the_first_kind_is_a_large_number(tmp_path: Path) -> None:
    files = {"memory.limit_in_bytes": "9223372036854771712\n", "memory.usage_in_bytes": "1\n"}
    group(tmp_path / "cgroup", tmp_path / "process", "9:memory:/docker/x", "memory/docker/x", files)
    assert of(tmp_path).of == "memory of this machine"


@pytest.fixture
def limited() -> Iterator[None]:
    """Put the limits of this process back at the end."""
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_FSIZE)
    before = {kind: resource.getrlimit(kind) for kind in kinds}
    yield
    for kind, limits in before.items():
        resource.setrlimit(kind, limits)


@pytest.mark.usefixtures("limited")
def test_the_limits_of_this_process_count(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    taken = next(
        int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line
    )
    resource.setrlimit(resource.RLIMIT_AS, (taken * 1024 + 60 * MIB, most))
    found = of(tmp_path)
    assert found.of == "address space of this process (ulimit -v)"
    assert 0 < found.size_bytes <= 60 * MIB


@pytest.mark.usefixtures("limited")
def test_the_longest_file() -> None:
    soft, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert (longest_file() is None) == (soft == resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100 * MIB, most))
    assert longest_file() == 100 * MIB


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    found = free_disk(tmp_path / "a" / "b")
    assert found.of == f"disk of {tmp_path}"
    assert found.size_bytes > 0


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (3 * MIB, "3 MiB"), (1.9 * 2**30, "1.9 GiB"), (2**51, "2048.0 TiB")],
)
def test_sizes_as_people_read_them(size: float, text: str) -> None:
    assert size_text(size) == text
