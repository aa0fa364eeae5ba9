"""Runs PPO on the pendulum and a policy's decisions beside their peers by turns, and prints medians and claims.

  compare.py OURS ROUNDS     OURS: learning-bench

Peers: stable-baselines3 with the settings that rl-baselines3-zoo tuned for this world, in 8 environments; a minimal
loop in PyTorch, with the eight pendulums as one array; ONNX Runtime for decisions, with the weights of our file.
Network and epochs are the same for all, and the speeds are compared at one size of minibatches: 64, as tuned, and 256,
at which ours is judged. One thread each. Ends with 1 when a claim is short.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import gymnasium
import numpy as np
import onnx
import onnxruntime
import stable_baselines3
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file
from stable_baselines3.common.env_util import make_vec_env

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims import Claims

torch.set_num_threads(1)
SEEDS = [1, 2, 3, 4, 5]
STEPS = 200_000


def ours(program, *arguments):
    command = [program, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def baselines(seed, steps, batch):
    """stable-baselines3's PPO as tuned for Pendulum-v1; returns environment steps a second."""
    worlds = make_vec_env("Pendulum-v1", n_envs=8, seed=seed)
    model = stable_baselines3.PPO(
        "MlpPolicy", worlds, learning_rate=1e-3, n_steps=256, batch_size=batch, n_epochs=10, gamma=0.9,
        gae_lambda=0.95, clip_range=0.2, ent_coef=0.0, use_sde=True, sde_sample_freq=4, seed=seed, device="cpu")
    start = time.perf_counter()
    model.learn(steps)
    return model.num_timesteps / (time.perf_counter() - start)


def network(outputs):
    sizes = [3, 64, 64, outputs]
    layers = []
    for inputs, width in zip(sizes, sizes[1:]):
        layers += [torch.nn.Linear(inputs, width), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


class Pendulums:
    """Eight of them as one array."""

    def __init__(self, count, random):
        self.random = random
        self.angle = random.uniform(-np.pi, np.pi, count)
        self.speed = random.uniform(-1, 1, count)
        self.time = 0

    def seen(self):
        return np.stack([np.cos(self.angle), np.sin(self.angle), self.speed / 8], axis=1).astype(np.float32)

    def step(self, action):
        torque = 2 * np.clip(action, -1, 1)
        turned = (self.angle + np.pi) % (2 * np.pi) - np.pi
        cost = turned**2 + 0.1 * self.speed**2 + 0.001 * torque**2
        self.speed = np.clip(self.speed + (15 * np.sin(self.angle) + 3 * torque) * 0.05, -8, 8)
        self.angle = self.angle + self.speed * 0.05
        self.time += 1
        over = self.time == 200
        if over:
            self.__init__(len(self.angle), self.random)
        return self.seen(), -cost, over


def minimal(seed, steps, batch, worlds_count=8, length=256, epochs=10, gamma=0.9, trace=0.95):
    """A vectorised PPO loop in PyTorch; returns environment steps a second."""
    torch.manual_seed(seed)
    worlds = Pendulums(worlds_count, np.random.default_rng(seed))
    actor, critic, log_std = network(1), network(1), torch.nn.Parameter(torch.full((1,), -0.5))
    parameters = [*actor.parameters(), *critic.parameters(), log_std]
    optimiser = torch.optim.Adam(parameters, lr=1e-3, eps=1e-5)
    seen = torch.from_numpy(worlds.seen())
    begun, done = time.perf_counter(), 0
    while done < steps:
        inputs, drawn, chances, rewards, ends = [], [], [], [], []
        with torch.no_grad():
            for _ in range(length):
                normal = torch.distributions.Normal(actor(seen)[:, 0], log_std.exp())
                u = normal.sample()
                inputs.append(seen)
                drawn.append(u)
                chances.append(normal.log_prob(u))
                following, reward, over = worlds.step(torch.tanh(u).numpy())
                rewards.append(torch.from_numpy(reward.astype(np.float32)) * 0.1)
                ends.append(over)
                seen = torch.from_numpy(following)
            rows = torch.stack([*inputs, seen])
            values = critic(rows)[:, :, 0]
            advantages, running = torch.zeros(length, worlds_count), torch.zeros(worlds_count)
            for t in reversed(range(length)):
                running = rewards[t] + gamma * values[t + 1] - values[t] + gamma * trace * (not ends[t]) * running
                advantages[t] = running
        x, u = torch.cat(inputs), torch.cat(drawn)
        old, gain = torch.cat(chances), advantages.reshape(-1)
        target = gain + values[:-1].reshape(-1)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(batch):
                normal = torch.distributions.Normal(actor(x[rows])[:, 0], log_std.exp())
                ratio = (normal.log_prob(u[rows]) - old[rows]).exp()
                a = gain[rows]
                a = (a - a.mean()) / (a.std() + 1e-8)
                loss = -torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()
                loss = loss + 0.25 * (critic(x[rows])[:, 0] - target[rows]).square().mean()
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 0.5)
                optimiser.step()
        done += length * worlds_count
    return done / (time.perf_counter() - begun)


