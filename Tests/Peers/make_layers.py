"""Writes golden data of Sources/NeuralNetworks: what PyTorch computes for every layer, loss, optimiser and schedule.

    python3 Tests/Peers/make_layers.py

Needs PyTorch and safetensors. Writes Tests/NeuralNetworksTests/Golden/layers.safetensors.

A case has its parameters and inputs (drawn from a fixed seed), the gradient `dy` at its outputs, and what PyTorch makes
of them: `y`, `dx` and `dparameters`. Parameters are one vector, in the order in which PyTorch lists them; an LSTM's
inputs are its sequence, then h and c, its outputs the sequence, then the final h and c. Sequences are [rows × length ×
channels] here, and PyTorch's own order is kept from the file. All is computed in double precision and rounded last, so
that the tolerance of the comparison is for our own rounding alone.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

GOLDEN = Path(__file__).resolve().parent.parent / "NeuralNetworksTests" / "Golden" / "layers.safetensors"

torch.manual_seed(20)
torch.set_default_dtype(torch.float64)
found = {}


def drawn(*shape, scale=1.0):
    """Normal numbers that single precision holds, so that both sides begin with the same."""
    return (torch.randn(*shape) * scale).float().double()


def keep(name, **tensors):
    for key, value in tensors.items():
        value = value.detach().clone()
        found[f"{name}.{key}"] = (value.float() if value.is_floating_point() else value).contiguous()


def case(name, function, inputs, parameters=()):
    """One layer: `function(*inputs)` is a tensor or several; `parameters` are those that it uses."""
    inputs = [value.requires_grad_() for value in inputs]
    outputs = function(*inputs)
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    gradients = [drawn(*output.shape) for output in outputs]
    torch.autograd.backward(outputs, gradients)

    def flat(tensors):
        return torch.cat([tensor.reshape(-1) for tensor in tensors]) if tensors else torch.zeros(0)

    keep(
        name,
        x=flat(inputs),
        parameters=flat(parameters),
        dy=flat(gradients),
        y=flat(outputs),
        dx=flat([value.grad for value in inputs]),
        dparameters=flat([value.grad for value in parameters]),
    )


def settled(module):
    """The module's parameters, drawn anew: no bias is 0 and no gain 1."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(drawn(*parameter.shape, scale=0.4) + (parameter.dim() == 1) * 0.3)
            parameter.copy_(parameter.float().double())
    return list(module.parameters())


# Layers


def linear():
    layer = nn.Linear(4, 3)
    case("linear", layer, [drawn(5, 4)], settled(layer))
    # One row takes another path.
    layer = nn.Linear(4, 3)
    case("linear-row", layer, [drawn(1, 4)], settled(layer))


def activations():
    x = torch.cat([drawn(40, scale=2), torch.linspace(-9, 9, 24).float().double()])
    for name, function in {
        "tanh": torch.tanh,
        "relu": torch.relu,
        "sigmoid": torch.sigmoid,
        "gelu": functional.gelu,
    }.items():
        case(name, function, [x.clone()])


def lstm():
    steps, rows, inputs, hidden = 7, 3, 4, 5
    layer = nn.LSTM(inputs, hidden)
    parameters = settled(layer)
    start = [drawn(rows, hidden), drawn(rows, hidden)]

    def whole(x, h, c):
        y, (h, c) = layer(x, (h[None], c[None]))
        return y, h[0], c[0]

    def resetting(resets):
        def run(x, h, c):
            outputs = []
            for step in range(steps):
                kept = (1 - resets[step].double())[:, None]
                y, (h, c) = layer(x[step][None], ((h * kept)[None], (c * kept)[None]))
                h, c = h[0], c[0]
                outputs.append(y[0])
            return torch.stack(outputs), h, c

        return run

    case("lstm", whole, [drawn(steps, rows, inputs), *(s.clone() for s in start)], parameters)
    resets = torch.zeros(steps, rows, dtype=torch.uint8)
    for step, row in [(0, 1), (2, 0), (3, 0), (3, 2), (6, 1)]:
        resets[step, row] = 1
    layer.zero_grad()
    case("lstm-resets", resetting(resets), [drawn(steps, rows, inputs), *(s.clone() for s in start)], parameters)
    keep("lstm-resets", resets=resets)
    layer.zero_grad()
    steps, rows = 5, 1
    case("lstm-row", whole, [drawn(steps, 1, inputs), drawn(1, hidden), drawn(1, hidden)], parameters)


def layer_norm():
    layer = nn.LayerNorm(10)
    case("layer-norm", layer, [drawn(6, 10) + 3], settled(layer))


def softmax():
    case("softmax", lambda x: functional.softmax(x, -1), [drawn(4, 7, scale=3)])


