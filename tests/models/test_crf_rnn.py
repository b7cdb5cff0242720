import numpy as np
import pytest
import torch

from pixelwise.errors import UsageError
from pixelwise.kernels.lattice import Lattice
from pixelwise.models.image.crf_rnn import CrfRnn, _Filter
from pixelwise.refine import CrfParameters

SMALL = CrfParameters(3, 2, 1, 5, 30, 2)


def batch(classes: int = 3, size: tuple[int, int] = (6, 7)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, classes, *size), generator=generator)
    images = torch.randint(0, 255, (2, 3, *size), generator=generator, dtype=torch.uint8)
    return logits, images


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="at least 2 classes"):
        CrfRnn(1)
    logits, images = batch()
    with pytest.raises(UsageError, match="do not fit"):
        CrfRnn(3)(logits, images[..., :-1])


def test_new_weights_compute_the_dense_crf() -> None:
    logits, images = batch()
    refined = CrfRnn(3, SMALL)(logits, images).softmax(dim=1)
    for i in range(2):
        image = images[i].permute(1, 2, 0).numpy()
        expected = SMALL.apply(image, logits[i].softmax(dim=0).numpy())
        np.testing.assert_allclose(refined[i].detach().numpy(), expected, atol=1e-4)


def test_the_filters_gradient_is_its_transpose() -> None:
    features = np.random.default_rng(0).random((40, 5)).astype(np.float32) * 3
    lattice = Lattice([features])
    values = torch.rand(40, 3, requires_grad=True)
    seen = torch.rand(40, 3)
    _Filter.apply(values, lattice).backward(seen)
    matrix = lattice.filter(np.eye(40, dtype=np.float32))
    np.testing.assert_allclose(values.grad.numpy(), matrix.T @ seen.numpy(), atol=1e-5)


def test_gradients_of_the_whole_layer() -> None:
    """Against central differences, for the logits and for each learnt matrix."""
    logits, images = batch(size=(3, 4))
    layer = CrfRnn(3, SMALL).double()
    logits = logits.double().requires_grad_()
    seen = torch.rand(logits.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def value() -> torch.Tensor:
        return (layer(logits, images) * seen).sum()

    value().backward()
    for tensor in (logits, layer.gaussian_weight, layer.bilateral_weight, layer.compatibility):
        assert tensor.grad is not None
        for index in [(0,) * tensor.ndim, (1,) * tensor.ndim, (1, 2, 2, 3)[: tensor.ndim]]:
            around = []
            for step in (1e-3, -1e-3):  # the filter computes in float32
                with torch.no_grad():
                    tensor[index] += step
                    around.append(value())
                    tensor[index] -= step
            slope = (around[0] - around[1]).item() / 2e-3
            assert tensor.grad[index].item() == pytest.approx(slope, rel=2e-3, abs=2e-3)


def test_learns_a_compatibility() -> None:
    """Labels that only the neighbours tell: class 2 beside class 0 is a mistake for class 1."""
    torch.manual_seed(0)
    images = torch.full((1, 3, 8, 8), 128, dtype=torch.uint8)
    logits = torch.zeros(1, 3, 8, 8)
    logits[:, 0] = 1
    logits[:, :, ::3, ::3] = torch.tensor([0.0, 1.0, 1.2])[None, :, None, None]
    target = torch.zeros(1, 8, 8, dtype=torch.long)
    target[:, ::3, ::3] = 1
    layer = CrfRnn(3, SMALL)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.2)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(layer(logits, images), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


def test_the_state_survives_saving() -> None:
    layer = CrfRnn(3, SMALL)
    assert set(layer.state_dict()) == {"gaussian_weight", "bilateral_weight", "compatibility"}
    assert CrfRnn(21).iterations == 5
