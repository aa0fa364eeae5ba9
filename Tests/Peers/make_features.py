"""Writes golden data of the feature modules `v2`, `market` (without the book's columns) and `session`, and of the order
flow: a second implementation of the formulas in Sources/Features and Sources/Indicators.

    python3 Tests/Peers/make_features.py

Needs NumPy. Writes Tests/FeaturesTests/Golden/columns.csv and order-flow.csv, and prints how often each candle pattern
and event is in the rows that are to be compared.

Nothing here runs along: each value is computed from the whole history, window by window, exponential averages by their
weights, candle patterns in whole ticks, with sums that are rounded once (math.fsum). NaN means that there is no value.
The script stops where a pattern, an event or a sign is missing, or where rounding could turn a comparison.
"""

import collections
import math
import sys
from pathlib import Path

import numpy as np

SEED = 11
BAR_COUNT = 420
# 2026-02-02T20:30:00Z, a Monday: the US session ends at bar 30, the day at bar 210.
START = 1_770_064_200
INTERVAL = 60
DAY = 86_400
# Prices are kept in ticks of 0.01, volumes in units of 0.0001: whole numbers, and a CSV holds them exactly.
TICKS = 100
UNITS = 10_000
FIRST_TICK = 30_000
# Bars whose columns are written: the beginning, first values after long warm-ups, and a stretch around midnight.
CHECKED = [*range(0, 37), *range(48, 52), 76, 77, 98, 99, *range(120, 280)]
# Nothing moves in the first bars, nor in a stretch later on, where nobody trades either.
STILL = range(0, 17)
FROZEN = range(236, 263)
# The trend before a pattern of one bar: its close before against the one so many bars earlier still.
TREND_BARS = 5

GOLDEN = Path(__file__).resolve().parent.parent / "FeaturesTests" / "Golden"


# Bars


class Tape:
    """Bars in whole ticks and units, one after the other."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.bars = []
        self.volumes = []

    @property
    def close(self):
        return self.bars[-1][3] if self.bars else FIRST_TICK

    def volume(self):
        draw = self.random.uniform()
        if draw < 0.05:
            return 0
        size = math.exp(self.random.normal(1.5, 0.5)) * (8 if draw > 0.95 else 1)
        return round(size * UNITS)

    def append(self, bar, volume=None):
        """Adds a bar; a shadow grows by a tick where a threshold would be met exactly."""
        opening, high, low, close = bar
        while high > low and (tie := self.tie(opening, high, low, close)):
            high, low = (high, low - 1) if tie == "low" else (high + 1, low)
        self.bars.append((opening, high, low, close))
        self.volumes.append(self.volume() if volume is None else volume)

    def tie(self, opening, high, low, close):
        """Which end must move for the bar's proportions, and its reach beyond the last one, to be clear."""
        body, size = abs(close - opening), high - low
        above, below = high - max(opening, close), min(opening, close) - low
        if body > 0 and below == 2 * body:
            return "low"
        ties = [10 * body == 6 * size, 10 * body == 3 * size, 20 * body == size, 10 * above == size, 10 * below == size]
        ties.append(body > 0 and above == 2 * body)
        if self.bars:
            up, down = high - self.bars[-1][1], self.bars[-1][2] - low
            ties.append(up == down and up > 0)
        return "high" if any(ties) else None

    def still(self, volume=None):
        self.append((self.close,) * 4, volume)

    def anything(self, drift=0.0):
        """A random bar: sometimes with a gap, sometimes flat, sometimes a doji."""
        random = self.random
        kind = random.uniform()
        if kind < 0.05:
            return self.still(0 if random.uniform() < 0.5 else None)
        opening = self.close + (round(random.normal(0, 50)) if random.uniform() < 0.15 else 0)
        step = random.integers(-2, 3) if kind < 0.12 else round(random.normal(drift, 60))
        close = opening + int(step)
        high = max(opening, close) + round(random.exponential(25))
        low = min(opening, close) - round(random.exponential(25))
        return self.append((opening, high, low, close))

    def shape(self, bars):
        """Bars whose prices are given as distances from the last close, at a random size."""
        origin, scale = self.close, self.random.uniform(0.9, 1.3)
        for bar in bars:
            self.append(tuple(origin + round(scale * price) for price in bar))


def staircase(step, count):
    """Bars that all move by `step`, and leave hardly a shadow."""
    bars = []
    for index in range(count):
        opening, close = index * step, (index + 1) * step
        bars.append((opening, max(opening, close) + 3, min(opening, close) - 4, close))
    return bars


def moved(bars, distance):
    return [tuple(price + distance for price in bar) for bar in bars]


def mirrored(bars):
    return [(-opening, -low, -high, -close) for opening, high, low, close in bars]


