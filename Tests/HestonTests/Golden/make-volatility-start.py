#!/usr/bin/env python3
"""Prints the coefficients of DirectSolution.start (Sources/Heston/NormalisedBlack.swift): samples by mpmath, least
squares by numpy, reweighted until the largest relative error is as small as it gets; each with that error.

Bachelier's h: of an option's price b over its distance from the money, 2·sinh(m/2)/b = h/(n(h) − h·N(−h)).

    v = ln(1 + 2·sinh(m/2)/b),  (v/h)² = N(v)/D(v)      for h up to 38.3, where b ends with the doubles
    x = (2·sinh(m/2)/h)²,       s/√x = Σ c_ij x^i m^2j   for m and s up to 2, i + j ≤ 5
"""

import mpmath as mp
import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

mp.mp.dps = 40
DEGREE, LIMIT, FURTHEST = 5, 2.0, 38.3


def tail(y):
    return mp.erfc(y / mp.sqrt(2)) / 2


def bachelier(h):
    """n(h)/h − N(−h)."""
    return mp.exp(-h * h / 2) / mp.sqrt(2 * mp.pi) / h - tail(h)


def price(m, s):
    return mp.exp(-m / 2) * tail(m / s - s / 2) - mp.exp(m / 2) * tail(m / s + s / 2)


def distance(value):
    """The h of a value of bachelier(h), by Newton's method in logarithms between bounds."""
    low, high, target = mp.mpf(10) ** -12, mp.mpf(60), mp.log(value)
    h = mp.sqrt(-2 * target) if target < -3 else 1 / (1 + mp.sqrt(2 * mp.pi) * value)
    while True:
        now = bachelier(h)
        low, high = (h, high) if now > value else (low, h)
        after = h + (mp.log(now) - target) * now * h / (now + tail(h))
        after = after if low < after < high else mp.sqrt(low * high)
        if abs(after - h) < h * mp.mpf(10) ** -20:
            return after
        h = after


def least(count, system, error):
    """Of 60 weightings of `count` equations, system(weights), the solution whose largest error is the smallest."""
    weights, best = np.ones(count), (np.inf, None)
    for _ in range(60):
        solution = np.linalg.lstsq(*system(weights), rcond=None)[0]
        errors = error(solution)
        if errors.max() < best[0]:
            best = errors.max(), solution
        weights = np.sqrt(weights**2 * (errors / errors.max() + 0.03))
        weights /= weights.max()
    return best


def show(name, error, rows):
    print(f"{name}: error {error:.1e}")
    for row in rows:
        print("    " + ", ".join(f"{c:.9g}" for c in row))


def show_rational():
    h = np.concatenate([[1e-6], np.linspace(1e-3, 1, 60), np.linspace(1.05, FURTHEST, 240)])
    v = np.array([float(mp.log(1 + 1 / bachelier(mp.mpf(x)))) for x in h])
    y = (v / h) ** 2
    # In u = (v − 4)/(v + 4), where Chebyshev polynomials keep the problem well conditioned; D is 1 + …
    basis = np.polynomial.chebyshev.chebvander((v - 4) / (v + 4), DEGREE)
    columns = np.hstack([basis / y[:, None], -basis[:, 1:]])
    denominator = np.ones(len(v))

    def error(c):
        denominator[:] = 1 + basis[:, 1:] @ c[DEGREE + 1:]
        return abs(basis @ c[:DEGREE + 1] / denominator / y - 1)

    worst, c = least(len(v), lambda w: (columns * (w / denominator)[:, None], w / denominator), error)
    powers = []
    for part in c[:DEGREE + 1], np.concatenate([[1], c[DEGREE + 1:]]):
        u = Chebyshev(part).convert(kind=Polynomial).coef
        powers.append(sum(a * Polynomial([-4, 1])**k * Polynomial([4, 1])**(DEGREE - k) for k, a in enumerate(u)).coef)
    show("(v/h)^2: N, D", worst, [part / powers[1][0] for part in powers])


def show_factor():
    nodes = (1 - np.cos(np.pi * (np.arange(70) + 0.5) / 70)) / 2
    x, m2, factor = [], [], []
    for s in LIMIT * nodes**1.5 + 1e-3:
        for m in np.maximum(min(LIMIT, 38 * s) * nodes, 1e-5 * s):
            twice = 2 * mp.sinh(mp.mpf(m) / 2)
            root = twice / distance(price(mp.mpf(m), mp.mpf(s)) / twice)
            x.append(float(root**2))
            m2.append(m * m)
            factor.append(float(s / root))
    x, m2, factor = np.array(x), np.array(m2), np.array(factor)
    terms = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
    columns = np.stack([x**i * m2**j / factor for i, j in terms], 1)
    size = abs(columns).max(axis=0)
    worst, c = least(len(x), lambda w: (columns / size * w[:, None], w), lambda c: abs(columns / size @ c - 1))
    rows = [[c[k] / size[k] for k, (i, _) in enumerate(terms) if i == row] for row in range(DEGREE + 1)]
    show("s/sqrt(x): powers of m^2, for x^0, x^1, ...", worst, rows)


show_rational()
show_factor()
