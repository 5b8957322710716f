"""The table of a conversion."""

from batiste.training.torch_weights.conversions import Piece
from batiste.training.torch_weights.report import Pair, TorchReport, pair_of


def test_the_table_has_every_pair_and_what_has_none():
    report = TorchReport(
        [
            Pair({"fc.weight": (2, 3)}, {"params/fc/kernel": (3, 2)}, "transpose"),
            Pair(
                {"rnn.bias_ih_l0": (4,), "rnn.bias_hh_l0": (4,)},
                {"params/rnn/hi/bias": (1,), "params/rnn/ho/bias": (1,)},
                "sum",
            ),
            Pair({}, {"params/a/bias": (1,), "params/b/bias": (2,)}, "zeros"),
        ],
        {"bn.num_batches_tracked": "counts"},
        {"params/head/kernel": (2, 2)},
        {"old.weight": (7,)},
        0.25,
    )
    assert str(report).splitlines() == [
        "PyTorch                   Linen                                   how",
        "fc.weight (2, 3)          params/fc/kernel (3, 2)                 transpose",
        "rnn.bias_{ih,hh}_l0 (4,)  params/rnn/{hi,ho}/bias (1,)            sum",
        "(none)                    params/a/bias (1,), params/b/bias (2,)  zeros",
        "bn.num_batches_tracked    left out                                counts",
        "old.weight (7,)           left over",
        "missing                   params/head/kernel (2, 2)",
        "largest difference of outputs: 2.5e-01",
    ]


def test_a_pair_has_the_shapes_of_both_sides():
    class Tensor:
        shape = (2, 3)

    piece = Piece(("w",), (("params", "k"),), "transpose", list, list)
    pair = pair_of(
        piece, {"w": Tensor}, {("params", "k"): (3, 2)}, ", float16 to float32"
    )
    assert pair == Pair(
        {"w": (2, 3)}, {"params/k": (3, 2)}, "transpose, float16 to float32"
    )
