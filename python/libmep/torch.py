# SPDX-License-Identifier: MIT
"""The fused attention and the biases with gradients, for PyTorch models on the CPU.

    bias = DistanceBias("mep_param", heads=12, head_dim=64)           # a module whose parameters train
    out = attention(q, k, v, bias(k.shape[2]))                        # [batch, heads, length, head_dim]

q, k, v, out and their gradients are float32 or bfloat16 and used where they lie; the table is float32. Second
derivatives are not there, and torch.compile calls these functions from between its graphs.
"""
import numpy as np
import torch

from .attention import Attention
from .bias import Bias

__all__ = ["DistanceBias", "attention"]


@torch.compiler.disable
def attention(q, k, v, table=None, scale=0.0, tolerance=0.0):
    """Causal attention of q [batch, heads, queries, head_dim] over k and v [batch, heads, keys, head_dim] with a bias
    table [heads, >= keys], float32: table[h, d] is added to the scores of head h at distance d. Differentiable in q, k,
    v and the table, wherever the table comes from. Queries are the last of the keys where there are fewer. scale 0
    means 1/sqrt(head_dim). A copy is made only of a tensor whose channels are not contiguous."""
    for name, x in (("q", q), ("k", k), ("v", v), ("table", table)):
        if not isinstance(x, torch.Tensor) and (name != "table" or x is not None):
            raise TypeError(f"{name} must be a torch tensor, not {type(x).__name__}")
    if q.dim() != 4:
        raise ValueError(f"q has the shape {list(q.shape)}, expected batch, heads, queries, head_dim")
    if table is not None and (table.dim() != 2 or table.shape[0] != q.shape[1] or table.dtype != torch.float32):
        raise ValueError(f"the table is {table.dtype} {list(table.shape)}, expected float32 [{q.shape[1]}, keys]")
    return _Attention.apply(_channels(q), _channels(k), _channels(v), table, scale, tolerance)


def _channels(x):
    """x, or a copy whose channels are contiguous."""
    return x if x.shape[-1] == 1 or x.stride(-1) == 1 else x.contiguous()


def _refuse_second_derivatives():
    if torch.is_grad_enabled():
        raise RuntimeError("libmep.torch has no second derivatives: call backward or grad without create_graph")


def _plan(q, k, table, scale, tolerance):
    """A plan for one call. Creating one is cheaper than sharing one among threads and graphs."""
    plan = Attention(q.shape[1], q.shape[3], k.shape[2], str(q.dtype).replace("torch.", ""), scale, True, tolerance)
    return plan.set_bias(None if table is None else table.detach().numpy())


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, table, scale, tolerance):
        ctx.settings = scale, tolerance
        out, lse = _plan(q, k, table, scale, tolerance).forward(q, k, v)
        ctx.save_for_backward(q, k, v, table, out, lse)
        return out

    @staticmethod
    def backward(ctx, dout):
        _refuse_second_derivatives()
        q, k, v, table, out, lse = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        plan = _plan(q, k, table, *ctx.settings)
        dq, dk, dv, dbias = plan.backward(q, k, v, out, lse, _channels(dout), dbias=None if wanted[3] else False)
        if wanted[3]:  # distances that no key has get no gradient
            dbias = torch.nn.functional.pad(dbias.to(table.dtype), (0, table.shape[1] - k.shape[2]))
        gradients = dq, dk, dv, dbias
        return (*(g if want else None for g, want in zip(gradients, wanted)), None, None)


class DistanceBias(torch.nn.Module):
    """The bias of a spec string ("mep", "mep_param", "exp + 0.5*gauss/learn=weights,slopes") whose learned parameters
    are this module's, under the library's names: as `model.position_bias` its state has the names of a libmep
    checkpoint, such as "position_bias.kerple_log.p". Called with a length it gives the table [heads, length].
    Parameters that an optimizer has moved out of their ranges are first moved back, in place (KERPLE's p and a to at
    least 0.01).
    """

    def __init__(self, spec, heads, head_dim=64, seed=0):
        super().__init__()
        bias = Bias(spec, heads, head_dim, seed)
        self.spec, self.heads, self.head_dim = bias.spec, heads, head_dim
        self.names = list(bias.parameters)
        for name, values in bias.parameters.items():
            *path, leaf = name.split(".")
            module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, torch.nn.Module())
                module = module._modules[part]
            module.register_parameter(leaf, torch.nn.Parameter(torch.from_numpy(values.astype(np.float32))))

    def extra_repr(self):
        return f"{self.spec!r}, heads={self.heads}, head_dim={self.head_dim}"

    def constrain_(self):
        """Move the parameters into their allowed ranges, in place; values within them are unchanged."""
        parameters = [self.get_parameter(name) for name in self.names]
        inside = _bias(self, parameters).parameters
        with torch.no_grad():
            for parameter, value in zip(parameters, inside.values()):
                value = torch.from_numpy(value).to(parameter.dtype)
                if not torch.equal(value, parameter):
                    parameter.copy_(value)
        return parameters

    @torch.compiler.disable
    def forward(self, length):
        return _Table.apply(self, length, *self.constrain_())


def _bias(module, parameters):
    """A Bias with these values: a new one, since a graph may outlive the values of the module."""
    bias = Bias(module.spec, module.heads, module.head_dim)
    bias.set_parameters({name: values.detach().double().numpy() for name, values in zip(module.names, parameters)})
    return bias


class _Table(torch.autograd.Function):
    @staticmethod
    def forward(ctx, module, length, *parameters):
        ctx.module = module
        ctx.save_for_backward(*parameters)
        return torch.from_numpy(_bias(module, parameters).table(length))

    @staticmethod
    def backward(ctx, dtable):
        _refuse_second_derivatives()
        parameters = ctx.saved_tensors
        gradients = _bias(ctx.module, parameters).backward(dtable.numpy())
        return (None, None, *(torch.from_numpy(gradients[name]).to(p.dtype)
                              for name, p in zip(ctx.module.names, parameters)))
