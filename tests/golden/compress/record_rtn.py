"""Records round to nearest as the program of GPTQ computes its grids (quant.py, class Quantizer), with torch on a CPU.

    python record_rtn.py OUT.safetensors [ROWS COLS GROUP]

Written with torch 2.11.0. find_params and quantize compute what IST-DASLab/gptq does at 2d65066, in its order. Names
in the file: BITS.SYMMETRIC.GROUPED.MSE.SUFFIX with codes, scale and zero; in large records also the float32 numbers
that they stand for.
"""

import sys

import torch
from safetensors.torch import save_file


def quantize(x, scale, zero, maxq):
    q = torch.clamp(torch.round(x / scale) + zero, 0, maxq)
    return q, scale * (q - zero)


def find_params(x, maxq, sym, mse, norm=2.4, grid=100, maxshrink=0.8):
    none = torch.zeros(x.shape[0])
    xmin = torch.minimum(x.min(1)[0], none)
    xmax = torch.maximum(x.max(1)[0], none)
    if sym:
        xmax = torch.maximum(torch.abs(xmin), xmax)
        below = xmin < 0
        if torch.any(below):
            xmin[below] = -xmax[below]
    empty = (xmin == 0) & (xmax == 0)
    xmin[empty] = -1
    xmax[empty] = +1
    scale = (xmax - xmin) / maxq
    zero = torch.full_like(scale, (maxq + 1) / 2) if sym else torch.round(-xmin / scale)
    if mse:
        best = torch.full([x.shape[0]], float("inf"))
        for i in range(int(maxshrink * grid)):
            p = 1 - i / grid
            xmin1, xmax1 = p * xmin, p * xmax
            scale1 = (xmax1 - xmin1) / maxq
            zero1 = zero if sym else torch.round(-xmin1 / scale1)
            _, q = quantize(x, scale1.unsqueeze(1), zero1.unsqueeze(1), maxq)
            q -= x
            q.abs_()
            q.pow_(norm)
            err = torch.sum(q, 1)
            better = err < best
            if torch.any(better):
                best[better] = err[better]
                scale[better] = scale1[better]
                zero[better] = zero1[better]
    return scale.unsqueeze(1), zero.unsqueeze(1)


def main():
    path, *numbers = sys.argv[1:]
    rows, cols, group = [int(n) for n in numbers] or [16, 96, 32]
    torch.manual_seed(1)
    weight = torch.randn(rows, cols) * 0.02
    weight[1] = 0.0
    weight[2] = weight[2].abs()
    weight[3] = -weight[3].abs()
    weight[4] *= torch.linspace(0, 50, cols)
    weight[5, :group] = 0.0
    tensors = {"weight": weight}
    for bits in (2, 3, 4, 8):
        for sym in (0, 1):
            for grouped in (0, 1):
                for mse in (0, 1):
                    x = weight.reshape(-1, group if grouped else cols)
                    maxq = 2**bits - 1
                    scale, zero = find_params(x, torch.tensor(maxq), bool(sym), bool(mse))
                    codes, numbers = quantize(x, scale, zero, maxq)
                    prefix = f"{bits}.{sym}.{grouped}.{mse}."
                    tensors |= {prefix + "codes": codes.byte().reshape(rows, cols), prefix + "scale": scale,
                                prefix + "zero": zero.byte()}
                    if rows > 100:
                        tensors[prefix + "numbers"] = numbers.reshape(rows, cols)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)


main()
