"""Records what the package hqq computes on a CPU: packed codes, scales, zeros and numbers.

    python record_hqq.py OUT.safetensors [ROWS COLS [GROUP_SIZE...]]

Written with hqq 0.2.8.post1 and torch 2.11.0. Names in the file: SOLVER.BITS.AXIS.GROUP.SUFFIX, with the suffixes of
the package's own state_dict and `dense` for the numbers.
"""

import sys

import torch
from hqq.core import optimize
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear, Quantizer
from safetensors.torch import save_file

SOLVERS = {
    "legacy": optimize.optimize_weights_proximal_legacy,
    "v2": optimize.optimize_weights_proximal_v2,
    "slow": optimize.optimize_weights_proximal_slow,
}


def record(weight, solver, bits, axis, group):
    Quantizer.optimize_weights = SOLVERS[solver]
    config = BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis)
    layer = HQQLinear.from_weights(weight.clone(), None, config, compute_dtype=torch.float32, device="cpu")
    return {name: tensor.data.clone() for name, tensor in layer.state_dict().items()} | {"dense": layer.dequantize()}


def main():
    path, *numbers = sys.argv[1:]
    rows, cols, *groups = [int(number) for number in numbers] or [16, 80]
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(rows, cols, generator=generator) * torch.rand(rows, 1, generator=generator) * 0.1
    weight[1] = 0.0
    weight[2] *= 1e-5
    weight[3, ::7] *= 12.0
    weight[4] += 0.5
    tensors = {"weight": weight}
    for group in groups or [32]:
        for axis in (1, 0):
            for bits in Quantizer.SUPPORTED_BITS:
                if bits != int(bits):
                    continue
                for solver in SOLVERS:
                    if solver != "legacy" and not groups and bits not in (4, 2):
                        continue
                    for suffix, tensor in record(weight, solver, bits, axis, group).items():
                        tensors[f"{solver}.{bits}.{axis}.{group}.{suffix}"] = tensor.contiguous()
    save_file(tensors, path)


if __name__ == "__main__":
    main()
