"""The names of `batiste.linen`, some of which are imported when first used."""

import ast
import importlib
import inspect
import pickle
import subprocess
import sys

import pytest

import batiste.linen as nn


def names_for_type_checkers() -> dict[str, str]:
    """The names imported under `if TYPE_CHECKING:`, with their homes."""
    tree = ast.parse(inspect.getsource(nn))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )
    return {
        alias.name: "." * item.level + (item.module or "")
        for item in block.body
        if isinstance(item, ast.ImportFrom)
        for alias in item.names
    }


def test_type_checkers_see_what_is_imported_later():
    assert names_for_type_checkers() == nn._HOME


@pytest.mark.parametrize("name", sorted(nn._HOME))
def test_every_later_name_is_the_object_of_its_home(name):
    home = nn._HOME[name]
    value = getattr(nn, name)
    if home == ".":
        assert value is importlib.import_module(f"batiste.linen.{name}")
    else:
        assert value is getattr(importlib.import_module(home, nn.__name__), name)
    assert name in dir(nn)


def test_a_missing_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Densee'"):
        nn.Densee  # noqa: B018
    with pytest.raises(ImportError, match="Densee"):
        exec("from batiste.linen import Densee")


def test_classes_are_pickled_by_their_homes():
    assert pickle.loads(pickle.dumps(nn.LayerNorm)) is nn.LayerNorm


def test_importing_leaves_the_rest_for_later():
    code = (
        "import sys, batiste.linen as nn; "
        "print([m for m in ('attention', 'transforms', 'recurrent', 'partitioning', "
        "'normalization', 'summary') if f'batiste.linen.{m}' in sys.modules]); "
        "print([m for m in ('rich', 'batiste.spmd', 'batiste.core.lift', "
        "'jax.extend.core') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["[]", "[]"]


def test_all_that_the_specification_has_is_there():
    layers = """
        BatchApply BatchNorm Bidirectional Conv ConvLSTMCell ConvLocal ConvTranspose
        Dense DenseGeneral Dropout Einsum Embed GRUCell GroupNorm InstanceNorm LSTMCell
        LayerNorm MGUCell MultiHeadAttention MultiHeadDotProductAttention
        OptimizedLSTMCell PReLU RMSNorm RNN SelfAttention Sequential SimpleCell
        SpectralNorm WeightNorm
    """.split()
    for name in layers:
        assert inspect.isclass(getattr(nn, name)), name
    functions = """
        apply avg_pool checkpoint combine_masks compact cond custom_vjp
        disable_named_call dot_product_attention enable_named_call get_partition_spec
        init init_with_output intercept_methods jit jvp logical_axis_rules
        logical_to_mesh_sharding make_attention_mask make_causal_mask map_variables
        max_pool merge_param min_pool nowrap override_named_call pool remat remat_scan
        scan share_scope switch tabulate vjp vmap while_loop with_logical_constraint
        with_partitioning
    """.split()
    for name in functions:
        assert callable(getattr(nn, name)), name
