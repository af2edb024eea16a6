"""Muon for matrices, AdamW for the rest: one optimiser to the loop."""

import copy

import pytest
import torch
from torch import nn

from latentsync.train.optimizer import MuonAdamW, make_optimizer

CPU = torch.device("cpu")


def network(memory_format: torch.memory_format = torch.contiguous_format) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(4, 2))
    return net.to(memory_format=memory_format)


def optimizer(net: nn.Module, **changes) -> torch.optim.Optimizer:
    return make_optimizer("muon", net.parameters(), **({"lr": 0.02, "weight_decay": 0.0} | changes), device=CPU)


def learn(net: nn.Module, opt: torch.optim.Optimizer, n: int, first: int = 0) -> list[float]:
    losses = []
    for step in range(first, first + n):
        x = torch.randn(16, 3, 3, 3, generator=torch.Generator().manual_seed(step))
        loss = (net(x) - x[:, :2, 1, 1]).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def test_it_learns():
    net = network()
    losses = learn(net, optimizer(net), 60)
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_kernels_move_as_far_in_every_direction():
    """However unequal the gradient is."""
    kernel = nn.Parameter(torch.zeros(6, 4, 3, 3))
    u, _, v = torch.linalg.svd(torch.randn(6, 36, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    kernel.grad = (u * torch.logspace(0, -2, 6) @ v).view_as(kernel)
    MuonAdamW([kernel], lr=0.02, weight_decay=0.0, fused=False).step()
    directions = torch.linalg.svdvals(kernel.detach().flatten(1)) / (0.02 * 0.2 * 36**0.5)
    assert directions.min() > 0.6 and directions.max() < 1.3  # the iteration does not come nearer to 1


def test_vectors_move_as_by_adamw():
    net, reference = network(), network()
    learn(net, optimizer(net), 1)
    learn(reference, make_optimizer("adamw", reference.parameters(), lr=0.02, weight_decay=0.0, device=CPU), 1)
    for name, value in net.named_parameters():
        assert torch.equal(value, reference.get_parameter(name)) == (value.ndim == 1), name


def test_the_order_of_memory_makes_no_difference():
    contiguous, last = network(), network(torch.channels_last)
    assert not last[0].weight.is_contiguous()
    a, b = learn(contiguous, optimizer(contiguous), 10), learn(last, optimizer(last), 10)
    assert a == pytest.approx(b, rel=0.02)  # Muon rounds to bfloat16
    assert last[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_it_goes_on_exactly_with_its_state():
    net = network()
    opt = optimizer(net)
    learn(net, opt, 3)
    other = copy.deepcopy(net)
    resumed = optimizer(other)
    resumed.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert learn(net, opt, 3, first=3) == learn(other, resumed, 3, first=3)


def test_rates_are_those_of_its_groups():
    """Schedules and changed configurations write there."""
    net = network()
    opt = optimizer(net)
    for group in opt.param_groups:
        group["lr"] = 0.0
    before = copy.deepcopy(net.state_dict())
    learn(net, opt, 1)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_no_gradient_outlives_its_step():
    net = network()
    opt = optimizer(net)
    learn(net, opt, 1)
    assert all(matrix.grad is None for matrix in opt.matrices)


def test_parameters_without_gradient_stay():
    net = network()
    opt = optimizer(net)
    before = net[4].weight.detach().clone()
    net[2](torch.randn(1, 8, 2, 2)).sum().backward()
    opt.step()
    assert torch.equal(net[4].weight, before)


def test_kernels_that_it_could_not_reach_are_refused():
    transposed = nn.Parameter(torch.randn(3, 2, 3, 4).permute(2, 0, 3, 1))
    with pytest.raises(ValueError, match="one after the other"):
        MuonAdamW([transposed], lr=0.1, weight_decay=0.0, fused=False)


@pytest.mark.parametrize("ndim", [1, 2])
def test_one_kind_of_parameter_is_enough(ndim):
    parameters = [p for p in network().parameters() if min(p.ndim, 2) == ndim]
    opt = MuonAdamW(parameters, lr=0.1, weight_decay=0.0, fused=False)
    sum(p.square().sum() for p in parameters).backward()
    opt.step()
    assert len(opt.param_groups) == 1
