"""Reads one of our surface files with NumPy, and writes its arrays in the ways that NumPy has.

    python surface_files.py FOLDER NAME

Leaves ETH_plain.npz, ETH_packed.npz, ETH_columns.npz (Fortran's order) and ETH_single.npz (single precision) in FOLDER.
"""

import sys

import numpy as np

folder, name = sys.argv[1:]
with np.load(f"{folder}/{name}") as file:
    arrays = {key: file[key] for key in ("iv_surface", "k_grid", "t_grid", "spot", "timestamp")}
assert arrays["iv_surface"].shape == (3, 2) and arrays["iv_surface"].dtype == np.float64, arrays
assert np.isnan(arrays["iv_surface"][0, 0]) and 0.3 < arrays["iv_surface"][1, 1] < 0.6, arrays
assert arrays["spot"].shape == () and arrays["spot"] == 90_000 and arrays["timestamp"] == 1_767_225_600, arrays
np.savez(f"{folder}/ETH_plain.npz", **arrays)
np.savez_compressed(f"{folder}/ETH_packed.npz", **arrays)
arrays["timestamp"] = np.int64(arrays["timestamp"])
np.savez(f"{folder}/ETH_columns.npz", **{**arrays, "iv_surface": np.asfortranarray(arrays["iv_surface"])})
np.savez(f"{folder}/ETH_single.npz", **{**arrays, "iv_surface": arrays["iv_surface"].astype(np.float32)})
