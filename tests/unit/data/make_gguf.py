#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes blocks.gguf: random bytes as every type that the engine decodes, and beside each tensor the
numbers that the Python package gguf makes of it."""
import gguf
import numpy

TYPES = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K".split()


def finite(random, kind, shape):
    """Random bytes of which no number is infinite or none."""
    while True:
        blocks = random.integers(0, 256, shape, dtype=numpy.uint8)
        with numpy.errstate(all="ignore"):
            numbers = gguf.dequantize(blocks, kind)
        if numpy.isfinite(numbers).all():
            return blocks, numbers


random = numpy.random.default_rng(20261127)
writer = gguf.GGUFWriter("blocks.gguf", "wan")
writer.add_array("types", TYPES)
for name in TYPES:
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    columns = {1: 5, 32: 3, 256: 1}[block]
    blocks, numbers = finite(random, kind, (2, columns * size))
    writer.add_tensor(name, blocks, raw_dtype=kind)
    writer.add_tensor(name + ".numbers", numbers)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
