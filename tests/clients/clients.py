"""The clients: which versions, which program, and which tests of their own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Client:
    """One library that is written for flax.

    Attributes:
      name: of the distribution whose version is reported, if none is given.
      requirements: what its environments hold, beside flax or Batiste.
      program: the file in programs/ that uses it.
      suites: its own tests, as files of the installed package.
      left_out: tests of those that fail by chance with any flax, by pytest's name.
      generations: of the drop-in's defaults, in each of which the program runs; the
        numbers must be the released flax's in all of them.
      distribution: whose version is reported for a program that needs no library.
      keep_flax: leaves the released flax in Batiste's environment, where nothing but
        its `flax.nnx` may be used; elsewhere it is taken out.
    """

    name: str
    requirements: tuple[str, ...]
    program: str
    suites: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    keep_flax: bool = False
    generations: tuple[str, ...] = ("0.12",)
    distribution: str = ""

    @property
    def module(self) -> str:
        """What its program, and its environments, are called."""
        return self.program.removesuffix("_program.py")


# Those that still call `jnp.clip` and `jax.device_put_replicated` as they were.
OLDER_JAX = ("jax==0.9.2", "flax==0.12.6")
NEWEST_JAX = ("jax==0.10.2", "flax==0.12.8")
PYTEST = "pytest==8.4.2"
# Of what was written for flax 0.6, or is written so that it runs with both.
BOTH = ("0.12", "0.6")

CLIENTS = (
    Client(
        "clu",
        (
            *OLDER_JAX,
            PYTEST,
            "clu==0.0.12",
            "absl-py==2.3.1",
            "chex==0.1.91",
            "tensorboard==2.20.0",
            "tensorflow-cpu==2.21.0",
            "tensorflow-datasets==4.9.9",
        ),
        "clu_program.py",
        (
            "clu/metrics_test.py",
            "clu/parameter_overview_test.py",
            "clu/checkpoint_test.py",
            "clu/preprocess_spec_test.py",
            "clu/periodic_actions_test.py",
            "clu/metric_writers/utils_test.py",
        ),
        # Its threads read, merge and write one variable without a lock.
        ("clu/metrics_test.py::MetricsTest::test_collection_mixed_async",),
    ),
    Client(
        "optax",
        (*NEWEST_JAX, PYTEST, "optax==0.2.8", "chex==0.1.91", "absl-py==2.3.1"),
        "optax_program.py",
        ("optax/transforms/_accumulation_test.py", "optax/_src/linear_algebra_test.py"),
        keep_flax=True,
    ),
    Client(
        "brax",
        (*OLDER_JAX, PYTEST, "brax==0.14.2", "absl-py==2.3.1"),
        "brax_program.py",
        (
            "brax/training/agents/ppo/checkpoint_test.py",
            "brax/training/agents/sac/checkpoint_test.py",
        ),
    ),
    Client(
        "dm-haiku",
        (*NEWEST_JAX, PYTEST, "dm-haiku==0.0.17", "optax==0.2.8"),
        "haiku_program.py",
        (
            "haiku/_src/flax/transform_flax_test.py",
            "haiku/_src/flax/flax_module_test.py",
            "haiku/_src/flax/utils_test.py",
        ),
        keep_flax=True,
    ),
    Client(
        "numpyro",
        (*NEWEST_JAX, "numpyro==0.22.0"),
        "numpyro_program.py",
        generations=BOTH,
    ),
    # It imports `flax.nnx`, which comes from the released flax.
    Client(
        "netket",
        (*NEWEST_JAX, "netket==3.23.0"),
        "netket_program.py",
        keep_flax=True,
    ),
    Client(
        "transformers",
        (*OLDER_JAX, "transformers==4.57.6"),
        "transformers_program.py",
    ),
    Client(
        "sbx-rl",
        (*NEWEST_JAX, "sbx-rl==0.28.0"),
        "sbx_program.py",
        generations=BOTH,
    ),
    Client(
        "diffusers",
        (*OLDER_JAX, "diffusers==0.35.2", "transformers==4.57.6"),
        "diffusers_program.py",
        generations=BOTH,
    ),
    Client(
        "jax-resnet",
        (*OLDER_JAX, "jax-resnet==0.0.4", "flaxmodels==0.1.3"),
        "resnet_program.py",
        generations=BOTH,
    ),
    # No library: programs as the users of quantizers and of T5X write them.
    Client("quantized-dense", NEWEST_JAX, "quantized_program.py", distribution="jax"),
    Client(
        "t5x-style",
        NEWEST_JAX,
        "t5x_program.py",
        generations=BOTH,
        distribution="jax",
    ),
)
