"""Precision and recall against their definition, written out with loops."""

import numpy as np
import pytest
import torch

from probes.distances.precision_recall import precision_recall, squared_radii


def by_definition(samples, reference, k):
    """Kynkaanniemi's equations with one distance at a time, in float64."""

    def distance(a, b):
        return float(((a.double() - b.double()) ** 2).sum())

    def radii(points):
        return [
            sorted(distance(p, q) for q in points)[k] for p in points
        ]  # [0] is the distance to itself

    def share(points, centres, limits):
        inside = [
            any(distance(p, c) <= r for c, r in zip(centres, limits, strict=True)) for p in points
        ]
        return sum(inside) / len(points)

    return share(samples, reference, radii(reference)), share(reference, samples, radii(samples))


@pytest.mark.parametrize("block", [7, 64, 1000])
@pytest.mark.parametrize("k", [1, 3])
def test_is_the_brute_force_definition(block, k):
    draw = torch.Generator().manual_seed(k)
    samples = torch.randn(53, 5, generator=draw) * 0.8 + 0.3
    reference = torch.randn(41, 5, generator=draw)
    found = precision_recall(samples, reference, k=k, block=block)
    assert found == by_definition(samples, reference, k)
    assert 0 < found[0] < 1 and 0 < found[1] < 1


def test_a_point_on_the_border_is_inside():
    reference = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    assert squared_radii(reference, k=3).tolist() == [9.0, 4.0, 4.0, 9.0]
    samples = torch.tensor([[-3.0], [6.0], [6.5], [-40.0]])
    assert precision_recall(samples, reference, k=3)[0] == 0.5


def test_one_mode_of_two_is_precise_but_recalls_half():
    draw = torch.Generator().manual_seed(1)
    left, right = torch.randn(200, 4, generator=draw), torch.randn(200, 4, generator=draw) + 50
    samples = torch.randn(200, 4, generator=draw)
    precision, recall = precision_recall(samples, torch.cat([left, right]))
    assert precision > 0.8 and recall < 0.51


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="3 images have no 3-th neighbour"):
        squared_radii(torch.zeros(3, 2))


def test_dense_numpy_agrees_in_many_dimensions():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(300, 64)), random.normal(size=(200, 64)) * 1.1
    cross = ((x[:, None] - y[None]) ** 2).sum(-1)

    def limits(z):
        return np.sort(((z[:, None] - z[None]) ** 2).sum(-1), axis=1)[:, 3]

    expected = (cross <= limits(y)).any(1).mean(), (limits(x) >= cross.T).any(1).mean()
    found = precision_recall(torch.from_numpy(x).float(), torch.from_numpy(y).float(), block=90)
    assert found == pytest.approx(expected, abs=1e-12)
