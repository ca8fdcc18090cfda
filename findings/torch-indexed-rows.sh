#!/usr/bin/env bash
# PyTorch on a CPU: x[rows] has another gradient from run to run, one row too many switches it on, index_select has not.
#
# What surprises: nothing here is random, there is no GPU, and the threads are the same in number. The gradient of
# x[rows], where rows repeat, still has other bits from run to run once the rows taken hold some 32,768 numbers: with
# 384 numbers a row, 85 rows (32,640) give the same bits always, 86 (33,024) do not. So a test with a small batch proves nothing, and a training that was stopped and goes on parts from one
# that ran through. x.index_select(0, rows), embedding(rows, x) and index_add_ are the same sum and keep their bits.
# torch.use_deterministic_algorithms(True) gives x[rows] the same bits too, on a CPU as well.
#
# Software: torch 2.13.0, a CPU build, four threads.
# Seen, different results in 40 runs, 8 different rows: x[rows] 1 with 85 rows, 18 with 86 and 20 with 512
# (other numbers another time, more than one always); index_select, embedding and index_add_ 1 with each; with deterministic algorithms 1.
# Source: the documentation of torch.use_deterministic_algorithms names index_put with accumulate=True on a CPU, which
# is the gradient's sum; pytorch/pytorch issue 51366; the limit and the others measured, 2026-11-29.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile torch==2.13.0 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import torch

RUNS = 40
DIMENSIONS = 384
torch.set_num_threads(4)
generator = torch.Generator().manual_seed(0)


def indexed(x, rows):
    return x[rows]


def selected(x, rows):
    return x.index_select(0, rows)


def embedded(x, rows):
    return torch.nn.functional.embedding(rows, x)


def results(take, count):
    rows = torch.randint(0, 8, (count,), generator=generator)
    weights = torch.randn(count, DIMENSIONS, generator=generator)
    found = set()
    for _ in range(RUNS):
        x = torch.zeros(8, DIMENSIONS, requires_grad=True)
        (take(x, rows) * weights).sum().backward()
        found.add(x.grad.numpy().tobytes())
    return len(found)


def added(count):
    rows = torch.randint(0, 8, (count,), generator=generator)
    values = torch.randn(count, DIMENSIONS, generator=generator)
    return len({torch.zeros(8, DIMENSIONS).index_add_(0, rows, values).numpy().tobytes() for _ in range(RUNS)})


print(f"different results in {RUNS} runs, four threads, {DIMENSIONS} numbers a row:")
counts = {}
for count in (85, 86, 512):
    counts[count] = [results(take, count) for take in (indexed, selected, embedded)] + [added(count)]
    print(f"  {count} rows, {count * DIMENSIONS} numbers: x[rows] {counts[count][0]}, index_select {counts[count][1]}, "
          f"embedding {counts[count][2]}, index_add_ {counts[count][3]}")
torch.use_deterministic_algorithms(True)
deterministic = results(indexed, 512)
print(f"  512 rows, deterministic algorithms: x[rows] {deterministic}")

as_seen = (
    counts[85] == [1, 1, 1, 1]
    and all(counts[count][0] > 1 and counts[count][1:] == [1, 1, 1] for count in (86, 512))
    and deterministic == 1
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
