"""Records what GPTQ, SparseGPT, Wanda and magnitude pruning make of a matrix with correlated inputs.

    python record_second_order.py OUT.safetensors [ROWS COLS SEQUENCES TOKENS]

The algorithms as the programs of the papers carry them out, with the operations of torch in their order;
recorded with torch 2.11.0. Names in the file: METHOD.CASE[.codes|.values|.loss]; masks are 1 where a weight goes.
"""

import sys

import torch
from safetensors.torch import save_file

BLOCK = 128
GPTQ = {
    "c4a": dict(bits=4), "c3s": dict(bits=3, sym=True), "c2a": dict(bits=2), "c8a": dict(bits=8),
    "g4": dict(bits=4, sym=True, group=128), "g4_64": dict(bits=4, group=64), "act4": dict(bits=4, act=True),
    "gact4": dict(bits=4, group=128, act=True),
    "gact3static": dict(bits=3, sym=True, group=64, act=True, static=True),
    "g4static": dict(bits=4, group=64, static=True), "g4mse": dict(bits=4, group=128, mse=True),
}
SPARSEGPT = {
    "u5": dict(sparsity=0.5), "u7": dict(sparsity=0.7), "24": dict(n=2, m=4), "48": dict(n=4, m=8),
    "u5q4": dict(sparsity=0.5, bits=4),
}
MASKS = {"u3": dict(sparsity=0.3), "u5": dict(sparsity=0.5), "24": dict(n=2, m=4), "48": dict(n=4, m=8)}


class Grid:
    def __init__(self, values, bits, sym=False, mse=False):
        self.max_code = 2**bits - 1
        low = torch.minimum(values.min(1)[0], torch.zeros(len(values)))
        high = torch.maximum(values.max(1)[0], torch.zeros(len(values)))
        if sym:
            high = torch.maximum(low.abs(), high)
            low = torch.where(low < 0, -high, low)
        empty = (low == 0) & (high == 0)
        low[empty], high[empty] = -1, 1
        self.scale = ((high - low) / self.max_code).unsqueeze(1)
        middle = torch.full_like(self.scale, (self.max_code + 1) / 2)
        self.zero = middle if sym else torch.round(-low.unsqueeze(1) / self.scale)
        if mse:
            self.shrink(values, low, high, middle if sym else None)

    def shrink(self, values, low, high, middle):
        best = torch.full([len(values)], float("inf"))
        scale, zero = self.scale.clone(), self.zero.clone()
        for i in range(80):
            share = 1 - i / 100
            self.scale = ((share * high - share * low) / self.max_code).unsqueeze(1)
            self.zero = torch.round(-(share * low).unsqueeze(1) / self.scale) if middle is None else middle
            error = (self(values) - values).abs().pow(2.4).sum(1)
            better = error < best
            best[better], scale[better], zero[better] = error[better], self.scale[better], self.zero[better]
        self.scale, self.zero = scale, zero

    def codes(self, values):
        return torch.clamp(torch.round(values / self.scale) + self.zero, 0, self.max_code)

    def __call__(self, values):
        return self.scale * (self.codes(values) - self.zero)


def inverse_factor(hessian, damp=0.01):
    damped = hessian + damp * torch.mean(torch.diag(hessian)) * torch.eye(len(hessian))
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)


def without_dead(weight, hessian):
    weight, hessian = weight.clone(), hessian.clone()
    dead = torch.diag(hessian) == 0
    hessian[dead, dead] = 1
    weight[:, dead] = 0
    return weight, hessian


def spread(block, error, row):
    block -= error.unsqueeze(1).matmul(row.unsqueeze(0))