def session(path):
    """ONNX Runtime with both networks of our file: means and values of a batch."""
    tensors = load_file(path)
    nodes, stored = [], []
    for name in ["actor", "critic"]:
        flow = "x"
        for layer in range(3):
            for part in ["weight", "bias"]:
                stored.append(numpy_helper.from_array(tensors[f"{name}.{layer}.{part}"], f"{name}{layer}{part}"))
            made = name if layer == 2 else f"{name}{layer}"
            nodes.append(helper.make_node(
                "Gemm", [flow, f"{name}{layer}weight", f"{name}{layer}bias"], [made], transB=1))
            flow = made
            if layer < 2:
                flow = f"{made}t"
                nodes.append(helper.make_node("Tanh", [made], [flow]))
    graph = helper.make_graph(
        nodes, "policy", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1280])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in ["actor", "critic"]], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def microseconds(body, calls):
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(calls):
            body()
        best = min(best, (time.perf_counter() - start) / calls)
    return best * 1e6


def main():
    program, rounds = sys.argv[1], int(sys.argv[2])
    print(f"stable-baselines3 {stable_baselines3.__version__}, gymnasium {gymnasium.__version__}, "
          f"PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}")
    claims = Claims()
    returns = [ours(program, "pendulum", seed, STEPS, 256)["return"] for seed in SEEDS]
    print(f"pendulum after {STEPS} steps in minibatches of 256, mean return of 100 episodes by seed: "
          + ", ".join(f"{value:.0f}" for value in returns))
    mean, worst = statistics.mean(returns), min(returns)
    claims.line("learning.pendulum.mean_return", mean, "", "-200", mean >= -200)
    claims.line("learning.pendulum.worst_return", worst, "", "-330", worst >= -330)
    for batch, least in [(64, 20), (256, None)]:
        rates = {"ours": [], "stable-baselines3": [], "PyTorch loop": []}
        for seed in SEEDS[:rounds]:
            rates["ours"].append(ours(program, "pendulum", seed, STEPS, batch)["rate"])
            rates["stable-baselines3"].append(baselines(seed, 16_384, batch))
            rates["PyTorch loop"].append(minimal(seed, 40_960, batch))
        print(f"minibatches of {batch}, environment steps a second:")
        for name, values in rates.items():
            print(f"  {name:17} {statistics.median(values):8.0f}  ({min(values):.0f} to {max(values):.0f})")
        mine, tuned, loop = (statistics.median(values) for values in rates.values())
        claims.line(f"learning.pendulum.rate{batch}", mine, "steps/s", "100000steps/s", mine >= 100_000)
        if least:
            claims.line(
                "learning.pendulum.baselines", mine, "steps/s", f"{least}x", mine >= least * tuned, tuned, mine / tuned)
        claims.line(f"learning.pendulum.loop{batch}", mine, "steps/s", "3x", mine >= 3 * loop, loop, mine / loop)

    single, batch = {"ours": [], "onnx": []}, {"ours": [], "onnx": []}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "policy.safetensors")
        for _ in range(rounds):
            found = ours(program, "inference", path)
            runtime = session(path)
            row = np.array([found["first"]], dtype=np.float32)
            block = np.repeat(row, 64, axis=0)
            single["ours"].append(found["single_us"])
            batch["ours"].append(found["batch_us"])
            single["onnx"].append(microseconds(lambda: runtime.run(None, {"x": row}), 500))
            batch["onnx"].append(microseconds(lambda: runtime.run(None, {"x": block}), 50))
    mean, value = (float(x[0, 0]) for x in runtime.run(None, {"x": row}))
    last = float(runtime.run(None, {"x": np.array([found["last"]], dtype=np.float32)})[1][0, 0])
    apart = max(abs(mean - found["mean"]), abs(value - found["value"]), abs(last - found["last_value"]))
    claims.line("learning.inference.parity", apart, "", "1e-5", apart <= 1e-5)
    for name, times, bound in [("single", single, 16), ("batch64", batch, 215)]:
        mine, peer = (statistics.median(times[who]) for who in ["ours", "onnx"])
        claims.line(f"learning.inference.{name}", mine, "us", f"{bound}us", mine <= bound, peer, peer / mine)
    sys.exit(1 if claims.failed else 0)


main()
