"""The emulator's races are those that there are: random accesses and syncs, and vector clocks that order them."""

import numpy as np
import pytest

import emulator
from emulator import Emulator, KernelError

pytestmark = pytest.mark.skipif(emulator.why_not() is not None, reason=str(emulator.why_not()))

THREADS, WARPS = 96, 3
NO_SYNC, SYNC_WARPS, SYNC_BLOCK, FIRST_TWO_WARPS, LAST_TWO_WARPS, HALF_WARPS = range(6)
READ, WRITE, READ_BYTE, WRITE_BYTE, ADD, WRITE_PAIR = range(1, 7)

# In each step a thread may access a place in shared memory; then there may be a sync.
KERNEL = """
KERNEL void access(const int* kinds, const int* places, const int* syncs, int* out, int steps) {
    __shared__ unsigned words[16];
    unsigned char* bytes = (unsigned char*)words;
    const int i = threadIdx.x, n = blockDim.x;
    if (i < 16) words[i] = 0;
    __syncthreads();
    int found = 0;
    for (int step = 0; step < steps; ++step) {
        const int kind = kinds[step * n + i], place = places[step * n + i];
        if (kind == READ) found += (int)words[place / 4];
        if (kind == WRITE) words[place / 4] = i;
        if (kind == READ_BYTE) found += bytes[place];
        if (kind == WRITE_BYTE) bytes[place] = i;
        if (kind == ADD) atomicAdd(&words[place / 4], 1u);
        if (kind == WRITE_PAIR) *(uint2*)(words + place / 8 * 2) = make_uint2(1, 2);
        const int sync = syncs[step];
        if (sync == SYNC_WARPS) __syncwarp();
        if (sync == SYNC_BLOCK) __syncthreads();
        if (sync == FIRST_TWO_WARPS && i < 64) named_barrier(1, 64);
        if (sync == LAST_TWO_WARPS && i >= 32) named_barrier(2, 64);
        if (sync == HALF_WARPS && i % 32 < 16) __syncwarp(0xffff);
    }
    out[i] = found;
}
"""

GROUPS = {
    NO_SYNC: [],
    SYNC_WARPS: np.arange(THREADS).reshape(WARPS, 32),
    SYNC_BLOCK: [np.arange(THREADS)],
    FIRST_TWO_WARPS: [np.arange(64)],
    LAST_TWO_WARPS: [np.arange(32, THREADS)],
    HALF_WARPS: np.arange(THREADS).reshape(WARPS, 32)[:, :16],
}
BYTES = {READ: 4, WRITE: 4, READ_BYTE: 1, WRITE_BYTE: 1, ADD: 4, WRITE_PAIR: 8}
WRITES = (WRITE, WRITE_BYTE, ADD, WRITE_PAIR)


@pytest.fixture(scope="module")
def kernel():
    names = ("SYNC_WARPS", "SYNC_BLOCK", "FIRST_TWO_WARPS", "LAST_TWO_WARPS", "HALF_WARPS")
    names += ("READ", "WRITE", "READ_BYTE", "WRITE_BYTE", "ADD", "WRITE_PAIR")
    return Emulator(KERNEL, constants={name: globals()[name] for name in names})


def program(rng, allowed):
    """Kinds and places of accesses, (steps, threads), few enough to be without a race as often as not; and syncs."""
    steps = rng.integers(2, 6)
    accesses = rng.random((steps, THREADS)) < rng.choice([0.004, 0.01, 0.02, 0.04])
    kinds = np.where(accesses, rng.choice([READ, READ, *BYTES], (steps, THREADS)), 0)
    if rng.random() < 0.3:
        kinds[rng.integers(steps)] = READ
    places = rng.integers(0, rng.choice([8, 16, 32, 48]), (steps, THREADS))
    return kinds.astype(np.int32), places.astype(np.int32), rng.choice(allowed, steps).astype(np.int32)


def races(kinds, places, syncs):
    """Whether two accesses of a program touch a byte, one writes it, not both are atomic, and no sync orders them."""
    clocks = np.eye(THREADS, dtype=int)
    before = []
    for step_kinds, step_places, sync in zip(kinds, places, syncs, strict=True):
        for thread in np.flatnonzero(step_kinds):
            kind = step_kinds[thread]
            first = step_places[thread] // BYTES[kind] * BYTES[kind]
            one = (thread, clocks[thread, thread], first, first + BYTES[kind], kind)
            if any(_race(one, other, clocks) for other in before):
                return True
            before.append(one)
        for group in GROUPS[sync]:
            clocks[group] = clocks[group].max(axis=0)
            clocks[group, group] += 1
    return False


def _race(one, other, clocks):
    (thread, _, first, end, kind), (other_thread, when, other_first, other_end, other_kind) = one, other
    return (
        thread != other_thread
        and first < other_end
        and other_first < end
        and (kind in WRITES or other_kind in WRITES)
        and not kind == other_kind == ADD
        and clocks[thread, other_thread] < when
    )


def finds_race(kernel, kinds, places, syncs, seed):
    try:
        kernel.launch("access", 1, THREADS, 0, kinds, places, syncs, np.zeros(THREADS, np.int32), len(syncs), seed=seed)
    except KernelError as error:
        assert error.name == "SharedMemoryRace"
        return True
    return False


def test_what_races_is_found(kernel):
    rng, expected = np.random.default_rng(1), []
    for seed in range(300):
        case = program(rng, [NO_SYNC, SYNC_WARPS, SYNC_BLOCK])
        expected.append(races(*case))
        assert finds_race(kernel, *case, seed) == expected[-1], seed
    assert 100 < sum(expected) < 200


def test_what_does_not_race_is_not_found(kernel):
    # of what syncs of a part of the threads leave unordered, a little is missed
    rng, expected, found = np.random.default_rng(2), [], []
    for seed in range(300):
        case = program(rng, [*GROUPS])
        expected.append(races(*case))
        found.append(finds_race(kernel, *case, seed))
    assert not any(one and not other for one, other in zip(found, expected, strict=True))
    assert sum(found) > 0.97 * sum(expected) > 100
