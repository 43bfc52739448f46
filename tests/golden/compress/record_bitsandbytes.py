"""Records what bitsandbytes computes on a CPU: codes, stored tensors, numbers and products.

    python record_bitsandbytes.py OUT.safetensors [ROWS COLS [BLOCK_SIZE...]]

Written with bitsandbytes 0.50.2 and torch 2.11.0. Names in the file: TYPE.BLOCK.NESTED.SUFFIX for 4 bit,
int8.SUFFIX, and int8.out.THRESHOLD for products with the input x.
"""

import sys

import bitsandbytes.functional as F
import torch
from bitsandbytes.autograd._functions import MatMul8bitLt, MatmulLtState
from safetensors.torch import save_file


def four_bit(weight, quant_type, block_size, nested):
    codes, state = F.quantize_4bit(
        weight, blocksize=block_size, quant_type=quant_type, compress_statistics=nested)
    tensors = {f"weight.{name}": tensor for name, tensor in state.as_dict(packed=True).items()}
    # The AVX-512 kernel of 0.50.2 takes a wrong magnitude where a block crosses rows: as one row it has none.
    state.shape = torch.Size([weight.numel()])
    dense = F.dequantize_4bit(codes, state).reshape(weight.shape)
    return tensors | {"weight": codes, "dense": dense}


def int8(weight, x):
    codes, absmax, _ = F.int8_vectorwise_quant(weight.half())
    tensors = {"int8.weight": codes, "int8.SCB": absmax,
               "int8.dense": F.int8_vectorwise_dequant(codes, absmax)}
    for threshold in (0.0, 6.0):
        for name, tokens in (("all", x), ("one", x[:1])):
            state = MatmulLtState()
            state.CB, state.SCB, state.threshold, state.has_fp16_weights = codes, absmax, threshold, False
            tensors[f"int8.out.{threshold:g}.{name}"] = MatMul8bitLt.apply(tokens, weight, None, None, state)
    return tensors


def main():
    path, *numbers = sys.argv[1:]
    rows, cols, *block_sizes = [int(n) for n in numbers] or [56, 160, 32, 4096]
    torch.manual_seed(1)
    weight = torch.randn(rows, cols) * 0.02
    weight[3] = 0.0
    weight[5] *= 1e-30
    weight[7] *= torch.linspace(0, 50, cols)
    x = torch.randn(20, cols)
    x[:, 11] *= 20
    x[4] = 0.0
    tensors = {"weight": weight, "x": x} | int8(weight, x)
    for quant_type in ("nf4", "fp4"):
        for block_size in block_sizes:
            for nested in (False, True):
                for name, tensor in four_bit(weight, quant_type, block_size, nested).items():
                    if name == "dense" and rows < 100 and not nested:
                        continue  # a small file: the other says as much
                    tensors[f"{quant_type}.{block_size}.{int(nested)}.{name}"] = tensor
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)


main()
