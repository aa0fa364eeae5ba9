"""Trains the inverse networks, judges them, and times them beside PyTorch and ONNX Runtime with the same weights.

  network.py OURS FOLDER ROUNDS     OURS: heston-bench; FOLDER keeps the networks, which are trained where they are not

One thread each while times are taken. Ends with 1 when a claim is short.
"""
import io
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims import Claims

NAMES = ("kappa", "theta", "sigma", "rho", "v0")


def ours(program, *arguments, quiet=True):
    command = [program, "network", *map(str, arguments)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if quiet else None)
    return json.loads(found.stdout)


class Peer(torch.nn.Module):
    """The network of a checkpoint in PyTorch."""

    def __init__(self, path):
        super().__init__()
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        self.tensors = tensors

        def layer(name):
            weight = tensors[f"{name}.weight"]
            if weight.dim() == 4:
                made = torch.nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            else:
                made = torch.nn.Linear(weight.shape[1], weight.shape[0])
            made.weight.data = weight.clone()
            made.bias.data = tensors[f"{name}.bias"].clone()
            return made

        self.encoder = torch.nn.ModuleList([layer("encoder.0"), layer("encoder.1")])
        trunk = sum(1 for key in tensors if key.startswith("trunk.")) // 2
        self.trunk = torch.nn.ModuleList([layer(f"trunk.{i}") for i in range(trunk)])
        self.heads = torch.nn.ModuleList([layer(f"heads.{name}.0") for name in NAMES])
        self.answers = torch.nn.ModuleList([layer(f"heads.{name}.1") for name in NAMES])
        self.surface = torch.nn.ModuleList([layer("surface.0"), layer("surface.1")])

    def forward(self, cells):
        x = torch.relu(self.encoder[0](cells))
        x = torch.relu(self.encoder[1](x))
        # Channels last, as they are stored.
        x = x.permute(0, 2, 3, 1).flatten(1)
        for layer in self.trunk:
            x = torch.relu(layer(x))
        answers = torch.stack([answer(torch.relu(head(x))) for head, answer in zip(self.heads, self.answers)], 1)
        return answers, self.surface[1](torch.relu(self.surface[0](x)))

    def standardised(self, volatilities):
        """Two channels of cells, from volatilities with NaN where one is missing."""
        tau = self.tensors["tau"].numpy()
        rows = len(self.tensors["log_moneyness"])
        values = np.asarray(volatilities, dtype=np.float64).reshape(-1, rows, len(tau))
        shape = (rows, len(tau))
        mean = self.tensors["scaling.cell_mean"].numpy().reshape(shape)
        deviation = self.tensors["scaling.cell_deviation"].numpy().reshape(shape)
        cells = (np.log(values**2 * tau).astype(np.float32) - mean) / deviation
        there = ~np.isnan(cells)
        return torch.from_numpy(np.stack([np.where(there, cells, 0), there], 1).astype(np.float32))


def parity(program, path):
    """The largest difference between ours and PyTorch's, of standardised parameters and relative of volatilities."""
    answer = ours(program, "answers", path, 200)
    peer = Peer(path)
    volatilities = [np.nan if v is None else v for v in answer["volatilities"]]
    with torch.no_grad():
        answers, surface = peer(peer.standardised(volatilities))
    mine = np.array(answer["parameters"]).reshape(-1, 5)
    free = np.log(mine, where=np.arange(5) != 3, out=np.arctanh(np.clip(mine, -0.999999, 0.999999)))
    mean, deviation = (peer.tensors[f"scaling.parameter_{name}"].numpy() for name in ("mean", "deviation"))
    worst = np.abs((free - mean) / deviation - answers[:, :, 0].numpy()).max()
    tau = peer.tensors["tau"].numpy()
    cells = np.array(answer["surfaces"])
    scale, shift = (peer.tensors[f"scaling.cell_{name}"].numpy() for name in ("deviation", "mean"))
    logarithms = surface.numpy() * scale + shift
    theirs = np.exp(0.5 * (logarithms - np.log(np.tile(tau, len(peer.tensors["log_moneyness"])))))
    return max(worst, np.abs(cells / theirs - 1).max())


def microseconds(body, calls, samples=31):
    for _ in range(calls):
        body()
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        for _ in range(calls):
            body()
        times.append((time.perf_counter() - start) / calls * 1e6)
    return statistics.median(times)


