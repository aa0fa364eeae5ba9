"""Judges the ONNX models and checkpoints of policies: ONNX's checker, ONNX Runtime, safetensors and NumPy.

    python onnx_models.py FOLDER

In the environment that make-venv.sh makes. FOLDER has, for each policy, NAME.onnx, NAME.safetensors, and what the
project itself computes: NAME.observations [steps × rows × size], NAME.mean [steps × rows], of the first component,
NAME.action [steps × rows × k], NAME.value [steps × rows], NAME.log_std [k], and for a policy with memory NAME.state
[rows × 4 × hidden], its memory after the last step (the actor's h and c, the critic's h and c). All are raw
single-precision numbers.

Each model is computed by ONNX Runtime, and once more by NumPy from the checkpoint's tensors, laid out as PyTorch's.
Prints one line a check with the largest difference, and exits 1 if one is above 1e-5 of the largest number.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors import safe_open

folder = Path(sys.argv[1])
failures = 0


def check(name, ok, detail=""):
    global failures
    failures += not ok
    print(("ok   " if ok else "FAIL ") + name + (f": {detail}" if detail != "" else ""), flush=True)


def compare(name, found, expected):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        return check(name, False, f"{found.shape}, {expected.shape} expected")
    error = np.max(np.abs(found - expected)) / np.max(np.abs(expected))
    return check(name, bool(error < 1e-5), f"{error:.1e}")


def numbers(name, key, *shape):
    return np.fromfile(folder / f"{name}.{key}", np.float32).reshape(shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Checkpoint:
    """A policy computed by NumPy in double precision, from the tensors of its file."""

    def __init__(self, path):
        with safe_open(path, "numpy") as file:
            self.metadata = file.metadata()
            self.tensors = {key: file.get_tensor(key).astype(np.float64) for key in file.keys()}
        self.kind = self.metadata["vomma.kind"]

    def linear(self, name, x):
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def mlp(self, name, x):
        layers = sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in self.tensors)
        for layer in range(layers):
            x = self.linear(f"{name}.{layer}", x)
            if layer < layers - 1:
                x = {"tanh": np.tanh, "relu": lambda v: np.maximum(v, 0)}[self.metadata["vomma.activation"]](x)
        return x

    def recurrent(self, name, x, state):
        h, c = state
        lstm = {key: self.tensors[f"{name}.lstm.{key}_l0"] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        x = np.tanh(self.linear(f"{name}.encoder", x))
        gates = x @ lstm["weight_ih"].T + lstm["bias_ih"] + h @ lstm["weight_hh"].T + lstm["bias_hh"]
        i, f, g, o = np.split(gates, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return self.linear(f"{name}.head", h), (h, c)


def judge(path):
    name = path.stem
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    check(f"{name}: well-formed", model.opset_import[0].version == 17)
    checkpoint = Checkpoint(folder / f"{name}.safetensors")
    properties = {entry.key: entry.value for entry in model.metadata_props}
    check(f"{name}: metadata", properties == {"vomma.kind": checkpoint.kind, "symbol": "BTCUSDT"}, properties)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    size = int(checkpoint.metadata["vomma.observation_size"])
    k = int(checkpoint.metadata["vomma.action_size"])
    # Three rows side by side.
    observations = numbers(name, "observations", -1, 3, size)
    steps = len(observations)
    expected = {key: numbers(name, key, steps, 3, k if key == "action" else 1) for key in ("mean", "action", "value")}
    compare(f"{name}: log_std of the checkpoint", checkpoint.tensors["log_std"], numbers(name, "log_std", k))

    remembers = checkpoint.kind == "recurrent"
    if remembers:
        hidden = int(checkpoint.metadata["vomma.hidden"])
        memory = {key: np.zeros((2, 3, hidden), np.float32) for key in ("h", "c")}
        states = {key: (np.zeros((3, hidden)), np.zeros((3, hidden))) for key in ("actor", "critic")}
    found = {key: [] for key in expected}
    computed = {key: [] for key in expected}
    for observation in observations:
        inputs = {"observation": observation, **(memory if remembers else {})}
        outputs = dict(zip(names, session.run(None, inputs)))
        for key, values in found.items():
            values.append(outputs[key])
        if remembers:
            memory = {"h": outputs["next_h"], "c": outputs["next_c"]}
            mean, states["actor"] = checkpoint.recurrent("actor", observation, states["actor"])
            value, states["critic"] = checkpoint.recurrent("critic", observation, states["critic"])
        else:
            mean, value = checkpoint.mlp("actor", observation), checkpoint.mlp("critic", observation)
        computed["mean"].append(mean)
        computed["action"].append(np.tanh(mean))
        computed["value"].append(value)
    for key, values in expected.items():
        count = values.shape[-1]
        compare(f"{name}: {key} by ONNX Runtime", np.stack(found[key])[..., :count], values)
        compare(f"{name}: {key} by NumPy from the checkpoint", np.stack(computed[key])[..., :count], values)
    compare(f"{name}: log_std by ONNX Runtime", outputs["log_std"], numbers(name, "log_std", k))
    if remembers:
        state = numbers(name, "state", 3, 4, hidden)
        by_runtime = np.stack([memory["h"][0], memory["c"][0], memory["h"][1], memory["c"][1]], axis=1)
        compare(f"{name}: memory by ONNX Runtime", by_runtime, state)
        by_numpy = np.stack([*states["actor"], *states["critic"]], axis=1)
        compare(f"{name}: memory by NumPy from the checkpoint", by_numpy, state)


models = sorted(folder.glob("*.onnx"))
for model in models:
    judge(model)
check("models", len(models) > 0, len(models))
sys.exit(failures > 0)
