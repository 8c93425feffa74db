"""The optimiser against torch.optim's own."""

import copy

import torch

from trainers.adam import Adam


def test_steps_are_torch_optims_bit_for_bit():
    """Catches a kernel that torch has changed under us, a share that is not applied, and moments mixed up between groups."""
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(size, generator=generator) for size in ((7, 3, 5, 5), (7,), (10, 28), (10,))]
    theirs = [parameter.clone().requires_grad_() for parameter in ours]
    adam = Adam([(0.5, ours[:2]), (0.1, ours[2:])], betas=(0.9, 0.99), weight_decay=0.01)
    reference = torch.optim.AdamW([{"params": theirs[:2], "share": 0.5}, {"params": theirs[2:], "share": 0.1}],
                                  betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    for step in range(20):
        lr = 0.01 / (1 + step)
        gradients = [torch.randn(parameter.shape, generator=generator) for parameter in ours]
        adam.step(gradients, lr)
        for parameter, gradient in zip(theirs, gradients):
            parameter.grad = gradient
        for group in reference.param_groups:
            group["lr"] = lr * group["share"]
        reference.step()
    assert all(torch.equal(own, other) for own, other in zip(ours, theirs))


def test_a_copy_goes_on_by_itself():
    """Catches moments shared between a trunk and its branch, and a copy that still moves the original's weights."""
    weights = [torch.ones(3)]
    adam = Adam([(1.0, weights)], betas=(0.9, 0.99), weight_decay=0.0)
    adam.step([torch.ones(3)], 0.1)
    twin_weights, twin = copy.deepcopy((weights, adam))
    twin.step([-torch.ones(3)], 0.1)
    after = weights[0].clone()
    adam.step([torch.ones(3)], 0.1)
    assert torch.allclose(after, torch.full((3,), 0.9))
    assert not torch.equal(twin_weights[0], after) and twin.steps == adam.steps == 2
