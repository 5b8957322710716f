"""Every name of both signature indexes is found under flax, and is Batiste's own."""

import dataclasses
import importlib
import inspect
import sys
from pathlib import Path

import jax
import pytest

from batiste.flax import alias, names, released

NNX = "part of NNX, which is not part of this system"
INSIDE = (
    "a part of how flax.linen works inside, which no documentation names, and which "
    "Batiste does otherwise"
)

# What is in an index and not in Batiste, and why; members after a second dot.
MISSING = {
    "flax.core.axes_scan": {"build_shaped_array": INSIDE},
    "flax.core.lift": {
        "CountsHolder": INSIDE,
        "TransformContext": INSIDE,
        "set_from_dict": INSIDE,
    },
    "flax.core.spmd": dict.fromkeys(
        "apply_rules composite_rules from_sharding_rules get_mesh get_pspec "
        "map_sharding shard_value".split(),
        "for the sharding of NNX's variables, which are not part of this system",
    ),
    "flax.core.tracers": {
        "trace_level": "takes a main trace of JAX, and JAX has none since 0.4.36"
    },
    "flax.configurations": dict.fromkeys(
        "Config.flax_always_shard_variable Config.flax_array_ref "
        "Config.flax_hijax_variable Config.flax_max_repr_depth "
        "Config.flax_pytree_module Config.flax_use_flaxlib Config.nnx_graph_mode "
        "Config.nnx_graph_updates".split(),
        NNX,
    ),
    "flax.linen.linear": {"Embed.embedding": "instances have it, from `setup` on"},
    "flax.linen.module": dict.fromkeys(
        "Descriptor ThreadLocalStack create_descriptor_wrapper module_field".split(),
        INSIDE,
    ),
    "flax.linen.transforms": dict.fromkeys(
        "InstancePlaceholder VariablePlaceholder clean_clone fork_rngs "
        "get_module_scopes set_module_scopes".split(),
        INSIDE,
    ),
}


def _indexes():
    text = (Path(__file__).parent / "data" / "flax_names.txt").read_text("utf-8")
    found = {}
    for line in text.splitlines():
        if line.startswith("["):
            module = found[line[1:-1]] = {}
        elif line and not line.startswith("#"):
            name, _, members = line.partition(": ")
            module[name] = members.split()
    return found


INDEXES = _indexes()


def _has(owner, member):
    """Whether a class has a method, a property or a field of this name."""
    return hasattr(owner, member) or any(
        member in inspect.get_annotations(base) for base in inspect.getmro(owner)
    )


@pytest.mark.parametrize("module", INDEXES)
def test_every_name_of_the_indexes(flax, module, monkeypatch):
    monkeypatch.setattr(released, "_folders", list)
    found = importlib.import_module(module)
    assert found.__name__ == module
    assert sys.modules[module] is found
    missing = set()
    for name, members in INDEXES[module].items():
        if not hasattr(found, name):
            missing.add(name)
            continue
        value = getattr(found, name)
        origin = getattr(value, "__module__", None)
        assert not (isinstance(origin, str) and origin.startswith("flax"))
        missing |= {f"{name}.{m}" for m in members if not _has(value, m)}
    assert missing == set(MISSING.get(module, ()))


@pytest.mark.parametrize("module", names.MODULES)
def test_modules_of_the_table(flax, module):
    found = importlib.import_module(module)
    for source in names.MODULES[module]:
        importlib.import_module(source)
    # What a module says that it has, it has; and no part of it is a module of Batiste.
    for name in dir(found):
        value = getattr(found, name)
        if inspect.ismodule(value):
            assert not value.__name__.startswith("batiste.core")
    for owner, name in names.RENAMED:
        # Without TensorFlow there is no gfile, and it is None, as in flax.
        if owner == module and (owner, name) != ("flax.io", "gfile"):
            assert getattr(found, name) is not None


def test_private_names_are_in_the_drop_in_alone(flax):
    """What programs reach for inside of flax is not inside of the other packages."""
    found = []
    for sources in names.MODULES.values():
        own = [s for s in sources if s.startswith("batiste.flax.inner.")]
        others = [s for s in sources if not s.startswith("batiste.flax.")]
        for private in {n for s in own for n in importlib.import_module(s).__all__}:
            if private.startswith("_"):
                found.append(private)
                for other in others:
                    assert not hasattr(importlib.import_module(other), private), other
    assert len(found) > 20


