# Makes python.safetensors with the reference implementation: pip install numpy safetensors
import numpy
from safetensors.numpy import save_file

tensors = {
    "model.embed_tokens.weight": numpy.arange(12, dtype=numpy.float32).reshape(3, 4) / 8,
    "model.norm.weight": numpy.array([1, -2, 0.5], dtype=numpy.float64),
    "half": numpy.array([1, 0.25, -65504], dtype=numpy.float16),
    "ids": numpy.array([[-1, 2**40]], dtype=numpy.int64),
    "int32": numpy.array([-(2**31)], dtype=numpy.int32),
    "int16": numpy.array([-3], dtype=numpy.int16),
    "int8": numpy.array([-128, 127], dtype=numpy.int8),
    "uint8": numpy.array([255], dtype=numpy.uint8),
    "mask": numpy.array([True, False]),
    "scalar": numpy.array(3.5, dtype=numpy.float32),
    "empty": numpy.zeros((0, 4), dtype=numpy.float32),
}
save_file(tensors, "python.safetensors", metadata={"format": "pt"})
