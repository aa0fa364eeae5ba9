#!/usr/bin/env python3
"""Reference values for TradingTests, by numpy 2.4 and scipy 1.17 (double precision, 17 digits).

    python3 make_golden.py > golden.csv

Lines are `name,value...`. The curve is 60 hourly equities; ratios are annualised with 8760 hours.
"""
import math
import numpy as np
from scipy import stats

rng = np.random.default_rng(20261121)


def line(name, *values):
    print(name + "," + ",".join(v if isinstance(v, str) else repr(float(v)) for v in values))


# Performance statistics and deflated Sharpe ratio.
returns = 0.002 + 0.01 * rng.standard_t(5, 59)
equity = 19.99 * np.concatenate([[1.0], np.cumprod(1 + returns)])
line("equity", *equity)
r = equity[1:] / equity[:-1] - 1
total = equity[-1] / equity[0] - 1
annual = (1 + total) ** (8760 / len(r)) - 1
drawdown = (1 - equity / np.maximum.accumulate(equity)).max()
line("total_return", total)
line("annualised_return", annual)
line("mean", r.mean())
line("volatility", r.std(ddof=1))
line("sharpe", r.mean() / r.std(ddof=1) * math.sqrt(8760))
line("sortino", r.mean() / math.sqrt((np.minimum(r, 0) ** 2).mean()) * math.sqrt(8760))
line("max_drawdown", drawdown)
line("calmar", annual / drawdown)


def deflated(r, trials, variance):
    sr = r.mean() / r.std(ddof=1)
    sr0 = 0.0
    if trials > 1:
        sr0 = math.sqrt(variance) * ((1 - np.euler_gamma) * stats.norm.ppf(1 - 1 / trials)
                                     + np.euler_gamma * stats.norm.ppf(1 - 1 / (trials * math.e)))
    spread = 1 - stats.skew(r) * sr + (stats.kurtosis(r, fisher=False) - 1) / 4 * sr * sr
    return stats.norm.cdf((sr - sr0) * math.sqrt(len(r) - 1) / math.sqrt(spread))


line("deflated_1", deflated(r, 1, 0))
line("deflated_10", deflated(r, 10, 1 / (len(r) - 1)))
line("deflated_100_v", deflated(r, 100, 0.01))
for p in [1e-300, 1e-20, 1e-6, 0.01, 0.075, 0.3, 0.5, 0.925, 0.999, 1 - 1e-12]:
    line("quantile", p, stats.norm.ppf(p))

# Rewards of 30 steps: equity before and after, traded notional, drawdown, leverage, then the five terms of `composite`
# with a window of 5 and a target volatility of 0.01, then both differential ratios with rate 0.05.
e = 19.99 * np.concatenate([[1.0], np.cumprod(1 + 0.02 * rng.standard_normal(30))])
peak = np.maximum.accumulate(e)
r = e[1:] / e[:-1] - 1
a = b = sa = sd = 0.0
for t in range(30):
    traded, leverage = 20 * rng.random(), rng.random()
    last = r[max(0, t - 4):t + 1]
    vol = last.std(ddof=1) if len(last) > 1 else 0.0
    dd = e[t + 1] / peak[t + 1] - 1
    sharpe = (b * (r[t] - a) - 0.5 * a * (r[t] ** 2 - b)) / (b - a * a) ** 1.5 if b - a * a > 1e-16 else 0.0
    sortino = 0.0
    if sd > 1e-16:
        sortino = ((r[t] - sa / 2) / sd ** 0.5 if r[t] > 0
                   else (sd * (r[t] - sa / 2) - sa * r[t] ** 2 / 2) / sd ** 1.5)
    a, b = a + 0.05 * (r[t] - a), b + 0.05 * (r[t] ** 2 - b)
    sa, sd = sa + 0.05 * (r[t] - sa), sd + 0.05 * (min(r[t], 0) ** 2 - sd)
    line("reward", e[t], e[t + 1], traded, dd, leverage, r[t], -0.001 * traded / e[t], -0.1 * -dd, -0.05 * leverage,
         -0.05 * max(0.0, vol - 0.01), sharpe, sortino)


# Client order ids: FNV-1a with 128 bits.
def fnv(data):
    h = 0x6C62272E07BB014262B821756295C58D
    for byte in data:
        h = (h ^ byte) * 0x0000000001000000000000000000013B % (1 << 128)
    return h


for account, symbol, version, micros in [("paper", "BTCUSDT", "v1", 1772323200000000), ("", "", "", 0),
                                         ("konto-ä", "SUIUSDT", "ppo-2026-03-01T00:00Z-a1b2c3", -1)]:
    data = b"".join(t.encode() + b"\0" for t in (account, symbol, version)) + (micros % (1 << 64)).to_bytes(8, "big")
    line("id", account, symbol, version, str(micros), "vm%032x" % fnv(data))
