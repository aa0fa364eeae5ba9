"""The claims of a benchmark, a line each, as the README may state them."""


def text(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


class Claims:
    failed = False

    def line(self, name, ours, unit, bound, holds, peer=None, ratio=None):
        parts = [f"CLAIM {name} ours={text(ours)}{unit}"]
        if peer is not None:
            parts.append(f"peer={text(peer)}{unit} ratio={ratio:.2f}")
        parts.append(f"bound={bound}")
        parts.append("ok" if holds else "short")
        self.failed = self.failed or not holds
        print(" ".join(parts), flush=True)
