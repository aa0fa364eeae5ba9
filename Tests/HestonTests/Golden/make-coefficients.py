#!/usr/bin/env python3
"""Prints the polynomials of Sources/Kernels/VectorMath.swift and Sources/Heston/NormalisedBlack.swift, constant first:
interpolations at Chebyshev points by mpmath in 60 digits, each with its largest error on the interval."""

import mpmath as mp

mp.mp.dps = 60


def interpolate(function, low, high, degree):
    """Powers of x, rounded to doubles."""
    points = [(low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * (degree + 1)))
              for i in range(degree + 1)]
    matrix = mp.matrix(degree + 1, degree + 1)
    for row, x in enumerate(points):
        for column in range(degree + 1):
            matrix[row, column] = x**column
    return [float(c) for c in mp.lu_solve(matrix, mp.matrix([function(x) for x in points]))]


def show(name, function, low, high, degree):
    coefficients = interpolate(function, mp.mpf(low), mp.mpf(high), degree)
    exact = [mp.mpf(c) for c in coefficients][::-1]
    error = max(abs(mp.polyval(exact, x) - function(x)) for x in mp.linspace(low, high, 400))
    print(f"{name}: error {float(error):.1e}")
    for coefficient in coefficients:
        print(f"    {coefficient!r}")


def ratio(function, limit, slope):
    """(f(√z)/√z − 1)/z, by its series at 0."""
    return lambda z: (function(mp.sqrt(z)) / mp.sqrt(z) - 1) / z if z > mp.mpf(10) ** -12 else limit + slope * z


def mills(q):
    """(y + 5)·N(−y)/n(y) at q = (y − 5)/(y + 5)."""
    if q >= 1 - mp.mpf(10) ** -12:
        return mp.mpf(1)
    y = 5 * (1 + q) / (1 - q)
    if y > 200:
        total, term = mp.mpf(0), mp.mpf(1)
        for n in range(1, 30):
            total += term
            term *= -(2 * n - 1) / (y * y)
        return (y + 5) / y * total
    return (y + 5) * mp.sqrt(mp.pi / 2) * mp.exp(y * y / 2) * mp.erfc(y / mp.sqrt(2))


third, fifth = mp.mpf(1) / 3, mp.mpf(1) / 5
tangent = mp.sqrt(2) - 1
show("exp: (e^r - 1 - r)/r^2", lambda r: (mp.exp(r) - 1 - r) / r**2 if abs(r) > mp.mpf(10) ** -12 else 0.5 + r / 6,
     -mp.log(2) / 2, mp.log(2) / 2, 10)
show("sin: (sin(r)/r - 1)/z, z = r^2", ratio(mp.sin, -mp.mpf(1) / 6, mp.mpf(1) / 120), 0, (mp.pi / 4) ** 2, 5)
show("cos: (cos(r) - 1 + z/2)/z^2",
     lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2 if z > mp.mpf(10) ** -12 else mp.mpf(1) / 24 - z / 720,
     0, (mp.pi / 4) ** 2, 5)
show("log: (artanh(s)/s - 1)/z, z = s^2", ratio(mp.atanh, third, fifth), 0, (tangent / (mp.sqrt(2) + 1)) ** 2, 7)
show("atan: (atan(t)/t - 1)/z, z = t^2", ratio(mp.atan, -third, fifth), 0, tangent**2, 10)
show("Mills: P(q)", mills, mp.mpf(-11) / 9, 1, 26)