def test_objects_are_identical_under_both_names(flax):
    import flax.core.frozen_dict
    import flax.linen.linear
    import flax.linen.recurrent
    import flax.training.train_state

    import batiste.linen
    import batiste.training.train_state
    from batiste import core, serialization, traverse

    assert flax.linen.Dense is flax.linen.linear.Dense is batiste.linen.Dense
    assert flax.linen.linear.Conv is batiste.linen.Conv
    assert flax.linen.Module is flax.linen.module.Module is batiste.linen.Module
    assert flax.linen.recurrent.LSTMCell is batiste.linen.LSTMCell
    assert flax.core.frozen_dict.FrozenDict is flax.core.FrozenDict is core.FrozenDict
    assert flax.struct.dataclass is core.struct.dataclass
    assert flax.errors.FlaxError is core.errors.FlaxError
    assert flax.traverse_util.flatten_dict is traverse.flatten_dict
    assert flax.serialization.to_bytes is serialization.to_bytes
    assert flax.training.train_state.TrainState is (
        batiste.training.train_state.TrainState
    )
    assert flax.config is core.config.config
    assert flax.linen.partitioning.axis_rules is batiste.linen.logical_axis_rules
    assert batiste.linen.__name__ == batiste.linen.__spec__.name == "batiste.linen"


def test_star_imports(flax):
    namespace = {}
    exec("from flax.linen import *\nfrom flax.core.meta import *", namespace)
    assert namespace["Dense"] is flax.linen.Dense
    assert {"compact", "BatchNorm", "Partitioned", "unbox"} <= set(namespace)
    assert "attention_masks" not in namespace


def test_keyword_only_fields(flax):
    from flax.linen import kw_only_dataclasses

    assert kw_only_dataclasses.field(kw_only=True).kw_only
    assert kw_only_dataclasses.dataclass is dataclasses.dataclass


def test_flag_holders(flax):
    from flax import configurations

    for name in dir(configurations):
        holder = getattr(configurations, name)
        if isinstance(holder, configurations.FlagHolder):
            assert holder.value is getattr(flax.config, holder.name)
    assert configurations.flax_return_frozendict.value is False


def test_names_that_programs_reach_for(flax):
    import flax.linen.transforms

    assert flax.core.Array == flax.typing.Array
    assert flax.core.nn.initializers.ones_init is flax.linen.initializers.ones_init
    assert flax.core.nn.initializers.zeros_init()(None, (1,)).tolist() == [0]
    assert flax.linen.transforms.Target.__name__ == "Target"
    assert flax.training.checkpoints.ORBAX_CKPT_FILENAME == "checkpoint"
    assert flax.traverse_util._EmptyNode is type(flax.traverse_util.empty_node)


def test_absence():
    assert names.absence("flax.nnx.Linear") == names.absence("flax.nnx")
    assert names.absence("flax.nnxyz") is None
    assert "Dense" in alias.known_names("flax.linen")
    assert names.children("flax.training")[0] == "checkpoints"


@pytest.mark.parametrize("relaxed", [True, False])
def test_relaxed_naming(flax, relaxed):
    nn = flax.linen

    class Twice(nn.Module):
        @nn.compact
        def __call__(self):
            self.param("a", nn.initializers.ones, ())
            return self.variable("state", "a", lambda: 0).value

    assert flax.config.flax_relaxed_naming
    assert flax.configurations.flax_relaxed_naming.value
    with flax.configurations.temp_flip_flag("relaxed_naming", relaxed):
        if relaxed:
            Twice().init(jax.random.key(0))
        else:
            with pytest.raises(flax.errors.NameInUseError, match="'?\"?a"):
                Twice().init(jax.random.key(0))


NAMES = """
import flax, jax
from flax import linen as nn
from flax.errors import NameInUseError

THINGS = {
    "param": lambda m: m.param("a", nn.initializers.ones, ()),
    "state": lambda m: m.variable("state", "a", lambda: 0),
    "other": lambda m: m.variable("other", "a", lambda: 0),
    "child": lambda m: nn.Dense(1, name="a")(jax.numpy.ones((1, 1))),
}

class Two(nn.Module):
    first: str
    second: str

    @nn.compact
    def __call__(self):
        THINGS[self.first](self)
        THINGS[self.second](self)

print(flax.config.flax_relaxed_naming)
for first in THINGS:
    for second in THINGS:
        try:
            Two(first, second).init(jax.random.PRNGKey(0))
        except NameInUseError:
            print(first, second)
"""


@pytest.mark.parametrize("generation", ["0.6", "0.12"])
@pytest.mark.parametrize("value", ["", "0", "1"])
def test_relaxed_naming_from_the_environment(run, generation, value):
    env = {"FLAX_RELAXED_NAMING": value} if value else {}
    options = ("--generation", generation, "-c", NAMES)
    on, *refused = run("-m", "batiste.flax", *options, env=env).splitlines()
    things = ["param", "state", "other", "child"]
    clashes = [
        f"{a} {b}"
        for a in things
        for b in things
        if value == "0" or a == b or "child" in (a, b)
    ]
    assert (on, refused) == (str(value != "0"), clashes)
