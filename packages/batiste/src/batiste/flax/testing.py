"""Benchmarks of training programs, as test cases that report what they measure.

absl is imported with this module, and TensorBoard where summaries are read.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Callable
from typing import Any

from absl import flags, logging
from absl.testing import absltest

__all__ = ["Benchmark"]

_FLAG = "benchmark_output_dir"
if _FLAG not in flags.FLAGS:
    flags.DEFINE_string(_FLAG, None, "The folder for results of benchmarks.")


class Benchmark(absltest.TestCase):
    """A test case whose failed assertions end it only after it has reported.

    Each test reports its wall time, its metrics and what else is of interest with the
    methods `report_...`. When it ends, they are logged as JSON, and written to
    `<benchmark_output_dir>/<class>.<test>.json` if that flag of absl is set:

        {"name": ..., "succeeded": ..., "metrics": {...}, "extras": {...},
         "wall_time": ...}

    A failed assertion (any `self.assert...`) is noted, the test goes on, and the first
    one is raised at its end; `succeeded` is then false.

    >>> class Example(Benchmark):
    ...     def test_speed(self):
    ...         self.report_wall_time(1.5)
    ...         self.report_metric("accuracy", 0.9)
    ...         self.assertGreater(0.9, 0.8)
    >>> Example("test_speed").run().wasSuccessful()
    True
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._failures: list[AssertionError] = []
        self._results: dict[str, Any] = {}
        for name in dir(self):
            method = getattr(self, name) if name.startswith("assert") else None
            # Those that may open a `with` block raise by themselves at its end.
            if callable(method) and not _opens_block(name):
                setattr(self, name, self._deferred(method))

    def _deferred(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def noting(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except AssertionError as error:
                self._failures.append(error)
                return None

        return noting

    def setUp(self) -> None:
        """Forgets what was reported before."""
        super().setUp()
        self._failures.clear()
        self._results = {"metrics": {}, "extras": {}}

    def tearDown(self) -> None:
        """Reports, and raises the first assertion that failed."""
        super().tearDown()
        self._report()
        if self._failures:
            raise self._failures[0]

    def get_tmp_model_dir(self) -> str:
        """Returns the folder for this test's data, below the flag's or a new one."""
        folder = flags.FLAGS[_FLAG].value or tempfile.mkdtemp()
        path = os.path.join(folder, self._name())
        os.makedirs(path, exist_ok=True)
        return path

    def has_outstanding_fails(self) -> bool:
        """Returns whether an assertion of this test has failed so far."""
        return bool(self._failures)

    def read_summaries(self, path: str) -> dict[str, list[tuple[float, int, float]]]:
        """Reads the scalars that a summary writer has written to a folder.

        Returns:
          For each tag the time of writing, the step and the value, in their order.

        Raises:
          ImportError: TensorBoard is not installed.
        """
        from tensorboard.backend.event_processing import event_accumulator
        from tensorboard.util import tensor_util

        events = event_accumulator.EventAccumulator(
            path, size_guidance={"scalars": 0, "tensors": 0}
        )
        events.Reload()
        found = {
            tag: [(event.wall_time, event.step, event.value) for event in written]
            for tag, written in (
                (tag, events.Scalars(tag)) for tag in events.Tags()["scalars"]
            )
        }
        for tag in events.Tags()["tensors"]:
            for event in events.Tensors(tag):
                value = tensor_util.make_ndarray(event.tensor_proto)
                # The others are texts, images and histograms.
                if value.ndim == 0 and value.dtype.kind in "fiu":
                    row = event.wall_time, event.step, value.item()
                    found.setdefault(tag, []).append(row)
        return found

    def report_wall_time(self, wall_time: float) -> None:
        """Reports how long it took, in seconds."""
        self._results["wall_time"] = wall_time

    def report_metrics(self, metrics: dict[str, float]) -> None:
        """Reports several metrics."""
        self._results["metrics"].update(metrics)

    def report_metric(self, name: str, value: float) -> None:
        """Reports a metric."""
        self._results["metrics"][name] = value

    def report_extras(self, extras: dict[str, str]) -> None:
        """Reports several texts."""
        self._results["extras"].update(extras)

    def report_extra(self, name: str, value: str) -> None:
        """Reports a text."""
        self._results["extras"][name] = value

    def _name(self) -> str:
        return f"{type(self).__name__}.{self._testMethodName}"

    def _report(self) -> None:
        extras = dict(self._results["extras"])
        if self._failures:
            extras["failed_assertions"] = "\n".join(map(str, self._failures))
        wall_time = self._results.get("wall_time")
        text = json.dumps(
            {
                "name": self._name(),
                "succeeded": not self._failures,
                "metrics": self._results["metrics"],
                "extras": extras,
                **({} if wall_time is None else {"wall_time": wall_time}),
            }
        )
        logging.info("%s", text)
        folder = flags.FLAGS[_FLAG].value
        if folder:
            path = os.path.join(folder, f"{self._name()}.json")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)


def _opens_block(name: str) -> bool:
    return name.startswith(
        ("assertRaises", "assertWarns", "assertLogs", "assertNoLogs")
    )
