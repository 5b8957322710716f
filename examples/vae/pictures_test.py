"""What lies where on a page, and the plane through the latents."""

import numpy as np
import pictures


def test_images_lie_side_by_side():
    images = np.stack([np.full(4, k / 4, np.float32) for k in range(1, 4)])
    page = pictures.tiled(images, columns=2, zoom=1)
    assert page.shape == (6, 6)
    assert page[0].tolist() == [0.25, 0.25, 0, 0.5, 0.5, 0]
    assert page[3].tolist() == [0.75, 0.75, 0, 0, 0, 0]
    assert page[2].max() == 0
    larger = pictures.tiled(images, columns=2, zoom=3)
    np.testing.assert_array_equal(larger[1::3, 1::3], page)


def test_two_latents_are_a_plane_as_they_are():
    middle, directions, grid = pictures.plane(np.ones((5, 2)), size=4)
    assert middle.tolist() == [0, 0]
    assert directions.tolist() == [[1, 0], [0, 1]]
    np.testing.assert_allclose(grid, [-1.15, -0.32, 0.32, 1.15], atol=0.01)


def test_of_more_latents_it_is_where_they_differ_most():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(200, 4)) * [0.1, 3, 0.1, 5] + 1
    middle, directions, _ = pictures.plane(means, size=4)
    np.testing.assert_allclose(middle, means.mean(0))
    assert np.abs(directions[0, 3]) > 0.99
    assert np.abs(directions[1, 1]) > 0.99
