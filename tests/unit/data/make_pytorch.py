# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the PyTorch files of this folder into the current one. See README.md."""
import argparse
import collections
import datetime
import enum
import functools
import io
import os
import pathlib
import tarfile
import zipfile

import numpy
import torch


def count(*shape, dtype=torch.float32, first=0):
    n = 1
    for size in shape:
        n *= size
    return (torch.arange(n) + first).reshape(shape).to(dtype)


plain = collections.OrderedDict()
plain["layer.weight"] = count(2, 3)
for name in ("float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8"):
    plain[name] = count(4, dtype=getattr(torch, name), first=1)
plain["bool"] = torch.tensor([True, False, True])
plain["scalar"] = torch.tensor(2.5)
plain["empty"] = torch.zeros(3, 0, 2)
plain["parameter"] = torch.nn.Parameter(count(3, first=5))
plain._metadata = {"": {"version": 1}}  # what state_dict() leaves, written with BUILD
torch.save(plain, "plain.pt")
torch.save(plain, "protocol4.pt", pickle_protocol=4)

base = count(24)
views = {
    "base": base,
    "part": base[6:12].view(2, 3),
    "transposed": base.view(4, 6).t(),
    "column": base.view(2, 3, 4)[:, :, 1],
    "repeated": base[:3].expand(2, 3),
    "thin": base[::24],
}
torch.save(views, "views.pt")

checkpoint = {
    "generator": {"model.a.weight": count(2, first=10)},
    "generator_ema": {"model._fsdp_wrapped_module.a.weight": count(2, first=20)},
    "critic": {"model.a.weight": count(2, first=30)},
    "optimizer": {"state": {0: {"step": 5, "average": count(2)}},
                  "groups": [{"lr": 1e-3, "betas": (0.9, 0.99)}]},
    "step": 700, "large": 1 << 200, "negative": -3, "text": "é", "nothing": None,
    "device": torch.device("cpu"), "size": torch.Size([1, 2]), "type": torch.float32,
}
torch.save(checkpoint, "checkpoint.pt")


class Colour(enum.Enum):
    RED = 1


class Settings(dict):
    pass


class Ordered(collections.OrderedDict):
    pass


class Marked(torch.Tensor):
    pass


class Slots:
    __slots__ = ("a",)

    def __getnewargs_ex__(self):
        return (1,), {"b": 2}

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)


# What trainers keep beside the weights, and what people derive dictionaries and tensors from.
marked = count(3, first=4).as_subclass(Marked)
marked.note = "an attribute"
default = collections.defaultdict(list)
default["weight"] = count(2, first=7)
beside = {
    "generator": Ordered({"a.weight": count(2, 2, first=1), "b": torch.nn.Parameter(count(2))}),
    "settings": Settings(weight=count(2, first=3)), "default": default, "marked": marked,
    "loss": numpy.float64(0.5), "losses": numpy.arange(3), "random": numpy.random.RandomState(1),
    "options": argparse.Namespace(lr=1e-4, out=pathlib.PurePosixPath("/tmp/x")),
    "path": pathlib.PurePosixPath("a/b"), "when": datetime.datetime(2024, 2, 3),
    "span": datetime.timedelta(3), "set": {1, "two", 3.0}, "frozen": frozenset({(1, 2)}),
    "none_of_it": set(), "bytes": b"abc", "long_bytes": b"x" * 300, "array": bytearray(b"abc"),
    "complex": 1 + 2j, "colour": Colour.RED, "partial": functools.partial(int, base=2),
    "range": range(3), "slice": slice(1, 2), "counter": collections.Counter("aab"),
    "slots": Slots(), "class": Colour, "function": len, "type": torch.complex64, "large": 1 << 2050,
    "long_text": "y" * 300, "nested": [[{"a": (1, [2, {3}])}]], "ellipsis": ...,
}
for protocol in (2, 3, 4, 5):
    torch.save(beside, f"beside{protocol}.pt", pickle_protocol=protocol)

# Tensors that cannot be read, among others that can.
torch.save({
    "head.modulation": count(2),
    "freqs": torch.ones(2, dtype=torch.complex64),
    "complex": torch.ones(2, dtype=torch.complex128),
    "quantised": torch.quantize_per_tensor(count(4), 0.5, 0, torch.qint8),
    "sparse": torch.eye(3).to_sparse(),
    "sparse_rows": torch.eye(3).to_sparse_csr(),
    "meta": torch.empty(2, 3, device="meta"),
}, "unreadable.pt")
torch.save({"head.modulation": count(2), "freqs": torch.ones(2, dtype=torch.complex64)}, "freqs.pt")


class Command:
    def __reduce__(self):
        return os.system, ("touch executed",)


torch.save({"a": count(2), "b": Command()}, "command.pt")
torch.save(torch.nn.Linear(2, 2), "module.pt")
torch.save([count(2)], "list.pt")
for name, value, protocol in (("plain", plain, 2), ("views", views, 4), ("checkpoint", checkpoint, 3),
                              ("beside", beside, 5)):
    torch.save(value, f"{name}_stream.pt", pickle_protocol=protocol,
               _use_new_zipfile_serialization=False)
torch.save({"a": count(2)}, "stored.tmp")
with zipfile.ZipFile("stored.tmp") as source, \
        zipfile.ZipFile("compressed.pt", "w", zipfile.ZIP_DEFLATED) as target:
    for name in source.namelist():
        target.writestr(name, source.read(name))
os.remove("stored.tmp")

# Archives that torch.save did not write. The oldest format of PyTorch was a tar archive.
with zipfile.ZipFile("files.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("a/notes.txt", "notes " * 9)
    archive.writestr("b/model.safetensors", b"")
torch.jit.save(torch.jit.trace(lambda x: x + 1, count(2)), "program.pt")
numpy.savez("arrays.npz", a=numpy.arange(3))
for name, inside in (("oldest.pt", "sys_info"), ("files.tar", "model/config.json")):
    with tarfile.open(name, "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(inside), io.BytesIO())
    with open(name, "r+b") as file:
        file.truncate(1024)