def gptq(original, hessian, bits, sym=False, group=0, act=False, static=False, mse=False):
    grid = Grid(original, bits, sym, mse)
    weight, hessian = without_dead(original, hessian)
    cols = weight.shape[1]
    if static:
        grids = [Grid(weight[:, i:i + group], bits, sym, mse) for i in range(0, cols, group)]
    order = torch.argsort(torch.diag(hessian), descending=True) if act else torch.arange(cols)
    weight, hessian = weight[:, order], hessian[order][:, order]
    factor = inverse_factor(hessian)
    codes, values, loss = torch.zeros_like(weight), torch.zeros_like(weight), 0.0
    for begin in range(0, cols, BLOCK):
        end = min(begin + BLOCK, cols)
        block, own = weight[:, begin:end].clone(), factor[begin:end, begin:end]
        errors = torch.zeros_like(block)
        for i in range(end - begin):
            if static:
                grid = grids[order[begin + i] // group]
            elif group and (begin + i) % group == 0:
                grid = Grid(weight[:, begin + i:begin + i + group], bits, sym, mse)
            column = block[:, i:i + 1]
            codes[:, begin + i], values[:, begin + i] = grid.codes(column).flatten(), grid(column).flatten()
            errors[:, i] = (block[:, i] - values[:, begin + i]) / own[i, i]
            loss += errors[:, i].square().sum().item() / 2
            spread(block[:, i:], errors[:, i], own[i, i:])
        weight[:, end:] -= errors.matmul(factor[begin:end, end:])
    back = torch.argsort(order)
    return {"codes": codes[:, back].to(torch.uint8), "values": values[:, back], "loss": torch.tensor([loss])}


def sparsegpt(original, hessian, sparsity=0.0, n=0, m=0, bits=0):
    grid = Grid(original, bits) if bits else lambda column: column
    weight, hessian = without_dead(original, hessian)
    factor = inverse_factor(hessian)
    cols = weight.shape[1]
    for begin in range(0, cols, BLOCK):
        end = min(begin + BLOCK, cols)
        block, own = weight[:, begin:end].clone(), factor[begin:end, begin:end]
        errors, values, pivots = torch.zeros_like(block), torch.zeros_like(block), torch.diag(own)
        mask = torch.zeros_like(block, dtype=torch.bool)
        if not n:
            scores = block**2 / pivots.reshape(1, -1)**2
            mask = scores <= torch.sort(scores.flatten())[0][int(scores.numel() * sparsity)]
        for i in range(end - begin):
            if n and i % m == 0:
                scores = block[:, i:i + m]**2 / pivots[i:i + m].reshape(1, -1)**2
                mask.scatter_(1, i + torch.topk(scores, n, dim=1, largest=False)[1], True)
            kept = block[:, i].clone()
            kept[mask[:, i]] = 0
            values[:, i] = grid(kept.unsqueeze(1)).flatten()
            errors[:, i] = (block[:, i] - values[:, i]) / own[i, i]
            spread(block[:, i:], errors[:, i], own[i, i:])
        weight[:, begin:end] = values
        weight[:, end:] -= errors.matmul(factor[begin:end, end:])
    return weight


def pattern_mask(scores, n, m):
    mask = torch.zeros_like(scores, dtype=torch.bool)
    for begin in range(0, scores.shape[1], m):
        chosen = torch.topk(scores[:, begin:begin + m], n, dim=1, largest=False)[1]
        mask.scatter_(1, begin + chosen, True)
    return mask


def magnitude(weight, sparsity=0.0, n=0, m=0):
    scores = weight.abs()
    if n:
        return pattern_mask(scores, n, m)
    return scores <= torch.sort(scores.flatten())[0][int(scores.numel() * sparsity)]


def wanda(weight, square_norm, sparsity=0.0, n=0, m=0):
    scores = weight.abs() * torch.sqrt(square_norm.reshape(1, -1))
    if n:
        return pattern_mask(scores, n, m)
    order = torch.sort(scores, dim=-1, stable=True)[1]
    mask = torch.zeros_like(scores, dtype=torch.bool)
    return mask.scatter_(1, order[:, :int(scores.shape[1] * sparsity)], True)


def wanda_variant(weight, square_norm, sparsity):
    scores = weight.abs() * torch.sqrt(square_norm.reshape(1, -1))
    ascending = torch.sort(scores, dim=-1, stable=True)[0]
    running, total = torch.cumsum(ascending, dim=1), scores.sum(dim=1)

    def given(share):
        count = (running <= (total * share).reshape(-1, 1)).sum(dim=1, keepdims=True)
        mask = scores <= torch.gather(ascending, 1, count - 1)
        return mask, mask.sum() / mask.numel()

    share, low, high = 0.4, 0.0, 0.8
    mask, reached = given(share)
    while torch.abs(reached - sparsity) > 0.001 and high - low >= 0.001:
        low, high = (low, share) if reached > sparsity else (share, high)
        share = (low + high) / 2
        mask, reached = given(share)
    return mask


def inputs(cols, sequences, tokens):
    mix = torch.randn(cols, cols) * 0.7 / cols**0.5
    loudness = torch.exp(torch.sin(0.37 * torch.arange(cols)))
    hessian, square_norm = torch.zeros(cols, cols), torch.zeros(cols)
    for seen in range(sequences):
        x = torch.randn(tokens, cols)
        x = (x + 2 * x @ mix) * loudness
        x[:, 7] = 0  # a dead input
        hessian *= seen / (seen + 1)
        square_norm *= seen / (seen + 1)
        square_norm += torch.norm(x, p=2, dim=0)**2 / (seen + 1)
        x = (2 / (seen + 1))**0.5 * x
        hessian += x.t().matmul(x)
    return hessian, square_norm


def main():
    rows, cols, sequences, tokens = [int(number) for number in sys.argv[2:]] or [12, 144, 4, 128]
    torch.manual_seed(0)
    hessian, square_norm = inputs(cols, sequences, tokens)
    weight = torch.randn(rows, cols) * 0.02
    weight[:, 11] *= 6
    tensors = {"weight": weight, "hessian": hessian, "square_norm": square_norm}
    for name, options in GPTQ.items():
        tensors |= {f"gptq.{name}.{part}": tensor for part, tensor in gptq(weight, hessian, **options).items()}
    for name, options in SPARSEGPT.items():
        tensors[f"sparsegpt.{name}"] = sparsegpt(weight, hessian, **options)
    for name, options in MASKS.items():
        tensors[f"magnitude.{name}"] = magnitude(weight, **options).to(torch.uint8)
        tensors[f"wanda.{name}"] = wanda(weight, square_norm, **options).to(torch.uint8)
    for sparsity in (0.3, 0.5):
        tensors[f"wanda.v{int(sparsity * 10)}"] = wanda_variant(weight, square_norm, sparsity).to(torch.uint8)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, sys.argv[1])


if __name__ == "__main__":
    main()
