"Sequence models through the doors of the towers: what is there they find, and nothing else."

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from lstm_market.data.bars import Interval
from lstm_market.data.clean import clean, coarser
from lstm_market.data.synth import simulate
from lstm_market.models.sequence import SEQUENCES
from lstm_market.models.studies import RECIPES, asked_of, study_for
from lstm_market.models.trained import TrainedModel
from lstm_market.models.training import Config, train
from lstm_market.samples.labels import Forward

QUARTER = Interval("15m")
ASKED = Forward("direction", 1)
CONFIG = Config(k=96, batch_size=4, learning_rate=0.01, epochs=8, patience=8, seed=1)
LONGER = {"attention_pooled": 30, "hourly": 16, "hourly_gru": 16}
CLASSIFIERS = [name for name in SEQUENCES if name != "tutorial"]


@cache
def cleaned(signal, seed=3):
    "A market whose takers know so much of the next bar."
    return clean(simulate(9_000, seed, signal).candles, "kline", QUARTER)


def small(spec):
    "The same network with few units and no regularisers, which small data does not need."
    few = {"spot": (16,) * len(spec.spot), "heads": 2, "hide": 0.0, "noise": 0.0, "l2": 0.0}
    return replace(spec, **few, drops=(), dropout=0.0)


def told(name, tables):
    "A trained model of a preset, and what it says of the rows that judge."
    recipe = replace(asked_of(RECIPES[name], ASKED, len(tables)), length=24)
    study, extra = study_for(recipe, tables, QUARTER)
    about = {"scaler": study.scaler, "rule": study.rule, "interval": QUARTER}
    config = replace(CONFIG, epochs=LONGER.get(name, CONFIG.epochs))
    model = train(
        study.samples, study.split, small(recipe.spec), config, extra, progress=False, **about
    )
    test = study.split.test
    return model, roc_auc_score(study.samples.label[test], model.score(study.samples, test))


def tables_of(name, signal):
    "One market, or as many as the preset wants; the others are other markets."
    n_assets = SEQUENCES[name].assets
    return {f"M{n}": cleaned(signal, 3 + n) for n in range(n_assets)}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_finds_what_is_there_and_nothing_else(name, tmp_path):
    model, found = told(name, tables_of(name, 0.4))
    assert found > 0.58, found
    model.save(tmp_path)
    again = TrainedModel.load(tmp_path)
    for mine, same in zip(model.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, same, strict=True)
    _, empty = told(name, tables_of(name, 0.0))
    assert 0.45 < empty < 0.55, empty


def test_a_panel_sees_what_only_another_instrument_knows():
    rng, whole = np.random.default_rng(5), cleaned(0.4)
    blind = whole.copy()
    takers = [name for name in blind.columns if name.startswith("taker")]
    rows = np.flatnonzero(blind["volume"].notna())
    share = (blind["taker_buy_base_asset_volume"] / blind["volume"]).iloc[rows].to_numpy()
    share = rng.permutation(np.nan_to_num(share))
    for name, of in zip(takers, ("volume", "quote_asset_volume"), strict=True):
        blind.iloc[rows, blind.columns.get_loc(name)] = share * blind[of].iloc[rows]
    _, alone = told("attention", {"BLIND": blind})
    assert 0.45 < alone < 0.55, alone
    for name in ("panel", "concatenated"):
        _, beside = told(name, {"BLIND": blind, "SEEING": whole})
        assert beside > 0.58, (name, beside)


def priced(close):
    "Candles of some closes, the open being the close before."
    opened = np.r_[close[0], close[:-1]]
    index = pd.date_range("2024-01-01", periods=len(close), freq="15min", tz="UTC", name="open_at")
    table = {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close)}
    table |= {"close": close} | dict.fromkeys(cleaned(0.0).columns[4:9], 1.0)
    return clean(pd.DataFrame(table, index), "kline", QUARTER)


def test_the_tutorial_learns_a_wave_and_no_random_walk():
    rng, hours = np.random.default_rng(2), np.arange(4_000)
    wave = 100 + 10 * np.sin(hours / 6) + 0.2 * rng.normal(size=4_000)
    walk = 100 * np.exp(np.cumsum(0.002 * rng.normal(size=4_000)))
    found = {}
    for name, close in (("wave", wave), ("walk", walk)):
        recipe = RECIPES["tutorial"]
        study, _ = study_for(recipe, {"ONE": priced(close)}, QUARTER)
        config = replace(CONFIG, learning_rate=0.005, epochs=12)
        model = train(study.samples, study.split, recipe.spec, config, progress=False)
        test = study.split.test
        last, after = study.samples.spot[test, 0], study.samples.label[test]
        found[name] = spearmanr(model.score(study.samples, test) - last, after - last).statistic
    assert found["wave"] > 0.6 and abs(found["walk"]) < 0.12, found


def test_another_instruments_future_changes_nothing():
    tables, cut = {"ONE": cleaned(0.0), "TWO": cleaned(0.0, 4)}, 6_000
    recipe = asked_of(RECIPES["panel"], Forward("return", 5), 2)
    study, extra = study_for(recipe, tables, QUARTER)
    other = tables["TWO"].copy()
    prices = ["open", "high", "low", "close"]
    other.loc[other.index[cut + 1 :], prices] *= 7.0
    moved, beside = study_for(recipe, tables | {"TWO": other}, QUARTER)
    np.testing.assert_array_equal(study.samples.spot[: cut + 1], moved.samples.spot[: cut + 1])
    np.testing.assert_array_equal(extra[: cut - 4], beside[: cut - 4])
    assert (study.samples.spot[cut + 1 :] != moved.samples.spot[cut + 1 :]).any()
    assert not np.array_equal(extra[cut - 4 :], beside[cut - 4 :], equal_nan=True)
    assert study.split.val[0] - study.split.train[-1] > recipe.question.horizon


def test_hours_know_their_own_quarters_only():
    quarters = simulate(2_000, 3).candles
    cut = len(quarters) // 2
    wild = quarters.copy()
    wild.iloc[cut:] *= 3.0
    one, other = (coarser(each, QUARTER, Interval("1h")) for each in (quarters, wild))
    before = one.index + pd.Timedelta("1h") <= quarters.index[cut]
    pd.testing.assert_frame_equal(one[before], other[before])
    assert (one[~before]["close"] != other[~before]["close"]).all() and before.sum() > 100
