#!/usr/bin/env python3
"""Writes bates.csv: calls and their gradients for random parameters of Bates's model, by mpmath at 40 digits. Each
price is computed on two contours of different tilt, with steps halved until 26 digits stand; rows where the two
disagree stop the script. Takes some minutes."""

import random
import sys

import mpmath as mp

mp.mp.dps = 40
COUNT = 8


def log_moment(s, p, tau):
    """ln E[(S/F)^s]: Heston's in the form of Albrecher et al. 2007, and D. Bates 1996's compensated jumps."""
    kappa, theta, sigma, rho, v0, intensity, mean, deviation = p
    beta = kappa - rho * sigma * s
    d = mp.sqrt(beta**2 + sigma**2 * (s - s * s))
    if mp.re(d) < 0:
        d = -d
    g = (beta - d) / (beta + d)
    e = mp.exp(-d * tau)
    level = ((beta - d) * tau - 2 * mp.log((1 - g * e) / (1 - g))) / sigma**2
    slope = (beta - d) / sigma**2 * (1 - e) / (1 - g * e)

    def jump(s):
        return mp.exp(mean * s + deviation**2 * s * s / 2)

    return kappa * theta * level + v0 * slope + intensity * tau * (jump(s) - 1 - s * (jump(1) - 1))


def minimum(p, tau, k, tilt):
    """E[min(S, K)]/F on s = a ± b sin(tilt) cosh y + i b cos(tilt) sinh y, which crosses the real axis at 1/2. Tilts
    are small: a jump's factor falls along the contour, but soon only near the vertical."""
    kappa, theta, sigma, rho, v0, intensity, mean, deviation = p
    drift = intensity * tau * (mp.exp(mean + deviation**2 / 2) - 1)
    side = 1 if k + rho * (v0 + kappa * theta * tau) / sigma + drift >= 0 else -1
    b = mp.mpf(1) / 2
    a = mp.mpf(1) / 2 - side * b * mp.sin(tilt)

    def term(y):
        s = a + side * b * mp.sin(tilt) * mp.cosh(y) + 1j * b * mp.cos(tilt) * mp.sinh(y)
        slope = b * mp.cos(tilt) * mp.cosh(y) - 1j * side * b * mp.sin(tilt) * mp.sinh(y)
        return mp.re(mp.exp((1 - s) * k + log_moment(s, p, tau)) / (s - s * s) * slope)

    def run(step, first, stride):
        total, j, small = mp.mpf(0), first, 0
        while small < 12:
            value = term(j * step)
            total += value / 2 if j == 0 else value
            small = small + 1 if abs(value) < mp.mpf(10) ** -36 else 0
            j += stride
            if j * step > 40:
                raise ArithmeticError("the integrand does not fall")
        return total

    step = mp.mpf(1) / 8
    total = run(step, 0, 1)
    value = total * step / mp.pi
    while True:
        step /= 2
        total += run(step, 1, 2)
        previous, value = value, total * step / mp.pi
        if abs(value - previous) < mp.mpf(10) ** -26:
            return value
        if step < mp.mpf(1) / 3000:
            raise ArithmeticError("no convergence")


def main():
    rng = random.Random(20261127)

    def log_uniform(low, high):
        return float(mp.exp(rng.uniform(float(mp.log(low)), float(mp.log(high)))))

    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 80
    print("# Undiscounted calls C/F under Bates and derivatives by the eight parameters; make-bates.py (mpmath,")
    print("# 40 digits, two contours).")
    names = "kappa,theta,sigma,rho,v0,lambda,muJ,deltaJ"
    print(names + ",tau,k,call," + ",".join("by_" + name for name in names.split(",")))
    done = 0
    while done < rows:
        p = [log_uniform(0.1, 10), log_uniform(0.005, 2), log_uniform(0.05, 5), rng.uniform(-0.95, 0.95),
             log_uniform(0.005, 2), log_uniform(0.02, 10), rng.uniform(-0.5, 0.5), log_uniform(0.01, 0.5)]
        tau = log_uniform(1 / 365, 5)
        width = float(mp.sqrt((p[1] + p[4] + p[5] * (p[6] ** 2 + p[7] ** 2)) * tau))
        k = max(-2.0, min(2.0, rng.gauss(0, width))) if done % 2 else rng.uniform(-1.5, 1.5)
        exact, at, years = [mp.mpf(x) for x in p], mp.mpf(k), mp.mpf(tau)
        try:
            first = minimum(exact, years, at, mp.pi / 16)
            second = minimum(exact, years, at, mp.pi / 24)
            if abs(first - second) > mp.mpf(10) ** -22:
                raise SystemExit(f"two contours disagree: {p} {tau} {k}: {first} {second}")
            gradient = []
            for i in range(COUNT):
                h = mp.mpf(10) ** -9 * exact[i]
                up = [x + h if i == j else x for j, x in enumerate(exact)]
                down = [x - h if i == j else x for j, x in enumerate(exact)]
                gradient.append(
                    -(minimum(up, years, at, mp.pi / 16) - minimum(down, years, at, mp.pi / 16)) / (2 * h))
        except ArithmeticError as reason:
            print(f"left out: {reason}: {p} {tau} {k}", file=sys.stderr)
            continue
        print(",".join([repr(x) for x in p + [tau, k]] + [mp.nstr(1 - first, 20)] + [mp.nstr(g, 16) for g in gradient]),
              flush=True)
        done += 1


main()