class Times:
    """PyTorch's and ONNX Runtime's, of one checkpoint."""

    def __init__(self, path):
        self.peer = Peer(path)
        generator = np.random.default_rng(1)
        self.one = torch.from_numpy(generator.standard_normal((1, 2, 5, 6)).astype(np.float32))
        self.many = torch.from_numpy(generator.standard_normal((256, 2, 5, 6)).astype(np.float32))
        file = io.BytesIO()
        torch.onnx.export(
            self.peer, (self.one,), file, input_names=["cells"], output_names=["answers", "surface"],
            dynamic_axes={"cells": {0: "batch"}}, dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])

    def onnx(self, cells, calls):
        values = cells.numpy()
        return microseconds(lambda: self.session.run(["answers"], {"cells": values}), calls)

    def torch(self, cells, calls):
        with torch.inference_mode():
            return microseconds(lambda: self.peer(cells), calls)

    def step(self):
        """Of training at a batch of 256, with our losses but repricing."""
        peer = self.peer
        optimiser = torch.optim.AdamW(peer.parameters(), lr=1e-4, weight_decay=1e-4)
        targets = torch.randn(256, 5)

        def work():
            optimiser.zero_grad(set_to_none=True)
            answers, surface = peer(self.many)
            values, scales = answers[:, :, 0], answers[:, :, 1]
            error = (values - targets).detach()
            loss = (
                torch.nn.functional.smooth_l1_loss(values, targets)
                + 0.3 * torch.nn.functional.mse_loss(surface, self.many[:, 0].flatten(1))
                + 0.05 * (0.5 * error**2 * torch.exp(-2 * scales) + scales).mean())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
            optimiser.step()

        return microseconds(work, 5, 15)


def main():
    program, folder, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"peers: PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}; {rounds} rounds, medians")
    claims = Claims()
    every = os.sched_getaffinity(0)
    for preset in ("equity", "crypto"):
        path = folder / f"{preset}.safetensors"
        if not path.exists():
            made = ours(program, "train", preset, path, quiet=False)
            print(f"{preset}: {made['surfaces']} surfaces in {made['making']:.1f} s, {made['epochs']} epochs in "
                  f"{made['training']:.0f} s on {len(every)} cores")
        found = ours(program, "judge", preset, path, 20_000)
        label = f"heston.network.{preset}"
        if found["failures"]:
            print(f"{preset}: {found['failures']} surfaces without an answer")
        for name, value, bound in (
                ("median", found["network"]["median"], 0.30), ("high", found["network"]["high"], 1.0),
                ("polished", found["polished"]["high"], 0.001)):
            points = 100 * value
            claims.line(f"{label}.{name}", points, "pt", f"{bound}pt", points <= bound and not found["failures"])
        worst = parity(program, path)
        claims.line(f"{label}.parity", worst, "", "1e-5", worst <= 1e-5)
    os.sched_setaffinity(0, {0})
    path = folder / "crypto.safetensors"
    peers = Times(path)
    times = {}
    for _ in range(rounds):
        mine = ours(program, "time", path)
        for name, value in (
                ("raw", mine["raw"] / 1e3), ("polished", mine["polished"] / 1e3), ("batch", mine["batch"] / 1e3),
                ("step", ours(program, "steps", path)["ns"] / 1e3), ("onnx", peers.onnx(peers.one, 500)),
                ("torch", peers.torch(peers.one, 100)), ("onnx256", peers.onnx(peers.many, 10)),
                ("torch256", peers.torch(peers.many, 10)), ("torchstep", peers.step())):
            times.setdefault(name, []).append(value)
    middle = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(f"{name}: {middle[name]:.1f} us ({min(values):.1f} .. {max(values):.1f})")
    claims.line("heston.network.raw", middle["raw"], "us", "15us", middle["raw"] <= 15, middle["onnx"],
                middle["onnx"] / middle["raw"])
    claims.line("heston.network.polished", middle["polished"], "us", "300us", middle["polished"] <= 300)
    ratio = middle["onnx256"] / middle["batch"]
    claims.line("heston.network.batch256", middle["batch"], "us", "1x", ratio >= 1, middle["onnx256"], ratio)
    ratio = middle["torchstep"] / middle["step"]
    claims.line("heston.network.step", middle["step"], "us", "1.5x", ratio >= 1.5, middle["torchstep"], ratio)
    return 1 if claims.failed else 0


sys.exit(main())
