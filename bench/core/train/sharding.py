"""FSDP2: each process keeps a slice of every parameter, of its gradient,
of AdamW's moments and of the EMA.

torchrun --nproc-per-node 8 -m bench.run method=selfflow size=XL compute.shard=true

A block's parameters are whole only while the block computes. Parameters stay float32, as without
sharding, so that losses are the same; files hold whole tensors in the same form as without
sharding, so that a run goes on with another number of processes, sharded or not. Zhao et al.,
PyTorch FSDP (arXiv 2304.11277); torch.distributed.fsdp.fully_shard.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.core.model.backbone import SiT
from bench.core.train.distributed import Processes

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor
    from typing_extensions import TypeIs


def shard(module: nn.Module, backbone: SiT, processes: Processes) -> None:
    """Slice the parameters of a module and of the backbone in it over all processes, in place.

    The module may still lie on the CPU: what is moved to the device is this process's slice.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # a block's q and k are views, which nobody writes to
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(processes.device.type, (processes.world,))
    # always resharded after a forward pass: the EMA has no backward pass that would do it before
    # the next average
    for block in backbone.blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(module, mesh=mesh, reshard_after_forward=True)


def is_slice(tensor: object) -> TypeIs[DTensor]:
    """Whether a tensor is one of FSDP's slices; without importing its module, which takes longer
    than torch itself.
    """
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def is_sharded(module: nn.Module) -> bool:
    """Whether a module's parameters are slices."""
    return any(is_slice(parameter) for parameter in module.parameters())


def held_here(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What this process holds of each tensor: its slice, or all of it where nothing is sharded."""
    return [tensor.to_local() if is_slice(tensor) else tensor for tensor in tensors]


def full(tensor: Tensor) -> Tensor:
    """A sliced tensor made whole on its device; all processes take part."""
    return tensor.full_tensor() if is_slice(tensor) else tensor


def whole(state: Any, keep: bool) -> Any:
    """Nested containers with every sliced tensor made whole on the CPU, one after the other.

    All processes take part; where `keep` is false a sliced tensor becomes None, and nothing is
    held.
    """
    if is_slice(state):
        tensor = full(state.detach())
        return tensor.cpu() if keep else None
    if isinstance(state, dict):
        return {key: whole(value, keep) for key, value in state.items()}
    return [whole(value, keep) for value in state] if isinstance(state, list) else state


def like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor, sliced as a parameter of its shape is; others, and all where nothing is
    sharded, as they come.
    """
    if not is_slice(parameter) or tensor.shape != parameter.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    tensor = tensor.to(parameter.device_mesh.device_type)
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)


def load_module(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a module's whole state, strictly."""
    own = module.state_dict()
    sliced = {key: like(value, own.get(key, value)) for key, value in state.items()}
    module.load_state_dict(sliced)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimiser's state of whole tensors."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        index: {key: like(value, parameters[index]) for key, value in entries.items()}
        for index, entries in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})
