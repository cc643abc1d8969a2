"""Imports timm beside a torch for the CPU. The torchvision of PyPI is built for another torch, so its compiled operators are missing.
timm's models do not use them. They are declared here, so that the import succeeds."""

import re
import sys

import torch

_declared = []


def timm():
    for _ in range(50):
        try:
            import timm.models

            return timm
        except RuntimeError as e:
            missing = re.search(r"operator (\w+)::(\w+) does not exist", str(e))
            if not missing:
                raise
            library = torch.library.Library(missing[1], "FRAGMENT")
            library.define(missing[2] + "(Tensor x) -> Tensor")
            _declared.append(library)
            for name in [n for n in sys.modules if n.split(".")[0] in ("timm", "torchvision")]:
                del sys.modules[name]
    raise ImportError("timm")
