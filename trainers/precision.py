"""Which arithmetic a pass is computed in, and which a device only imitates."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import torch

PRECISIONS = ("float32", "tf32", "bfloat16")


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager:
    """In which a forward pass is computed; tf32 is a switch of the whole process, set by the task. Raises ValueError."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    if precision in ("float32", "tf32"):
        return nullcontext()
    raise ValueError(f"unknown precision {precision!r}: choose float32, tf32 or bfloat16")


@cache
def native_bfloat16() -> bool | None:
    """Whether this machine's processor multiplies bfloat16 itself; None where nothing tells.

    Where it doesn't, a step takes about 12 times as long as in float32: every product is emulated.
    """
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return None
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})   # the last is Arm's


def remark(precision: str) -> str | None:
    """What a person should know before she trains with it on a CPU; None where there is nothing."""
    if precision == "bfloat16" and native_bfloat16() is False:
        return ("this processor has no bfloat16 of its own and imitates it, some 12 times slower than float32: "
                "use --precision float32 here, bfloat16 on GPUs")
    if precision == "tf32":
        return "tf32 is a GPU's arithmetic: on a CPU it is float32"
    return None
