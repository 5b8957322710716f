"""A benchmark as the examples of flax have them."""

# Assertions of the benchmark are what is tested.
# ruff: noqa: PT009, PT027

import json
import unittest

import pytest

pytest.importorskip("absl")

from absl import flags


@pytest.fixture
def Benchmark(flax, tmp_path):
    from flax.testing import Benchmark

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    flags.FLAGS.benchmark_output_dir = str(tmp_path)
    yield Benchmark
    flags.FLAGS.benchmark_output_dir = None


def _run(test):
    result = unittest.TestResult()
    test.run(result)
    return result


def test_a_good_run_reports(Benchmark, tmp_path):
    class Mnist(Benchmark):
        def test_accuracy(self):
            self.folder = self.get_tmp_model_dir()
            self.report_wall_time(3.5)
            self.report_metric("accuracy", 0.5)
            self.report_metrics({"loss": 1.0})
            self.report_extra("description", "x")
            self.report_extras({"k": "v"})
            self.assertBetween(0.5, 0.0, 1.0)
            with self.assertRaises(ZeroDivisionError):
                1 / 0  # noqa: B018
            self.assertFalse(self.has_outstanding_fails())

    test = Mnist("test_accuracy")
    assert _run(test).wasSuccessful()
    assert test.folder == str(tmp_path / "Mnist.test_accuracy")
    assert json.loads((tmp_path / "Mnist.test_accuracy.json").read_text()) == {
        "name": "Mnist.test_accuracy",
        "succeeded": True,
        "metrics": {"accuracy": 0.5, "loss": 1.0},
        "extras": {"description": "x", "k": "v"},
        "wall_time": 3.5,
    }


def test_failures_are_raised_after_the_report(Benchmark, tmp_path):
    class Slow(Benchmark):
        def test_it(self):
            self.assertEqual(1, 2)
            self.assertGreater(1, 5)
            self.went_on = self.has_outstanding_fails()

    test = Slow("test_it")
    result = _run(test)
    assert test.went_on
    assert len(result.failures) == 1
    assert "AssertionError: 1 != 2" in result.failures[0][1]
    report = json.loads((tmp_path / "Slow.test_it.json").read_text())
    assert not report["succeeded"]
    assert report["extras"] == {"failed_assertions": "1 != 2\n1 not greater than 5"}
    assert "wall_time" not in report


def test_each_test_begins_anew(Benchmark):
    class Twice(Benchmark):
        def test_it(self):
            self.report_metric("a", 1)
            self.fail("now")

    test = Twice("test_it")
    assert len(_run(test).failures) == len(_run(test).failures) == 1


def test_without_the_flag_there_is_a_folder_all_the_same(Benchmark):
    flags.FLAGS.benchmark_output_dir = None
    assert Benchmark("run").get_tmp_model_dir().endswith("Benchmark.run")


def test_summaries(Benchmark, flax, tmp_path):
    pytest.importorskip("tensorboard")
    from flax.metrics.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path))
    for step, loss in enumerate((1.0, 0.5)):
        writer.scalar("loss", loss, step)
    writer.text("note", "text", 1)
    writer.flush()
    found = Benchmark("run").read_summaries(str(tmp_path))
    assert list(found) == ["loss"]
    assert [row[1:] for row in found["loss"]] == [(0, 1.0), (1, 0.5)]