def convolutions():
    for name, width, dilation in [("none", 3, 1), ("same", 3, 2), ("causal", 3, 4), ("causal-even", 2, 1)]:
        layer = nn.Conv1d(3, 4, width, dilation=dilation)
        reach = (width - 1) * dilation
        padding = {"none": (0, 0), "same": (reach // 2, reach // 2)}.get(name, (reach, 0))

        def run(x):
            return layer(functional.pad(x.transpose(1, 2), padding)).transpose(1, 2)

        case(f"conv1d-{name}", run, [drawn(2, 20, 3)], settled(layer))


def pools():
    for name, width, stride in [("", 2, 2), ("-overlapping", 3, 2)]:
        maximum, average = nn.MaxPool1d(width, stride), nn.AvgPool1d(width, stride)
        case(f"max-pool{name}", lambda x: maximum(x.transpose(1, 2)).transpose(1, 2), [drawn(2, 12, 3)])
        case(f"average-pool{name}", lambda x: average(x.transpose(1, 2)).transpose(1, 2), [drawn(2, 12, 3)])


def attention():
    for name, causal in [("", False), ("-causal", True)]:
        layer = nn.MultiheadAttention(8, 2, batch_first=True)
        mask = nn.Transformer.generate_square_subsequent_mask(6) if causal else None
        case(
            f"attention{name}",
            lambda x: layer(x, x, x, attn_mask=mask, need_weights=False)[0],
            [drawn(3, 6, 8)],
            settled(layer),
        )


def embedding():
    layer = nn.Embedding(6, 4)
    (table,) = settled(layer)
    indices = torch.tensor([3, 0, 3, 5, 1, 3])
    y = layer(indices)
    dy = drawn(6, 4)
    y.backward(dy)
    keep("embedding", indices=indices, parameters=table, dy=dy, y=y, dparameters=table.grad)


def dropout():
    x, dy = drawn(200).requires_grad_(), drawn(200)
    torch.manual_seed(5)
    mask = functional.dropout(torch.ones(200), 0.3)
    torch.manual_seed(5)
    y = functional.dropout(x, 0.3)
    y.backward(dy)
    keep("dropout", x=x, mask=mask, dy=dy, y=y, dx=x.grad)


def positions():
    """Vaswani et al. 2017, section 3.5, as PyTorch's own tutorial has it."""
    length, size = 30, 8
    place = torch.arange(length, dtype=torch.float64)[:, None]
    rates = torch.exp(torch.arange(0, size, 2, dtype=torch.float64) * (-torch.log(torch.tensor(10_000.0)) / size))
    y = torch.zeros(length, size)
    y[:, 0::2] = torch.sin(place * rates)
    y[:, 1::2] = torch.cos(place * rates)
    keep("positions", y=y)


# Losses


def losses():
    predictions, targets = drawn(40), drawn(40)
    for name, function in {
        "mse": functional.mse_loss,
        "huber": lambda p, t: functional.huber_loss(p, t, delta=0.7),
        "smooth-l1": lambda p, t: functional.smooth_l1_loss(p, t, beta=0.7),
    }.items():
        p = predictions.clone().requires_grad_()
        loss = function(p, targets)
        loss.backward()
        keep(name, predictions=p, targets=targets, loss=loss, gradient=p.grad)
    mean, log_variance = drawn(40).requires_grad_(), drawn(40).requires_grad_()
    loss = functional.gaussian_nll_loss(mean, targets, torch.exp(log_variance))
    loss.backward()
    keep(
        "gaussian-nll", mean=mean, log_variance=log_variance, targets=targets, loss=loss, by_mean=mean.grad,
        by_log_variance=log_variance.grad,
    )
    logits = drawn(6, 5, scale=3)
    classes = torch.tensor([0, 4, 2, 2, 1, 3])
    weights = torch.tensor([0.5, 1, 2, 3, 0.25])
    for name, weight in [("cross-entropy", None), ("cross-entropy-weighted", weights)]:
        x = logits.clone().requires_grad_()
        loss = functional.cross_entropy(x, classes, weight=weight)
        loss.backward()
        keep(name, logits=x, targets=classes, weights=weights, loss=loss, gradient=x.grad)


# Optimisers and schedules


def optimisers():
    gradients = drawn(12, 20) * torch.logspace(-4, 1, 20)
    gradients = gradients.float().double()
    for name, decay, epsilon in [("adam", 0.0, 1e-8), ("adamw", 0.1, 1e-5)]:
        parameters = drawn(20)
        keep(name, start=parameters, gradients=gradients)
        parameters.requires_grad_()
        kind = torch.optim.AdamW if decay else torch.optim.Adam
        optimiser = kind([parameters], lr=0.01, eps=epsilon, weight_decay=decay)
        path = []
        for gradient in gradients:
            parameters.grad = gradient.clone()
            optimiser.step()
            path.append(parameters.detach().clone())
        keep(name, parameters=torch.stack(path))
    for name, limit in [("clip", 0.5), ("clip-none", 1000.0)]:
        parameter = torch.zeros(20).requires_grad_()
        parameter.grad = gradients[0].clone()
        norm = nn.utils.clip_grad_norm_([parameter], limit)
        keep(name, gradients=gradients[0], limit=torch.tensor([limit]), norm=norm[None], clipped=parameter.grad)


def schedules():
    for name, make in {
        "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=10, eta_min=0.01),
        "linear": lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=1, end_factor=0.1, total_iters=10),
    }.items():
        optimiser = torch.optim.SGD([torch.zeros(1).requires_grad_()], lr=0.1)
        schedule = make(optimiser)
        rates = []
        for _ in range(11):
            rates.append(schedule.get_last_lr()[0])
            optimiser.step()
            schedule.step()
        keep(f"schedule-{name}", rates=torch.tensor(rates))


for write in [
    linear, activations, lstm, layer_norm, softmax, convolutions, pools, attention, embedding, dropout, positions,
    losses, optimisers, schedules,
]:
    write()
GOLDEN.parent.mkdir(parents=True, exist_ok=True)
save_file(found, str(GOLDEN), metadata={"torch": torch.__version__.split("+")[0], "script": "make_layers.py"})
print(f"{len(found)} tensors, {GOLDEN.stat().st_size} bytes")
