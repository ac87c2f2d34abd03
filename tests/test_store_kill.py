"A store that is killed in the middle of a write, again and again."

import os
import signal
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lstm_market.data.store import Series, Store, check_folder, read_manifest

KILLS = 200
SERIES = Series("simulated", "BTCUSDT", "open-interest", "15m")


def rows(first, n):
    "Rows whose value is their place, so that a state of the store is known by its length."
    times = pd.date_range("2020-01-01", periods=first + n, freq="15min", tz="UTC", name="open_at")
    return pd.DataFrame({"open_interest": np.arange(first + n, dtype=float)}, index=times)[first:]


def write_some(folder, n_stored, n_step, n_writes):
    store = Store(folder)
    for first in range(n_stored, n_stored + n_writes * n_step, n_step):
        store.append(SERIES, rows(first, n_step), fetched_at="2024-01-01")


def test_killed_at_random_moments(tmp_path):
    pa.set_cpu_count(1)
    rng, store, n_step = np.random.default_rng(11), Store(tmp_path / "a store"), 500
    store.append(SERIES, rows(0, n_step), fetched_at="2024-01-01")
    began = time.perf_counter()
    write_some(store.folder, n_step, n_step, 10)
    a_write = (time.perf_counter() - began) / 10
    states, halves = [11 * n_step], 0
    for _ in range(KILLS):
        child = os.fork()
        if not child:
            try:
                write_some(store.folder, states[-1], n_step, 10_000)
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0, 4 * a_write))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        halves += any(store.folder.glob(".*.partial"))
        assert check_folder(store.folder) == []
        held = Store(store.folder).read(SERIES)["open_interest"].to_numpy()
        assert len(held) % n_step == 0 and (held == np.arange(len(held))).all()
        assert read_manifest(store.folder)[SERIES]["n_rows"] == len(held) >= states[-1]
        states.append(len(held))
    print(f"{halves} kills met a write, {len(set(states)) - 1} let one through")
    assert halves >= 5, "hardly a kill met a write"
    assert len(set(states)) > 20, "hardly a write went through"
    store.append(SERIES, rows(states[-1], n_step))
    left = [
        path.name for path in store.folder.iterdir() if path.name.endswith((".partial", ".parquet"))
    ]
    assert len(left) == 1, "the next write sweeps"


def test_full_disk(tmp_path):
    "A write that does not fit leaves what was there, and says so."
    small = tmp_path / "small disk"
    small.mkdir()
    if os.geteuid() or os.system(f"mount -t tmpfs -o size=300k none '{small}' 2>/dev/null"):
        pytest.skip("a small file system needs the rights to mount one")
    try:
        store = Store(small / "store")
        store.append(SERIES, rows(0, 500))
        noise = rows(500, 100_000) + np.random.default_rng(1).random((100_000, 1))
        with pytest.raises(OSError, match="No space left"):
            store.append(SERIES, noise)
        assert check_folder(store.folder) == []
        assert len(Store(store.folder).read(SERIES)) == 500
        assert not list(store.folder.glob(".*.partial"))
    finally:
        os.system(f"umount '{small}'")
