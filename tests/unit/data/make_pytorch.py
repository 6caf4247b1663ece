# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the PyTorch files of this folder into the current one. See README.md."""
import collections
import os
import zipfile

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
torch.save({
    "base": base,
    "part": base[6:12].view(2, 3),
    "transposed": base.view(4, 6).t(),
    "column": base.view(2, 3, 4)[:, :, 1],
    "repeated": base[:3].expand(2, 3),
    "thin": base[::24],
}, "views.pt")

torch.save({
    "generator": {"model.a.weight": count(2, first=10)},
    "generator_ema": {"model._fsdp_wrapped_module.a.weight": count(2, first=20)},
    "critic": {"model.a.weight": count(2, first=30)},
    "optimizer": {"state": {0: {"step": 5, "average": count(2)}},
                  "groups": [{"lr": 1e-3, "betas": (0.9, 0.99)}]},
    "step": 700, "large": 1 << 200, "negative": -3, "text": "é", "nothing": None,
    "device": torch.device("cpu"), "size": torch.Size([1, 2]), "type": torch.float32,
}, "checkpoint.pt")


class Command:
    def __reduce__(self):
        return os.system, ("touch executed",)


torch.save({"a": count(2), "b": Command()}, "command.pt")
torch.save(torch.nn.Linear(2, 2), "module.pt")
torch.save([count(2)], "list.pt")
torch.save({"a": count(2)}, "old.pt", _use_new_zipfile_serialization=False)
torch.save({"a": count(2)}, "stored.tmp")
with zipfile.ZipFile("stored.tmp") as source, \
        zipfile.ZipFile("compressed.pt", "w", zipfile.ZIP_DEFLATED) as target:
    for name in source.namelist():
        target.writestr(name, source.read(name))
os.remove("stored.tmp")
