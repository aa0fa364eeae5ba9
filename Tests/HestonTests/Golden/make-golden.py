"""Recomputes heston-lewis.csv and black.csv with mpmath: 50 digits, methods that share nothing with ours.

Heston: the original two-probability formula (Heston 1993), the integrals by tanh-sinh on panels; Black: the formula.
Usage: python3 make-golden.py (writes beside itself).
"""
import os
import mpmath as mp

mp.mp.dps = 40
HERE = os.path.dirname(os.path.abspath(__file__))


def characteristic_function(u, s0, r, q, t, kappa, theta, sigma, rho, v0):
    """E[exp(iu ln S_T)], the formula as in Albrecher et al. 2007 (digits are not short here)."""
    i = mp.mpc(0, 1)
    beta = kappa - rho * sigma * i * u
    d = mp.sqrt(beta ** 2 + sigma ** 2 * (i * u + u ** 2))
    g = (beta - d) / (beta + d)
    e = mp.exp(-d * t)
    c = kappa * theta / sigma ** 2 * ((beta - d) * t - 2 * mp.log((1 - g * e) / (1 - g)))
    return mp.exp(i * u * (mp.log(s0) + (r - q) * t) + c + v0 / sigma ** 2 * (beta - d) * (1 - e) / (1 - g * e))


def probability(j, k, *model):
    i = mp.mpc(0, 1)
    scale = characteristic_function(-i, *model) if j == 1 else 1

    def integrand(u):
        if u == 0:
            u = mp.mpf(10) ** -30
        value = characteristic_function(u - i if j == 1 else u, *model) / scale
        return mp.re(mp.exp(-i * u * mp.log(k)) * value / (i * u))

    return mp.mpf(1) / 2 + mp.quad(integrand, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512]) / mp.pi


def lewis():
    # A. Lewis's example (Wilmott forum; "Option Valuation under Stochastic Volatility II", 2016).
    s0, r, q, t = 100, mp.mpf("0.01"), mp.mpf("0.02"), 1
    heston = (4, mp.mpf("0.25"), 1, mp.mpf("-0.5"), mp.mpf("0.04"))
    with open(os.path.join(HERE, "heston-lewis.csv"), "w") as out:
        out.write("# Lewis's European prices: S=100 r=0.01 q=0.02 tau=1 kappa=4 theta=0.25 sigma=1 rho=-0.5 v0=0.04;\n")
        out.write("# recomputed by make-golden.py (mpmath, Heston 1993 probabilities), 20 digits.\n")
        out.write("strike,call,put\n")
        for k in (80, 90, 100, 110, 120):
            model = (s0, r, q, t) + heston
            p1, p2 = probability(1, k, *model), probability(2, k, *model)
            call = s0 * mp.exp(-q * t) * p1 - k * mp.exp(-r * t) * p2
            put = call - s0 * mp.exp(-q * t) + k * mp.exp(-r * t)
            out.write(f"{k},{mp.nstr(call, 20)},{mp.nstr(put, 20)}\n")


def black():
    """The normalised Black function b(x, s) where double precision is hard: tiny s, far x, both ends."""
    normal = lambda z: mp.erfc(-z / mp.sqrt(2)) / 2
    with open(os.path.join(HERE, "black.csv"), "w") as out:
        out.write("# b(x, s) = e^(x/2) N(x/s + s/2) - e^(-x/2) N(x/s - s/2); make-golden.py (mpmath), 20 digits.\n")
        out.write("x,s,b\n")
        for x in ("0", "-1e-12", "-1e-4", "-0.01", "-0.2", "-1", "-4", "-16"):
            for s in ("1e-6", "1e-3", "0.02", "0.1", "0.3", "0.7", "1.3", "3", "6"):
                # The double nearest to the decimal, which is what the test reads.
                xf, sf = mp.mpf(float(x)), mp.mpf(float(s))
                with mp.workdps(60 if float(x) > -1e-3 else 40):
                    b = mp.exp(xf / 2) * normal(xf / sf + sf / 2) - mp.exp(-xf / 2) * normal(xf / sf - sf / 2)
                if b > mp.mpf(10) ** -290:
                    out.write(f"{x},{s},{mp.nstr(b, 20)}\n")


lewis()
black()
