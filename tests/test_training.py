"Training that is cut off, run twice, run on other backends, and run both ways."

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import numpy as np
import pytest

KILLS = 10

MARKET = """
import hashlib, os, sys, time
from pathlib import Path
import numpy as np
import pandas as pd
from lstm_market.models.towers import Spec
from lstm_market.models.training import Config, train
from lstm_market.samples.scaling import Scaler
from lstm_market.samples.splits import Split
from lstm_market.samples.windows import Samples, frame, with_scaler

def market(n_rows=900, length=12):
    "The answer leans on the last bars of the first feature; derivatives begin late."
    rng = np.random.default_rng(5)
    spot = rng.uniform(-2, 2, (n_rows, 3)).astype(np.float32)
    derivs = rng.uniform(-2, 2, (n_rows, 2)).astype(np.float32)
    derivs[: n_rows // 3] = np.nan
    lean = np.convolve(spot[:, 0], np.ones(4) / 4)[:n_rows]
    label = (lean + 0.3 * rng.normal(size=n_rows) > 0.3).astype(np.float32)
    raw = Samples(
        pd.date_range("2024-01-01", periods=n_rows, freq="15min", tz="UTC"),
        np.zeros(n_rows, int), spot, derivs, label, np.arange(n_rows),
        ("move_4", "rsi_14", "taker_8"), ("crowd_level", "funding_level"), length, 1,
    )
    ends = raw.ends()
    split = Split(ends[:600], ends[610:740], ends[750:])
    scaler = Scaler().fit(frame(raw, split.train))
    return with_scaler(raw, scaler), split, scaler

samples, split, scaler = market()
spec = Spec(spot=(6,), derivs=(4,), dense=(5,), dropout=0.2, span=4)

def sha(trained):
    "Of the predictions on the test rows."
    return hashlib.sha256(trained.score(samples, split.test).tobytes()).hexdigest()
"""


def told_by(code, *arguments, timeout=300, **environment):
    "What some code, run in a Python of its own after `MARKET`, prints last."
    line = [sys.executable, "-W", "ignore", "-c", MARKET + textwrap.dedent(code), *arguments]
    done = subprocess.run(
        list(map(str, line)),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


TWICE = """
import json
told = []
for seed in map(int, sys.argv[1:]):
    config = Config(k=32, batch_size=4, epochs=2, learning_rate=0.01, seed=seed)
    told.append(sha(train(samples, split, spec, config, progress=False)))
print(json.dumps(told))
"""


@pytest.mark.slow
def test_same_seed_same_predictions():
    first, again, other = told_by(TWICE, 3, 3, 4)
    assert [first, again] == 2 * told_by(TWICE, 3), "in one process, and in another"
    assert other != first, "another seed is another run"


KILLED = """
import json, random, signal
config = Config(k=32, batch_size=4, epochs=24, patience=24, learning_rate=0.01)
home, n_kills = Path(sys.argv[1]), int(sys.argv[2])

def begin(folder):
    "Train in a process of its own."
    child = os.fork()
    if not child:
        try:
            train(samples, split, spec, config, None, folder, False, scaler=scaler)
            os._exit(0)
        finally:
            os._exit(1)
    return child

def done(child):
    assert os.waitpid(child, 0)[1] == 0, "the run failed"

def epochs(folder):
    path = folder / "checkpoint.npz"
    if not path.exists():
        return 0
    with np.load(path) as kept:
        return json.loads(str(kept["told"]))["standing"]["epoch"]

began = time.monotonic()
child, first = begin(home / "whole"), None
while not (ended := os.waitpid(child, os.WNOHANG)[0]):
    time.sleep(0.005)
    if first is None and epochs(home / "whole"):
        first = time.monotonic() - began
whole, folder, draw = time.monotonic() - began, home / "cut", random.Random(8)
assert epochs(home / "whole") == 24
kills, halves = [], 0
for turn in range(n_kills):
    before, child = epochs(folder), begin(folder)
    late = time.monotonic() + draw.uniform(0, first)
    if turn % 4:
        while epochs(folder) == before:
            time.sleep(0.002)
        late = time.monotonic() + draw.uniform(0, 0.1) * (whole - first)
    while time.monotonic() < late and epochs(folder) < before + 2:
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "it was over before the kill"
    halves += any(folder.glob(".*.partial"))
    kills.append([before, epochs(folder)])
done(begin(folder))
print(json.dumps({"kills": kills, "halves": halves, "first": first, "whole": whole}))
"""


def state(folder):
    "All that a run left: every array of its checkpoint, its history, its model."
    with np.load(folder / "checkpoint.npz") as kept:
        arrays = {name: kept[name] for name in kept.files}
    told = json.loads(str(arrays.pop("told")))
    (weights,) = folder.glob("weights-*.npz")
    said = json.loads((folder / "model.json").read_text())
    return arrays, told, said, hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    told = told_by(KILLED, tmp_path, KILLS)
    print(told)
    assert len({after for _, after in told["kills"]}) >= 5, "the kills hit few different epochs"
    arrays, kept, said, weights = state(tmp_path / "whole")
    again, kept_again, said_again, weights_again = state(tmp_path / "cut")
    assert list(arrays) == list(again)
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, again[name], strict=True, err_msg=name)
    assert (kept, said, weights) == (kept_again, said_again, weights_again)
    assert not list((tmp_path / "cut").glob(".*.partial")), "the next run sweeps"


BOTH = """
import json
told = {}
for name, more in (("dense", {"k": 64, "batch_size": 2}), ("windowed", {"batch_size": 64})):
    config = Config(name, epochs=16, patience=16, learning_rate=0.01, **more)
    trained = train(samples, split, spec, config, progress=False)
    told[name] = trained.score(samples, split.test).tolist()
    told[name + " in windows"] = trained.windows(samples, split.test).tolist()
print(json.dumps(told | {"label": samples.label[split.test].tolist()}))
"""


@pytest.mark.slow
def test_both_trainers_agree():
    from sklearn.metrics import average_precision_score

    told = told_by(BOTH)
    label = told.pop("label")
    precision = {name: average_precision_score(label, said) for name, said in told.items()}
    print(precision)
    assert min(precision.values()) > np.mean(label) + 0.2
    assert max(precision.values()) - min(precision.values()) < 0.05
    assert np.corrcoef(told["dense"], told["windowed"])[0, 1] > 0.9
    for name in ("dense", "windowed"):
        assert np.abs(np.subtract(told[name], told[name + " in windows"])).mean() < 0.05


OTHER = """
import json, keras

def cut_off(standing):
    if standing.epoch == 1:
        raise KeyboardInterrupt

config, home = Config(k=32, batch_size=4, epochs=2), Path(sys.argv[1])
whole = train(samples, split, spec, config, progress=False)
try:
    train(samples, split, spec, config, None, home, cut_off, scaler=scaler)
except KeyboardInterrupt:
    resumed = train(samples, split, spec, config, None, home, False, scaler=scaler)
said = [sha(whole), sha(resumed)]
print(json.dumps([keras.backend.backend(), said[0] == said[1], whole.history["loss"][0]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_trains_and_resumes_on_another_backend(backend, tmp_path):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    name, same, loss = told_by(OTHER, tmp_path, KERAS_BACKEND=backend)
    assert name == backend and same and 0 < loss < 2
