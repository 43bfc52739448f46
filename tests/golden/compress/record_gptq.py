"""Records how GPTQModel packs and unpacks the layouts of GPTQ and AWQ on a CPU.

    python record_gptq.py OUT.safetensors [ROWS COLS GROUPS]

Written with gptqmodel 7.7.0 and torch 2.11.0. Names in the file: gptq.BITS.SUFFIX with the codes, grids and
groups that went in, the packed tensors (qzeros of version 2, qzeros_v1 of version 1) and the float16 numbers that
come out; awq.SUFFIX likewise.
"""

import sys

import torch
from gptqmodel.nn_modules.qlinear.torch import TorchLinear
from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm, pack_awq
from gptqmodel.quantization.config import QuantizeConfig
from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
from safetensors.torch import save_file


def inputs(bits, rows, cols, groups):
    codes = torch.randint(0, 2**bits, (rows, cols))
    scales = (torch.rand(rows, groups) * 0.01 + 1e-4).half()
    zeros = torch.randint(1, 2**bits, (rows, groups))
    return codes, scales, zeros


def gptq(bits, rows, cols, groups):
    codes, scales, zeros = inputs(bits, rows, cols, groups)
    g_idx = torch.randint(0, groups, (cols,), dtype=torch.int32)
    index = g_idx.long()
    weight = scales.float()[:, index] * (codes - zeros[:, index])
    linear = torch.nn.Linear(cols, rows, bias=False)
    linear.weight.data = weight
    layer = TorchLinear(bits=bits, group_size=cols // groups, sym=False, desc_act=True,
                        in_features=cols, out_features=rows)
    layer.pack_original(linear, scales.float(), zeros.float(), g_idx)
    layer.post_init()
    dense = layer.dequantize_weight().t()
    assert torch.equal(dense, weight.half())
    qzeros = layer.qzeros.clone()
    convert_gptq_v2_to_v1_format_module(layer, QuantizeConfig(bits=bits))
    return {"codes": codes.byte(), "scales_in": scales, "zeros_in": zeros.byte(), "qweight": layer.qweight,
            "qzeros": qzeros, "qzeros_v1": layer.qzeros, "scales": layer.scales, "g_idx": g_idx, "dense": dense}


def awq(rows, cols, groups):
    codes, scales, zeros = inputs(4, rows, cols, groups)
    qweight, qzeros = pack_awq(codes.t().contiguous(), zeros.t().contiguous(), 4)
    dense = dequantize_gemm(qweight, qzeros, scales.t().contiguous(), 4, cols // groups).t()
    return {"codes": codes.byte(), "scales_in": scales, "zeros_in": zeros.byte(), "qweight": qweight,
            "qzeros": qzeros, "scales": scales.t(), "dense": dense}


def main():
    path, *numbers = sys.argv[1:]
    rows, cols, groups = [int(n) for n in numbers] or [32, 96, 3]
    torch.manual_seed(1)
    tensors = {f"awq.{name}": tensor for name, tensor in awq(rows, cols, groups).items()}
    for bits in (2, 3, 4, 8):
        tensors |= {f"gptq.{bits}.{name}": tensor for name, tensor in gptq(bits, rows, cols, groups).items()}
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)


main()
