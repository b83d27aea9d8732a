# SPDX-License-Identifier: MIT
"""libmep's modules among PyTorch's tools: state_dict, copies, pickles, torch.save, optimizers, and
DistributedDataParallel over two processes; and the formulas of the gate and the profiles."""
import copy
import os
import pickle
import tempfile
import unittest
from pathlib import Path

import libmep
from support import GOLDEN2, check, exit_code, safetensors

try:
    import torch
except ImportError:
    raise unittest.SkipTest("torch is not installed") from None
import libmep.torch

HIDDEN, HEADS, LENGTH = 32, 4, 23


class Model(torch.nn.Module):
    """An attention layer with every module of libmep.torch."""

    def __init__(self):
        super().__init__()
        self.qkv = torch.nn.Linear(HIDDEN, 3 * HIDDEN)
        self.position_bias = libmep.torch.DistanceBias("mep_param", HEADS, HIDDEN // HEADS)
        self.forget = libmep.torch.ForgetGate(HIDDEN, HEADS, initial_bias=2.0)
        self.profiles = libmep.torch.Profiles(HIDDEN, HEADS, rank=3, extent=15)
        self.mixture = libmep.torch.QueryMixture(["kerple_log", "gauss"], HIDDEN, HEADS, HIDDEN // HEADS)

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        out = libmep.torch.attention(q, k, v, self.position_bias(length), gate=self.forget(x), **self.profiles(x),
                                     **self.mixture(x))
        return out.transpose(1, 2).reshape(x.shape)


def model_and_data():
    torch.manual_seed(0)
    model = Model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.rand_like(parameter))
    return model, torch.randn(4, LENGTH, HIDDEN)


def train(model, x, steps=3):
    """The model's parameters after some steps of SGD, which does not amplify rounding of gradients near 0."""
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return {name.replace("module.", ""): p.detach().clone() for name, p in model.named_parameters()}


def work(rank, folder):
    """One process of two: half of the batch, then its parameters in a file."""
    torch.set_num_threads(1)
    libmep.set_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    model, x = model_and_data()
    if rank == 1:  # DistributedDataParallel sends the parameters of process 0
        for parameter in model.parameters():
            parameter.data.mul_(0.5)
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    torch.save(train(parallel, x[2 * rank:2 * rank + 2]), os.path.join(folder, f"{rank}.pt"))
    torch.distributed.destroy_process_group()


def fork_and_compare(_):
    """The gradients of a model in a forked child of this process."""
    model, x = model_and_data()

    def gradients():
        model.zero_grad()
        model(x).square().mean().backward()
        return [p.grad.clone() for p in model.parameters()]
    right = gradients()

    def same():
        assert all(torch.equal(*pair) for pair in zip(gradients(), right))
    assert exit_code(same) == 0


class Formulas(unittest.TestCase):
    def test_forget_gate(self):
        torch.manual_seed(0)
        module, x = libmep.torch.ForgetGate(HIDDEN, HEADS, 1.0), torch.randn(2, LENGTH, HIDDEN)
        gate = module(x)
        self.assertEqual((gate.dtype, gate.shape), (torch.float64, (2, HEADS, LENGTH)))
        logits = torch.einsum("blc,hc->bhl", x.double(), module.weight.double()) + module.bias.double()[:, None]
        check(self, gate.detach().numpy(), -torch.log1p(torch.exp(-logits)).cumsum(-1).detach().numpy(), 1e-6)
        without = libmep.torch.ForgetGate(HIDDEN, HEADS, None)
        self.assertEqual(list(dict(without.named_parameters())), ["weight"])
        self.assertIn("hidden_size=32, heads=4, bias=False", repr(without))

    def test_profiles(self):
        torch.manual_seed(0)
        module, x = libmep.torch.Profiles(HIDDEN, HEADS, 3, 15), torch.randn(2, LENGTH, HIDDEN)
        found = module(x)
        self.assertEqual({name: tuple(value.shape) for name, value in found.items()},
                         {"profiles": (2, HEADS, LENGTH, 3), "bank": (3, 15)})
        weight = module.query.weight.view(HEADS, 3, HIDDEN)
        check(self, found["profiles"].detach().numpy(), torch.einsum("blc,hmc->bhlm", x, weight).detach().numpy(), 1e-6)
        half = module.bfloat16()(x.bfloat16())
        self.assertEqual({value.dtype for value in half.values()}, {torch.float32})

    def test_query_mixture(self):
        """Weights of 0 give the mixture with equal weights, and others the formula."""
        torch.manual_seed(0)
        module = libmep.torch.QueryMixture(["exp", "exp:c=0.5", "gauss"], HIDDEN, HEADS, 8)
        x, q, k, v = torch.randn(2, LENGTH, HIDDEN), *torch.randn(3, 2, HEADS, LENGTH, 8)
        found = libmep.torch.attention(q, k, v, **module(x))
        right = libmep.torch.attention(q, k, v, libmep.torch.DistanceBias("mep", HEADS, 8)(LENGTH))
        check(self, found.detach().numpy(), right.detach().numpy(), 1e-5)
        with torch.no_grad():
            module.weight.normal_()
        terms = module(x, 40)
        self.assertEqual((terms["mixture"].shape, terms["log_kernels"].shape), ((2, HEADS, LENGTH, 3), (HEADS, 3, 40)))
        weight = module.weight.view(HEADS, 3, HIDDEN)
        check(self, terms["mixture"].detach().numpy(), torch.einsum("blc,hmc->bhlm", x, weight).detach().numpy(), 1e-6)

    def test_wrong(self):
        modules = libmep.torch
        for call, kind, words in (
                (lambda: modules.ForgetGate(8, 0), ValueError, "heads is 0; it must be at least 1"),
                (lambda: modules.ForgetGate(8.0, 2), TypeError, "hidden_size must be an integer, not float"),
                (lambda: modules.Profiles(8, 2, rank=0), ValueError, "rank is 0"),
                (lambda: modules.QueryMixture("exp", 8, 2), TypeError, "kernels must be a list of specs"),
                (lambda: modules.QueryMixture([], 8, 2), TypeError, "kernels must be a list of specs"),
                (lambda: modules.QueryMixture(["rotary"], 8, 2), libmep.MepError, "not a distance bias"),
                (lambda: modules.DistanceBias("mep", 2)(2.5), TypeError, "length must be an integer, not float"),
                (lambda: modules.DistanceBias("mep", 2)(torch.zeros(2)), TypeError, "length must be an integer"),
                (lambda: modules.DistanceBias("mep", 2)(0), libmep.MepError, "the length of a bias table")):
            with self.assertRaisesRegex(kind, words):
                call()
        for module in (modules.ForgetGate(8, 2), modules.Profiles(8, 2), modules.QueryMixture(["exp"], 8, 2)):
            for x in (torch.zeros(3, 8), torch.zeros(1, 3, 7)):
                with self.assertRaisesRegex(ValueError, r"x has the shape .* expected \[batch, length, 8\]"):
                    module(x)
            with self.assertRaisesRegex(TypeError, "x must be a torch tensor, not list"):
                module([1])

    def test_names_are_a_checkpoint_s(self):
        for name, module in (("forget", libmep.torch.ForgetGate(32, 4)),
                             ("profiles", libmep.torch.Profiles(32, 4, 3, 20))):
            stored, _ = safetensors(GOLDEN2 / f"gpt2_{name}" / "model.safetensors")
            prefix = f"model.layers.0.self_attn.position_bias.{name}."
            expected = {key[len(prefix):]: value.shape for key, value in stored.items() if key.startswith(prefix)}
            self.assertEqual({key: tuple(value.shape) for key, value in module.state_dict().items()}, expected)


class Tools(unittest.TestCase):
    def setUp(self):
        self.model, self.x = model_and_data()
        self.right = self.model(self.x)

    def same(self, model):
        self.assertTrue(torch.equal(model(self.x), self.right))

    def test_copies(self):
        self.same(copy.deepcopy(self.model))
        self.same(pickle.loads(pickle.dumps(self.model)))
        trained = copy.deepcopy(self.model)
        train(trained, self.x)
        self.same(self.model)
        self.assertFalse(torch.equal(trained(self.x), self.right))

    def test_state(self):
        again = Model()
        with tempfile.TemporaryDirectory() as folder:
            torch.save(self.model.state_dict(), Path(folder, "state.pt"))
            torch.save(self.model, Path(folder, "model.pt"))
            result = again.load_state_dict(torch.load(Path(folder, "state.pt"), weights_only=True))
            self.same(torch.load(Path(folder, "model.pt"), weights_only=False))
        self.assertEqual((result.missing_keys, result.unexpected_keys), ([], []))
        self.same(again)
        self.assertEqual(set(self.model.state_dict()), set(dict(self.model.named_parameters())), "no buffers")

    def test_meta(self):
        """A model whose memory is allocated when its state is loaded, as large models are."""
        for again in (Model().to("meta"), self.made_on_meta()):
            self.assertEqual(again.to("meta")(self.x.to("meta")).device.type, "meta")
            again.load_state_dict(self.model.state_dict(), assign=True)
            self.same(again)
        empty = Model().to("meta").to_empty(device="cpu")
        empty.load_state_dict(self.model.state_dict())
        self.same(empty)

    def test_meta_bias(self):
        """A table of parameters without values has no values."""
        for spec in ("mep_param", "fire:max=64"):
            self.assertEqual(libmep.torch.DistanceBias(spec, 4, 16).to("meta")(12).device.type, "meta")

    @staticmethod
    def made_on_meta():
        with torch.device("meta"):
            return Model()

    def test_checkpointing(self):
        """Recomputation in the backward pass gives the same gradients."""
        for reentrant in (False, True):
            x = self.x.clone().requires_grad_()
            results = []
            for call in (self.model, lambda x: torch.utils.checkpoint.checkpoint(self.model, x,
                                                                                 use_reentrant=reentrant)):
                self.model.zero_grad()
                call(x).square().mean().backward()
                results.append([p.grad.clone() for p in self.model.parameters()])
            for one, other in zip(*results):
                self.assertTrue(torch.equal(one, other))

    def test_fork(self):
        """A forked child computes the same gradients after its parent has used several threads. In a new process,
        because PyTorch refuses it after torch.compile."""
        torch.multiprocessing.spawn(fork_and_compare)

    def test_distributed_data_parallel(self):
        """Two processes with half of the batch each train as one process with all of it."""
        right = train(self.model, self.x)
        with tempfile.TemporaryDirectory() as folder:
            torch.multiprocessing.spawn(work, (folder,), nprocs=2)
            found = [torch.load(Path(folder, f"{rank}.pt"), weights_only=True) for rank in range(2)]
        self.assertEqual(set(right), set(found[0]))
        for name, expected in right.items():
            self.assertTrue(torch.equal(found[0][name], found[1][name]), name)
            check(self, found[0][name].numpy(), expected.numpy(), 1e-4, name)


if __name__ == "__main__":
    unittest.main()