def shapes():
    """Each candle pattern with what it needs before it: (open, high, low, close) as distances from the last close."""
    fall, rise = staircase(-40, 6), staircase(40, 6)
    hammer = [(-5, -2, -105, -25)]
    upside_down = [(-25, 75, -28, -5)]
    engulfing = [(0, 6, -46, -40), (-46, 18, -52, 12)]
    star = [(0, 5, -105, -100), (-110, -96, -134, -118), (-104, -12, -110, -20)]
    soldiers = [(0, 63, -4, 60), (31, 99, 26, 95), (62, 134, 57, 130)]
    harami = [(0, 5, -106, -100), (-72, -28, -97, -55)]
    piercing = [(0, 5, -107, -100), (-118, -22, -124, -30)]
    # The closes before these two lie beyond the fourth one before, but not beyond the fifth.
    late_fall = [(0, 155, -4, 150), *moved(staircase(-22, 4), 150)]
    late_rise = mirrored(late_fall)
    return [
        fall + moved(hammer, -240), rise + mirrored(moved(hammer, -240)), rise + moved(mirrored(upside_down), 240),
        fall + mirrored(moved(mirrored(upside_down), 240)), engulfing, mirrored(engulfing),
        [(0, 41, -47, 0)], star, mirrored(star), soldiers, mirrored(soldiers), harami, mirrored(harami), piercing,
        mirrored(piercing), late_fall + moved(hammer, 62), late_rise + mirrored(moved(hammer, 62)),
    ]


