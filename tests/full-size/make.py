# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes files of random numbers with the names, shapes, types and sizes of the published ones.

    python3 make.py FOLDER WHAT…    WHAT: dmd-pt, bf16, fp8, fp8-scaled, 14b-fp8, umt5-pth, umt5-fp8, tae

Needs PyTorch; uses its GPU to draw the numbers if there is one.
"""
import json
import os
import struct
import sys

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def transformer(dim, ffn, layers):
    """Name and shape of every tensor, in the order of the module."""
    yield "patch_embedding.weight", (dim, 16, 1, 2, 2)
    yield "patch_embedding.bias", (dim,)
    for name, rows, columns in (("text_embedding.0", dim, 4096), ("text_embedding.2", dim, dim),
                                ("time_embedding.0", dim, 256), ("time_embedding.2", dim, dim),
                                ("time_projection.1", 6 * dim, dim)):
        yield name + ".weight", (rows, columns)
        yield name + ".bias", (rows,)
    for block in range(layers):
        prefix = f"blocks.{block}."
        yield prefix + "modulation", (1, 6, dim)
        for attention in ("self_attn", "cross_attn"):
            for linear in "qkvo":
                yield f"{prefix}{attention}.{linear}.weight", (dim, dim)
                yield f"{prefix}{attention}.{linear}.bias", (dim,)
            for norm in ("norm_q", "norm_k"):
                yield f"{prefix}{attention}.{norm}.weight", (dim,)
        yield prefix + "norm3.weight", (dim,)
        yield prefix + "norm3.bias", (dim,)
        yield prefix + "ffn.0.weight", (ffn, dim)
        yield prefix + "ffn.0.bias", (ffn,)
        yield prefix + "ffn.2.weight", (dim, ffn)
        yield prefix + "ffn.2.bias", (dim,)
    yield "head.modulation", (1, 2, dim)
    yield "head.head.weight", (64, dim)
    yield "head.head.bias", (64,)


def text_encoder():
    yield "token_embedding.weight", (256384, 4096)
    for block in range(24):
        prefix = f"blocks.{block}."
        yield prefix + "norm1.weight", (4096,)
        for linear in "qkvo":
            yield f"{prefix}attn.{linear}.weight", (4096, 4096)
        yield prefix + "norm2.weight", (4096,)
        yield prefix + "ffn.gate.0.weight", (10240, 4096)
        yield prefix + "ffn.fc1.weight", (10240, 4096)
        yield prefix + "ffn.fc2.weight", (4096, 10240)
        yield prefix + "pos_embedding.embedding.weight", (32, 64)
    yield "norm.weight", (4096,)


def decoder():
    yield "decoder.1.weight", (256, 16, 3, 3)
    yield "decoder.1.bias", (256,)
    for first, width, grow, after in ((3, 256, 256, 128), (9, 128, 256, 64), (15, 64, 128, 64)):
        for block in range(first, first + 3):
            for conv, channels in ((0, 2 * width), (2, width), (4, width)):
                yield f"decoder.{block}.conv.{conv}.weight", (width, channels, 3, 3)
                yield f"decoder.{block}.conv.{conv}.bias", (width,)
        yield f"decoder.{first + 4}.conv.weight", (grow, width, 1, 1)
        yield f"decoder.{first + 5}.weight", (after, width, 3, 3)
    yield "decoder.22.weight", (3, 64, 3, 3)
    yield "decoder.22.bias", (3,)


def draw(name, shape):
    """Of the size that keeps activations at about 1."""
    if "norm" in name and name.endswith("weight") and len(shape) == 1:
        return torch.ones(shape, device=DEVICE)
    fan_in = 1
    for n in shape[1:]:
        fan_in *= n
    scale = fan_in**-0.5 if len(shape) > 1 and "modulation" not in name else 0.02
    return torch.randn(shape, device=DEVICE) * scale


def is_quantised(name):
    return name.startswith("blocks.") and name.endswith("weight") and "norm" not in name and "pos_" not in name


def quantise(names, scaled, plain):
    """E4M3 for the matrices of the blocks, with a scale for each row or none; `plain` for the rest."""
    for name, shape in names:
        values = draw(name, shape)
        if not is_quantised(name):
            yield name, values.to(plain)
        elif scaled:
            scale = values.abs().amax(1, keepdim=True) / 448
            yield name, (values / scale).to(torch.float8_e4m3fn)
            yield name[:-6] + "weight_scale", scale
        else:
            yield name, values.to(torch.float8_e4m3fn)


TYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float8_e4m3fn: "F8_E4M3"}


def write_safetensors(path, tensors):
    tensors = [(name, tensor.cpu().contiguous()) for name, tensor in tensors]
    header, end = {}, 0
    for name, tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in tensors:
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)


SMALL, LARGE = (1536, 8960, 30), (5120, 13824, 40)


def dmd_pt(path):
    torch.save({"generator_ema": {"model." + n: draw(n, s).cpu() for n, s in transformer(*SMALL)}}, path)


def bf16(path):
    write_safetensors(path, ((n, draw(n, s).bfloat16()) for n, s in transformer(*SMALL)))


def fp8(path):
    write_safetensors(path, quantise(transformer(*SMALL), False, torch.bfloat16))


def fp8_scaled(path):
    write_safetensors(path, quantise(transformer(*SMALL), True, torch.bfloat16))


def large(path):
    write_safetensors(path, quantise(transformer(*LARGE), True, torch.bfloat16))


def umt5_pth(path):
    torch.save({n: draw(n, s).bfloat16().cpu() for n, s in text_encoder()}, path)


def umt5_fp8(path):
    write_safetensors(path, quantise(text_encoder(), False, torch.bfloat16))


def tae(path):
    torch.save({n: draw(n, s).half().cpu() for n, s in decoder()}, path)


FILES = {"dmd-pt": ("dmd/self_forcing_dmd.pt", dmd_pt), "bf16": ("bf16/self_forcing_bf16.safetensors", bf16),
         "fp8": ("fp8/self_forcing_fp8.safetensors", fp8),
         "fp8-scaled": ("fp8-scaled/self_forcing_fp8.safetensors", fp8_scaled),
         "14b-fp8": ("14b/self_forcing_14b_fp8.safetensors", large),
         "umt5-pth": ("umt5/models_t5_umt5-xxl-enc-bf16.pth", umt5_pth),
         "umt5-fp8": ("umt5-fp8/umt5-xxl-enc-fp8_e4m3fn.safetensors", umt5_fp8),
         "tae": ("vae/taew2_1.pth", tae)}

for what in sys.argv[2:]:
    file, write = FILES[what]
    path = os.path.join(sys.argv[1], file)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(path)
    print(f"{path} {os.path.getsize(path)} bytes", flush=True)