def make_bars(seed):
    """Ticks of open, high, low, close in the rows of one array, and units of volume."""
    tape = Tape(seed)
    for index in STILL:
        tape.still(0 if index < 3 else None)
    drifts = [0, 15, -20, 20]
    while len(tape.bars) < 120:
        tape.anything(drifts[len(tape.bars) // 25 % 4])
    for shape in shapes():
        for _ in range(tape.random.integers(1, 3)):
            tape.anything()
        tape.shape(shape)
    while len(tape.bars) < FROZEN.start:
        tape.anything(-10)
    for _ in FROZEN:
        tape.still(0)
    tape.anything()
    tape.shape(staircase(12, 12))
    while len(tape.bars) < BAR_COUNT:
        tape.anything(-25 if len(tape.bars) < 300 else 10)
    return np.array(tape.bars), np.array(tape.volumes)


class Market:
    """What the columns are computed from."""

    def __init__(self, ticks, units):
        self.ticks = ticks
        self.open, self.high, self.low, self.close = (ticks[:, place] / TICKS for place in range(4))
        self.volume = units / UNITS
        self.typical = (self.high + self.low + self.close) / 3
        self.count = len(ticks)
        self.open_time = START + INTERVAL * np.arange(self.count)
        self.close_time = self.open_time + INTERVAL
        self.previous_close = np.concatenate([[np.nan], self.close[:-1]])
        with_previous = np.fmax(self.high, self.previous_close) - np.fmin(self.low, self.previous_close)
        self.true_range = np.where(np.isnan(self.previous_close), np.nan, with_previous)
        self.log_return = np.log(self.close / self.previous_close)


# Windows and averages


def rolling(values, period, measure):
    """`measure` of each window of `period` values, at the window's last place."""
    result = np.full(len(values), np.nan)
    for end in range(period, len(values) + 1):
        window = values[end - period:end]
        if not np.isnan(window).any():
            result[end - 1] = measure(window)
    return result


def total(values, period):
    return rolling(values, period, math.fsum)


def mean(values, period):
    return total(values, period) / period


def lagged(values, bars):
    return np.concatenate([np.full(bars, np.nan), values[:-bars]])


def divided(numerator, denominator):
    """No value where the denominator is 0."""
    result = np.full(len(numerator), np.nan)
    known = ~np.isnan(denominator) & (denominator != 0)
    result[known] = numerator[known] / denominator[known]
    return result


def deviation(window):
    """Population standard deviation, 0 exactly where nothing differs."""
    if np.ptp(window) == 0:
        return 0.0
    centre = math.fsum(window) / len(window)
    return math.sqrt(math.fsum((window - centre) ** 2) / len(window))


def weighted(values, period, factor):
    """The mean of the first `period` values, then the average that takes `factor` of each further one, by its weights.
    The values begin after the NaN at the beginning."""
    begin = int(np.flatnonzero(~np.isnan(values))[0])
    result = np.full(len(values), np.nan)
    seed = math.fsum(values[begin:begin + period]) / period
    for place in range(begin + period - 1, len(values)):
        later = values[begin + period:place + 1]
        weights = factor * (1 - factor) ** np.arange(len(later) - 1, -1, -1.0)
        result[place] = math.fsum([(1 - factor) ** len(later) * seed, *(weights * later)])
    return result


def exponential(values, period):
    return weighted(values, period, 2 / (period + 1))


def wilder(values, period):
    return weighted(values, period, 1 / period)


# TA-Lib's indicators


def relative_strength(market, period):
    """Whether nothing has moved yet is told by a gain and a loss of 0: TA-Lib says 0 there."""
    change = market.close - market.previous_close
    gain = wilder(np.where(np.isnan(change), np.nan, np.maximum(change, 0)), period)
    loss = wilder(np.where(np.isnan(change), np.nan, np.maximum(-change, 0)), period)
    value = 100 * divided(gain, gain + loss)
    return value, np.where(gain + loss == 0, 0.0, value)


def convergence_divergence(market):
    """The fast average's first value is the mean of the 12 closes that end where the slow one's 26 end."""
    aligned = market.close.copy()
    aligned[:26 - 12] = np.nan
    line = exponential(aligned, 12) - exponential(market.close, 26)
    signal = exponential(line, 9)
    return np.where(np.isnan(signal), np.nan, line), signal, line - signal


def average_true_range(market):
    return wilder(market.true_range, 14)


def directional_index(market, period=14):
    """Sums over the first n - 1 moves, which then lose 1/n a bar; the mean of n indices, then Wilder's average of those
    that exist."""
    up, down = np.diff(market.high), -np.diff(market.low)
    rising = np.where((up > down) & (up > 0), up, 0.0)
    falling = np.where((down > up) & (down > 0), down, 0.0)
    keep = 1 - 1 / period

    def smoothed(moves, count):
        """Of the first `count` moves: those of the first sum are equally old."""
        ages = count - np.maximum(np.arange(1, count + 1), period - 1)
        return math.fsum(keep ** ages * moves[:count])

    indices = []
    for count in range(period, market.count):
        plus, minus = smoothed(rising, count), smoothed(falling, count)
        indices.append(100 * abs(plus - minus) / (plus + minus) if plus + minus > 0 else math.nan)
    result = np.full(market.count, np.nan)
    seed = math.fsum(value for value in indices[:period] if not math.isnan(value)) / period
    for count in range(period, len(indices) + 1):
        later = [value for value in indices[period:count] if not math.isnan(value)]
        terms = [value / period * keep ** (len(later) - 1 - place) for place, value in enumerate(later)]
        result[period + count - 1] = math.fsum([seed * keep ** len(later), *terms])
    return result


def stochastic(market, period):
    """Slow K and slow D, from where D has a value; none where the newest window has no range."""
    highest, lowest = rolling(market.high, period, np.max), rolling(market.low, period, np.min)
    width = highest - lowest
    fast = np.where(width == 0, 0.0, 100 * divided(market.close - lowest, width))
    slow = mean(fast, 3)
    slower = mean(slow, 3)
    there = ~np.isnan(slower) & (width != 0)
    return np.where(there, slow, np.nan), np.where(there, slower, np.nan)


def channel_index(market):
    def measure(window):
        if np.ptp(window) == 0:
            return 0.0
        centre = math.fsum(window) / len(window)
        spread = math.fsum(abs(window - centre)) / len(window)
        return (window[-1] - centre) / (0.015 * spread)

    return rolling(market.typical, 20, measure)


def bollinger(market):
    centre, spread = mean(market.close, 20), rolling(market.close, 20, deviation)
    return centre - 2 * spread, centre + 2 * spread


def middle_of_range(market, period):
    return 0.5 * (rolling(market.high, period, np.max) + rolling(market.low, period, np.min))


# The set v2


def volatility_columns(market):
    realised = {n: np.sqrt(total(market.log_return ** 2, n) / n) for n in (10, 20, 50)}
    squared = np.log(market.high / market.low) ** 2
    columns = {"atr": average_true_range(market) / market.close}
    columns |= {f"realized_vol_{n}": realised[n] for n in (10, 20, 50)}
    columns |= {f"parkinson_vol_{n}": np.sqrt(total(squared, n) / (4 * math.log(2) * n)) for n in (10, 20)}
    return columns | {"vol_ratio": divided(realised[10], realised[50])}


def momentum_columns(market):
    columns = {f"rsi_{n}": relative_strength(market, n)[0] / 50 - 1 for n in (7, 14, 21)}
    columns |= {f"roc_{n}": market.close / lagged(market.close, n) - 1 for n in (1, 5, 10, 20)}
    line, signal, histogram = convergence_divergence(market)
    parts = {"macd": line, "macd_signal": signal, "macd_hist": histogram}
    columns |= {name: values / market.close for name, values in parts.items()}
    return columns | {f"stoch_{n}": stochastic(market, n)[0] / 50 - 1 for n in (14, 21)}


def trend_columns(market):
    periods = (5, 10, 20, 50, 100)
    averages = {n: exponential(market.close, n) for n in periods}
    columns = {f"ema_{n}": averages[n] / market.close for n in periods}
    reach = average_true_range(market)
    columns |= {f"dist_ema_{n}": divided(market.close - averages[n], reach) for n in periods}
    columns |= {f"ema_slope_{n}": averages[n] / lagged(averages[n], 1) - 1 for n in (20, 50)}
    strength = directional_index(market)
    order = np.sign(market.close - averages[20]) + np.sign(averages[20] - averages[50])
    order = order + np.sign(averages[50] - averages[100])
    return columns | {"adx": strength / 100, "trend_score": order / 3 * np.minimum(1, strength / 50)}


def volume_columns(market):
    volume = market.volume
    columns = {f"volume_ratio_{n}": divided(volume, mean(volume, n)) for n in (10, 20, 50)}
    average_price = divided(total(market.typical * volume, 20), total(volume, 20))
    direction = np.sign(market.close - market.previous_close)
    known = np.where(np.isnan(direction), np.nan, volume)
    size = market.high - market.low
    place = np.where(size > 0, divided((market.close - market.low) - (market.high - market.close), size), 0.0)
    return columns | {
        "vwap_dist": market.close / average_price - 1,
        "obv_slope": divided(total(direction * volume, 20), total(known, 20)),
        "mfv_sum_20": divided(total(place * volume, 20), total(volume, 20)),
    }


def streak(market):
    """Closes in a row up (or -down): as far back as the changes have the newest one's sign."""
    result = np.full(market.count, np.nan)
    signs = np.sign(market.close - market.previous_close)
    for place in range(1, market.count):
        length = 0
        while signs[place] != 0 and place - length >= 1 and signs[place - length] == signs[place]:
            length += 1
        result[place] = signs[place] * length
    return result


def candle_columns(market):
    size = market.high - market.low
    top, bottom = np.maximum(market.open, market.close), np.minimum(market.open, market.close)
    return {
        "close_position": divided(market.close - market.low, size),
        "body_ratio": divided(top - bottom, size),
        "upper_shadow": divided(market.high - top, size),
        "lower_shadow": divided(bottom - market.low, size),
        "candle_dir": np.sign(market.close - market.open),
        "consecutive": np.clip(streak(market) / 10, -1, 1),
        "gap": market.open / market.previous_close - 1,
    }


def more_columns(market):
    # 1970-01-05 was a Monday.
    hour = 2 * np.pi * (market.close_time % DAY) / DAY
    week = 2 * np.pi * ((market.close_time - 4 * DAY) % (7 * DAY)) / (7 * DAY)
    lower, upper = bollinger(market)
    return {
        "hour_sin": np.sin(hour), "hour_cos": np.cos(hour), "weekday_sin": np.sin(week), "weekday_cos": np.cos(week),
        "cci_20": channel_index(market) / 100,
        "bollinger_position": divided(market.close - lower, upper - lower),
        "dist_kijun": market.close / middle_of_range(market, 26) - 1,
    }


def v2_columns(market):
    families = [
        volatility_columns, momentum_columns, trend_columns, volume_columns, candle_columns, more_columns,
    ]
    return {f"v2.feat_{name}": values for family in families for name, values in family(market).items()}


# The module generic


def generic_columns(market):
    """All but the book's two."""
    close, volume = market.close, market.volume
    realised = {n: np.sqrt(total(market.log_return ** 2, n) / n) for n in (10, 30, 60)}
    squared = np.log(market.high / market.low) ** 2
    line, signal, histogram = convergence_divergence(market)
    slow, slower = stochastic(market, 14)
    lower, upper = bollinger(market)
    centre = mean(close, 20)
    typical_volume = np.where(mean(volume, 20) > 0, mean(volume, 20), np.nan)
    average_price = divided(total(market.typical * volume, 60), total(volume, 60))
    slope = exponential(close, 21)
    size = market.high - market.low
    top, bottom = np.maximum(market.open, close), np.minimum(market.open, close)
    time = more_columns(market)
    columns = {"log_return_1": market.log_return}
    columns |= {f"roc_{n}": close / lagged(close, n) - 1 for n in (5, 10, 20)}
    columns |= {f"realized_vol_{n}": realised[n] for n in (10, 30, 60)}
    columns |= {
        "parkinson_vol_20": np.sqrt(total(squared, 20) / (4 * math.log(2) * 20)),
        "vol_ratio": divided(realised[10], realised[60]),
        "atr_14": average_true_range(market) / close,
        "rsi_14": relative_strength(market, 14)[0] / 50 - 1,
        "macd": line / close, "macd_signal": signal / close, "macd_hist": histogram / close,
        "stoch_k": slow / 50 - 1, "stoch_d": slower / 50 - 1,
        "cci_20": channel_index(market) / 100, "mfi_14": money_flow(market) / 50 - 1,
        "ema_9": close / exponential(close, 9) - 1, "ema_21": close / slope - 1, "sma_50": close / mean(close, 50) - 1,
        "ema_slope_21": slope / lagged(slope, 1) - 1, "adx_14": directional_index(market) / 100,
        "bollinger_position": divided(close - centre, upper - centre),
        "bollinger_width": (upper - lower) / centre,
        "volume_zscore_30": divided(volume - mean(volume, 30), rolling(volume, 30, deviation)),
        "volume_ratio_20": np.log((volume + typical_volume / 100) / (1.01 * typical_volume)),
        "vwap_dist_60": close / average_price - 1, "obv_slope_20": volume_columns(market)["obv_slope"],
        "close_position": divided((close - market.low) - (market.high - close), size),
        "body_ratio": divided(close - market.open, size),
        "upper_shadow": divided(market.high - top, size), "lower_shadow": divided(bottom - market.low, size),
    }
    columns |= {name: time[name] for name in ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")}
    return {f"generic.{name}": values for name, values in columns.items()}


def money_flow(market):
    """TA-Lib's MFI of 14; none where less than one unit of the quote currency changed hands."""
    moves = market.typical - lagged(market.typical, 1)
    flow = market.typical * market.volume
    known = np.where(np.isnan(moves), np.nan, flow)
    sides = [np.where(np.isnan(moves), np.nan, np.where(side, known, 0.0)) for side in (moves > 0, moves < 0)]
    up, down = (total(side, 14) for side in sides)
    return np.where(up + down < 1, np.nan, 100 * divided(up, up + down))


# Market


def day_average(market):
    """The volume-weighted average price since midnight of the bars that opened since."""
    result = np.full(market.count, np.nan)
    days = market.open_time // DAY
    for place in range(market.count):
        today = np.flatnonzero(days[:place + 1] == days[place])
        traded = math.fsum(market.volume[today])
        if traded > 0:
            result[place] = math.fsum(market.typical[today] * market.volume[today]) / traded
    return result


def indicator_columns(market):
    line, signal, _ = convergence_divergence(market)
    lower, upper = bollinger(market)
    conversion, base = middle_of_range(market, 9), middle_of_range(market, 26)
    return {
        "rsi_14": relative_strength(market, 14)[0], "macd": line, "macd_signal": signal,
        "ema_9": exponential(market.close, 9), "ema_21": exponential(market.close, 21),
        "sma_50": mean(market.close, 50), "bollinger_upper": upper, "bollinger_lower": lower,
        "atr_14": average_true_range(market), "adx": directional_index(market), "cci_20": channel_index(market),
        "tenkan": conversion, "kijun": base, "senkou_a": lagged((conversion + base) / 2, 26),
        "senkou_b": lagged(middle_of_range(market, 52), 26), "vwap": day_average(market),
    }


def flag(condition, known):
    return np.where(known, np.where(condition, 1.0, 0.0), np.nan)


def balance(up, down, known):
    """1, -1, or 0 where neither holds or both do."""
    return np.where(known, up.astype(float) - down.astype(float), np.nan)


def spike_limit(market):
    return lagged(mean(market.volume, 20) + 2 * rolling(market.volume, 20, deviation), 1)


def reversals(market):
    high, low = lagged(market.high, 1), lagged(market.low, 1)
    highest, lowest = rolling(high, 10, np.max), rolling(low, 10, np.min)
    up, down = (low == lowest) & (market.close > high), (high == highest) & (market.close < low)
    return balance(up, down, ~np.isnan(lowest))


def trend_directions(market):
    quick, slow, far = exponential(market.close, 9), exponential(market.close, 21), mean(market.close, 50)
    return balance((quick > slow) & (market.close > far), (quick < slow) & (market.close < far), ~np.isnan(far))


def momentum_shifts(market):
    histogram, strength = convergence_divergence(market)[2], relative_strength(market, 14)[1]
    old_histogram, old_strength = lagged(histogram, 1), lagged(strength, 1)
    up = (old_histogram <= 0) & (histogram > 0) | (old_strength <= 30) & (strength > 30)
    down = (old_histogram >= 0) & (histogram < 0) | (old_strength >= 70) & (strength < 70)
    return balance(up, down, ~np.isnan(old_histogram))


def event_columns(market):
    limit, top = spike_limit(market), lagged(rolling(market.high, 20, np.max), 1)
    return {
        "event_spike_volume": flag(market.volume > limit, ~np.isnan(limit)),
        "event_breakout": flag(market.close > top, ~np.isnan(top)),
        "event_reversal": reversals(market),
        "trend_direction": trend_directions(market),
        "momentum_shift": momentum_shifts(market),
        "pattern_match": patterns(market),
    }


def market_columns(market):
    raw = {
        "timestamp": market.close_time * 1000.0, "price": market.close, "volume": market.volume, "open": market.open,
        "high": market.high, "low": market.low, "close": market.close,
    }
    columns = raw | indicator_columns(market) | event_columns(market)
    return {f"market.{name}": values for name, values in columns.items()}


# Candle patterns, in whole ticks


class Candle:
    def __init__(self, bar):
        self.open, self.high, self.low, self.close = (int(price) for price in bar)
        self.top, self.bottom = max(self.open, self.close), min(self.open, self.close)
        self.body, self.size = self.top - self.bottom, self.high - self.low
        self.doubled_middle = self.open + self.close
        self.rises, self.falls = self.close > self.open, self.close < self.open
        self.is_long = self.size > 0 and 10 * self.body >= 6 * self.size
        self.is_small = self.size > 0 and 10 * self.body < 3 * self.size
        self.is_doji = self.size > 0 and 20 * self.body <= self.size
        above, below = self.high - self.top, self.bottom - self.low
        is_plain = self.is_small and not self.is_doji
        self.is_hammer = is_plain and below >= 2 * self.body and 10 * above <= self.size
        self.is_inverted_hammer = is_plain and above >= 2 * self.body and 10 * below <= self.size

    def holds(self, price):
        return self.bottom <= price <= self.top


def pattern_of_three(first, second, third):
    is_star = first.is_long and second.is_small
    if is_star and first.falls and 2 * second.top < first.doubled_middle:
        if third.rises and 2 * third.close > first.doubled_middle:
            return 6
    if is_star and first.rises and 2 * second.bottom > first.doubled_middle:
        if third.falls and 2 * third.close < first.doubled_middle:
            return 7
    if first.is_long and second.is_long and third.is_long and first.holds(second.open) and second.holds(third.open):
        if first.rises and second.rises and third.rises and first.close < second.close < third.close:
            return 8
        if first.falls and second.falls and third.falls and first.close > second.close > third.close:
            return 9
    return 0


def pattern_of_two(first, second):
    covers = second.bottom <= first.bottom and first.top <= second.top and first.body < second.body
    inside = first.is_long and second.is_small and first.holds(second.top) and first.holds(second.bottom)
    if first.falls and second.rises:
        pierces = second.open < first.close and first.doubled_middle < 2 * second.close < 2 * first.open
        return 3 if covers else 10 if inside else 14 if first.is_long and pierces else 0
    if first.rises and second.falls:
        covers_from_above = second.open > first.close and first.doubled_middle > 2 * second.close > 2 * first.open
        return 4 if covers else 11 if inside else 15 if first.is_long and covers_from_above else 0
    return 0


def pattern_of_one(candle, move_before):
    if candle.is_hammer:
        return 1 if move_before < 0 else 13 if move_before > 0 else 0
    if candle.is_inverted_hammer:
        return 2 if move_before < 0 else 12 if move_before > 0 else 0
    return 5 if candle.is_doji else 0


def patterns(market, trend_bars=TREND_BARS):
    """From the seventh bar on."""
    candles = [Candle(bar) for bar in market.ticks]
    result = np.full(market.count, np.nan)
    for place in range(6, market.count):
        first, second, third = candles[place - 2:place + 1]
        move_before = second.close - candles[place - 1 - trend_bars].close
        result[place] = (
            pattern_of_three(first, second, third) or pattern_of_two(second, third)
            or pattern_of_one(third, move_before))
    return result


# Sessions


def session_volatility(market):
    """Of the returns of the bars that opened in the session, from five on; the first bar has no return."""
    starts = np.array([0, 7, 13, 21])
    hours = market.open_time % DAY // 3600
    sessions = market.open_time // DAY * 24 + starts[np.searchsorted(starts, hours, side="right") - 1]
    result = np.full(market.count, np.nan)
    for place in range(market.count):
        returns = market.log_return[:place + 1][sessions[:place + 1] == sessions[place]]
        returns = returns[~np.isnan(returns)]
        if len(returns) >= 5:
            result[place] = math.sqrt(math.fsum(returns ** 2) / len(returns))
    return result


def session_columns(market):
    time_of_day = market.open_time % DAY
    hours = {"asia": (0, 9), "europe": (7, 16), "us": (13, 21)}
    columns = {
        name: flag((begin * 3600 <= time_of_day) & (time_of_day < end * 3600), time_of_day >= 0)
        for name, (begin, end) in hours.items()
    }
    columns["volatility"] = session_volatility(market)
    return {f"session.{name}": values for name, values in columns.items()}


# What the rows must show


def unclear_comparisons(market):
    """Comparisons in rows to be compared that rounding could turn: an implementation may see them either way."""
    found = []
    strength, histogram = relative_strength(market, 14)[1], convergence_divergence(market)[2]
    averages = {n: exponential(market.close, n) for n in (9, 20, 21, 50, 100)}
    pairs = {
        "volume spike": (market.volume, spike_limit(market)), "averages 9, 21": (averages[9], averages[21]),
        "close, mean 50": (market.close, mean(market.close, 50)), "close, average 20": (market.close, averages[20]),
        "averages 20, 50": (averages[20], averages[50]), "averages 50, 100": (averages[50], averages[100]),
        "strength 30": (strength, np.full(market.count, 30.0)), "strength 70": (strength, np.full(market.count, 70.0)),
        "histogram": (histogram, np.zeros(market.count)),
    }
    late = [place for place in CHECKED if place > STILL.stop]
    for name, (left, right) in pairs.items():
        scale = np.maximum(np.abs(left), np.abs(right)) if name != "histogram" else market.close
        found += [(name, place) for place in late if abs(left[place] - right[place]) < 1e-9 * scale[place]]
    candles = [Candle(bar) for bar in market.ticks]
    for place in late:
        for age in (1, 2):
            before, candle = candles[place - age], candles[place]
            if before.is_long and before.doubled_middle in (2 * candle.open, 2 * candle.close):
                found.append(("middle of a body", place))
    return found


def coverage(columns):
    """How often each value of the discrete columns is in the rows to be compared."""
    names = [name for name in columns if ".event_" in name or name.endswith(("_direction", "_shift", "_match", "_dir"))]
    return {
        name: collections.Counter(int(value) for value in columns[name][CHECKED] if not math.isnan(value))
        for name in names
    }


def missing(counts):
    wanted = {
        "market.event_spike_volume": {0, 1}, "market.event_breakout": {0, 1}, "market.event_reversal": {-1, 0, 1},
        "market.trend_direction": {-1, 0, 1}, "market.momentum_shift": {-1, 0, 1},
        "market.pattern_match": set(range(16)), "v2.feat_candle_dir": {-1, 0, 1},
    }
    return {name: values - set(counts[name]) for name, values in wanted.items() if values - set(counts[name])}


# Files


def cell(value):
    return "" if math.isnan(value) else "%.17g" % (value + 0.0)


def write(name, lines):
    GOLDEN.mkdir(parents=True, exist_ok=True)
    (GOLDEN / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def all_columns(market):
    columns = v2_columns(market) | market_columns(market) | session_columns(market) | generic_columns(market)
    assert len(columns) == 53 + 29 + 4 + 37
    for name, values in columns.items():
        assert len(values) == market.count and not np.isinf(values).any(), name
    return columns


def write_columns(market, columns):
    lines = [
        "# Feature columns of random one-minute bars, computed anew from the formulas by Tests/Peers/make_features.py:",
        f"# NumPy {np.__version__}, seed {SEED}. An empty cell is a column without a value. Rows whose last cell,",
        "# `check`, is `skip` hold the bar alone: it is to be taken, but nothing is to be compared.",
        ",".join(["open_time_s", "open", "high", "low", "close", "volume", *columns, "check"]),
    ]
    for place in range(market.count):
        prices = ["%.2f" % values[place] for values in (market.open, market.high, market.low, market.close)]
        row = [str(market.open_time[place]), *prices, "%.4f" % market.volume[place]]
        is_checked = place in CHECKED
        row += [cell(values[place]) if is_checked else "" for values in columns.values()]
        lines.append(",".join([*row, "yes" if is_checked else "skip"]))
    write("columns.csv", lines)


# Order flow

FLOW_EVENTS = 400
NOTIONAL = 1000
BUCKET_UNITS = 25 * UNITS
BUCKETS = 5
# Beyond all buckets that are looked at, and a part of one more.
LARGEST_TRADE = 3 * BUCKETS * BUCKET_UNITS + BUCKET_UNITS // 3


def make_flow_events(seed):
    """Tuples (kind, …); prices in ticks, sizes in units."""
    random = np.random.default_rng(seed)
    price, spread = 5_000, 4
    # The first trade fills a bucket exactly, and the price does not move before the first bar; nor is there a book.
    events = [("trade", price, BUCKET_UNITS, 1), ("trade", price, 31_234, 0), ("bar",)]
    top = None
    while len(events) < FLOW_EVENTS:
        if random.uniform() < 0.3:
            price += int(random.integers(-6, 7))
        kind = random.uniform()
        if kind < 0.40:
            top = make_top(random, price, spread, top)
            events.append(top)
        elif kind < 0.75:
            mean_size = (150 if random.uniform() < 0.08 else 6) * UNITS
            size = min(LARGEST_TRADE, 1 + round(random.exponential(mean_size)))
            side = int(random.uniform() < 0.5 + 0.35 * math.sin(len(events) / 25))
            events.append(("trade", price + int(random.integers(-2, 3)), size, side))
        elif kind < 0.90:
            events.append(make_depth(random, price, spread))
        elif events[-1][0] != "bar" or random.uniform() < 0.3:
            events.append(("bar",))
    return events + [("bar",)]


def make_top(random, price, spread, last):
    draw = random.uniform()
    sizes = [int(size) for size in random.integers(0, 20 * UNITS, 2)]
    if draw < 0.25 and last is not None:
        # Prices stay, and sizes sometimes too.
        return ("top", last[1], last[2], *(sizes if draw < 0.2 else last[3:]))
    bid, ask = price - int(random.integers(1, spread)), price + int(random.integers(1, spread))
    if draw < 0.28:
        return ("top", ask, bid, *sizes)
    if draw < 0.31:
        return ("top", 0, ask, 0, sizes[1])
    if draw < 0.34:
        return ("top", bid, math.inf, sizes[0], 0)
    if draw < 0.37:
        return ("top", bid, ask, -sizes[0] - 1, sizes[1])
    if draw < 0.43:
        return ("top", price, price, *sizes)
    return ("top", bid, ask, *sizes)


def make_depth(random, price, spread):
    """Up to four levels a side, best first; sometimes crossed, one-sided, or too shallow for the order."""
    sides = []
    for sign in (-1, 1):
        steps = np.cumsum(random.integers(1, spread, random.integers(1, 5)))
        sizes = random.exponential(16 * UNITS, len(steps))
        sides.append([(price + sign * int(step), 1 + round(size)) for step, size in zip(steps, sizes)])
    draw = random.uniform()
    if draw < 0.06:
        sides.reverse()
    elif draw < 0.12:
        sides[int(random.integers(0, 2))] = []
    return ("depth", *sides)


def is_sound(top):
    _, bid, ask, bid_size, ask_size = top
    return 0 < bid <= ask < math.inf and bid_size >= 0 and ask_size >= 0


def flow_imbalance(events, begin, end):
    """Cont, Kukanov, Stoikov 2014, eq. 4, over pairs of successive books whose second lies in events[begin:end]; a book
    that is not sound makes no pair, neither with the one before nor with the one after. Its sum, and the mean size."""
    tops = [(place, event) for place, event in enumerate(events[:end]) if event[0] == "top"]
    terms, sizes = [], []
    for (_, old), (place, new) in zip(tops, tops[1:]):
        if place < begin or not is_sound(old) or not is_sound(new):
            continue
        _, old_bid, old_ask, old_bid_size, old_ask_size = old
        _, bid, ask, bid_size, ask_size = new
        bids = (bid >= old_bid) * bid_size - (bid <= old_bid) * old_bid_size
        asks = (ask <= old_ask) * ask_size - (ask >= old_ask) * old_ask_size
        terms.append(bids - asks)
        sizes.append((bid_size + ask_size) / 2)
    if not terms:
        return math.nan, math.nan
    return sum(terms) / UNITS, sum(sizes) / len(sizes) / UNITS


def tick_sign(trades):
    """The sign of the last change of the price; 0 before the first."""
    changes = [new[1] - old[1] for old, new in zip(trades, trades[1:]) if new[1] != old[1]]
    return int(np.sign(changes[-1])) if changes else 0


def informed_trading(trades):
    """All trades end to end, cut into buckets: how far apart purchases and sales are in the last five full ones."""
    ends = np.cumsum([0] + [trade[2] for trade in trades])
    full = ends[-1] // BUCKET_UNITS
    if full < BUCKETS:
        return math.nan
    apart = 0
    for bucket in range(full - BUCKETS, full):
        begin, end = bucket * BUCKET_UNITS, (bucket + 1) * BUCKET_UNITS
        within = [max(0, min(end, b) - max(begin, a)) for a, b in zip(ends, ends[1:])]
        apart += abs(sum(part if trade[3] else -part for trade, part in zip(trades, within)))
    return apart / (BUCKETS * BUCKET_UNITS)


def slippages(depths):
    """Of an order of NOTIONAL to the newest book: of a purchase, of a sale."""
    if not depths:
        return math.nan, math.nan
    _, bids, asks = depths[-1]
    if not bids or not asks or asks[0][0] < bids[0][0]:
        return math.nan, math.nan
    middle = (bids[0][0] + asks[0][0]) / 2 / TICKS

    def average_price(levels):
        prices = np.array([price for price, _ in levels]) / TICKS
        worth = prices * np.array([size for _, size in levels]) / UNITS
        if worth.sum() < NOTIONAL:
            return math.nan
        spent = np.clip(NOTIONAL - (np.cumsum(worth) - worth), 0, worth)
        return NOTIONAL / (spent / prices).sum()

    return average_price(asks) / middle - 1, 1 - average_price(bids) / middle


def flow_row(event):
    def price(ticks):
        return "%.2f" % (ticks / TICKS)

    def size(units):
        return "%.4f" % (units / UNITS)

    if event[0] == "top":
        return ",".join(["top", price(event[1]), price(event[2]), size(event[3]), size(event[4])])
    if event[0] == "trade":
        return ",".join(["trade", price(event[1]), size(event[2]), str(event[3])])
    sides = [" ".join(f"{price(ticks)}:{size(units)}" for ticks, units in side) for side in event[1:]]
    return ",".join(["depth", *sides])


def write_order_flow(events):
    ends = np.cumsum([event[2] for event in events if event[0] == "trade"])
    # Beyond the first, a bucket that a trade fills exactly would hang on rounding.
    assert not (ends[1:] % BUCKET_UNITS == 0).any(), "a bucket is filled exactly"
    lines = [
        "# Order flow of random events, computed anew by Tests/Peers/make_features.py: "
        f"NumPy {np.__version__}, seed {SEED}.",
        f"# {BUCKETS} buckets of {BUCKET_UNITS / UNITS:g} base units; slippage of an order of {NOTIONAL} quote units.",
        "# The first cell of a row says what it is:",
        "#   top,bid price,ask price,bid volume,ask volume",
        "#   trade,price,quantity,1 for a purchase or 0 for a sale",
        "#   depth,bids,asks: each side's levels `price:volume`, best first, with a space between; empty: no level",
        "#   bar,ofi,mean depth,tick sign,vpin,slippage of buying,slippage of selling: what is expected there.",
        "#     The first two are since the last `bar`, the others as of now. An empty cell: no value.",
        "#     Tick sign 0: the price has not changed yet.",
    ]
    begin = 0
    for place, event in enumerate(events):
        if event[0] != "bar":
            lines.append(flow_row(event))
            continue
        trades = [event for event in events[:place] if event[0] == "trade"]
        depths = [event for event in events[:place] if event[0] == "depth"]
        values = [*flow_imbalance(events, begin, place), tick_sign(trades), informed_trading(trades)]
        values += slippages(depths)
        lines.append(",".join(["bar", *(cell(value) for value in values)]))
        begin = place
    write("order-flow.csv", lines)


def main():
    market = Market(*make_bars(SEED))
    columns = all_columns(market)
    counts = coverage(columns)
    unclear = unclear_comparisons(market)
    if missing(counts) or unclear:
        sys.exit(f"another seed is needed: {missing(counts)} are missing, {unclear} are not clear")
    write_columns(market, columns)
    write_order_flow(make_flow_events(SEED))
    for name, values in counts.items():
        print(name, dict(sorted(values.items())))


if __name__ == "__main__":
    main()
