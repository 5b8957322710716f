"""The stack of running modules as quantizers read it, and copies of Module's fields."""

import base64
import copy
import gc
import pickle
import zlib

import jax
import jax.numpy as jnp
import pytest
from jax import lax


def test_a_quantized_product_knows_which_layer_calls_it(flax):
    nn = flax.linen
    seen = []

    def dot_general(*args, **kwargs):
        module = nn.module._context.module_stack[-1]
        seen.append((module.path, type(module).__name__, module.features))
        return lax.dot_general(*args, **kwargs)

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(3, dot_general=dot_general)(x)
            return nn.Dense(2, dot_general=dot_general, name="out")(x)

    model, x = Block(), jnp.ones((1, 4))
    variables = model.init(jax.random.key(0), x)
    expected = [(("Dense_0",), "Dense", 3), (("out",), "Dense", 2)]
    assert seen == expected
    seen.clear()
    jax.jit(model.apply)(variables, x)
    assert seen == expected


def test_a_pushed_none_hides_the_running_module(flax):
    nn, stack = flax.linen, flax.linen.module._context.module_stack

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            stack.append(None)
            try:
                free = nn.Dense(2)
            finally:
                assert stack.pop() is None
            assert free.parent is None
            assert stack[-1] is self
            return nn.Dense(2)(x)

    variables = Outer().init(jax.random.key(0), jnp.ones((1, 3)))
    assert list(variables["params"]) == ["Dense_0"]


def test_the_stack_is_a_list_whose_bottom_is_none(flax):
    stack = flax.linen.module._context.module_stack
    assert len(stack) == 1
    assert stack[:] == [None]
    assert stack[-1] is None
    assert repr(stack) == "[None]"
    layer = flax.linen.Dense(2)
    stack.append(layer)
    stack.insert(1, None)
    assert stack[:] == [None, None, layer]
    stack[1] = layer
    stack.insert(-1, None)
    assert stack[:] == [None, layer, None, layer]
    del stack[-1], stack[-1], stack[-1]
    assert stack[:] == [None]


@pytest.mark.parametrize("index", [0, -1, slice(None)])
def test_the_bottom_of_the_stack_stays(flax, index):
    stack = flax.linen.module._context.module_stack
    with pytest.raises(IndexError, match="one place above its bottom, which"):
        del stack[index]
    with pytest.raises(IndexError, match="it has 1 places"):
        stack[index] = None
    with pytest.raises(IndexError):
        stack.pop()


def test_the_sentinel_is_the_default_of_parent(flax):
    from flax.linen.module import _get_unspecified_parent, _Sentinel
    from flax.linen.module import _unspecified_parent as sentinel

    field = flax.linen.Dense.__dataclass_fields__["parent"]
    assert field.default is sentinel is _get_unspecified_parent()
    assert isinstance(sentinel, _Sentinel)
    for copied in (
        copy.copy(sentinel),
        copy.deepcopy(sentinel),
        pickle.loads(pickle.dumps(sentinel)),
    ):
        assert copied is sentinel
    assert flax.linen.Dense(2, parent=sentinel).parent is None


def test_a_parent_descriptor_keeps_no_module_alive(flax):
    class Helper:
        owner = flax.linen.module.ParentDescriptor()

    helper, layer = Helper(), flax.linen.Dense(2)
    assert Helper.owner is None
    with pytest.raises(AttributeError, match="'Helper' object has no parent yet"):
        _ = helper.owner
    helper.owner = layer
    assert helper.owner is layer
    del layer
    gc.collect()
    assert helper.owner is None
    helper.owner = scope = flax.core.Scope({})
    assert helper.owner is scope


# Written by flax 0.12.8: pickle.dumps(module, 4), compressed.
PICKLES = {
    "dense": (
        "c-mc1%Sr=55Hv577>$Ve1P^-2L4QGn5cFU^V3_Q5+|k*YWgd_Sf*u5gzS;h-"
        "JsTq89+s|}?&_|3?SA*$d(DR@D<juaqb=CxFFj%J8f*aiqKh|rp>rIpK*r=D(7c0#6hJJs"
        "4D^9L6*o1|9gb@0WhJ%{hmS02Q&n#W`zzyQyt-sH9M&ER9kjD~<O#e5Bed0#@U$7R(~Pt<"
        "`Wbv6>^jR!^JHGQZ7s*x<5$=4N40mAi?G}L*G)qODkt1GQZ9-Iu;8WP-"
        "N%2RC``!b2(|z=3J)uWT`McrYpn@8LM!47va(iu)&32aGquYH+x$Lng(dEb5M}&#M&(p8%"
        "uU2?Q_XB-"
        "<I*ge*58azv=xP`YFR{4K`fo3PaH5AAf}q@!=@00GzJuvXLzv4#7<_u_fGeOW4(=On_<>C"
        "mMOaIMij{h=kvvbqSQvQT?T2HmeU`y=F_1"
    ),
    "nested": (
        "c-"
        "oCpO>Yx15UrXtO`3ivP@v)lNQi=nph$o?aH>Ehum^fZmUq|b7`*o450oGw!2zj}%n2iL<R"
        "@_9FYs?TbA<73QWkMx54$tZp4s>2&D-"
        "{;&#k5E@n^?^PKJU@CWo0SQZA`g+62FL$X+@oEvF)U47=~bn{dT<1f4QGeTMN)qf#neP{C"
        "hQ%ashi_c&fl5d2fR%1Xlpo<6+)_505+-"
        "+p}XE4iJPEF`{PQcVj|r@r?b`$|`o)8JRfLQ#8b5BvD8GmNC1nsDrUF*X?$EG7{oTyh)y>"
        "8e-"
        "`W5y$;NY}66N151UttzT7!x`UJl2!PoX1U8EeL^P)J^F=@Umr7Son}p}M<?76NsGvQP$gX"
        "EY(kE-"
        "a;1r2BsZqUl2=r7Dziv(XRLIFaIJ@&{4T2L6C41}8qqP<x981Ugy$%`nlsN)M&|*B2l-"
        ";Cei_e4%O>?5Vl1^dyFtU0LgfzU<G0C^DmsvsX-UOlb@jxU0ha`wFKK2;!7Qje%zPI?!>l"
        "VYUataza}z8Na4oI|0*f}IrT5_}4v^Ot)I*Owwy3izN+FrkM(N17n*kR&YQ@B*F8zyed{d"
        "2X?K5c_47+m|42p$Q$FPyWCJcP9)GXsBZXB-A3)IHM+}QK54d?tusa2sYTP#-"
        "dUln8m?4$SnTv>9&B-6O-iQj6ZBopW;Tu9(z0+--"
        "&#RzssEtA4kxLy;48#A~$gFUzncV=)GFWjruv40EO|5Z5r4K`AD4g"
    ),
}


@pytest.mark.parametrize("kind", PICKLES)
def test_modules_that_flax_pickled_load(flax, kind):
    module = pickle.loads(zlib.decompress(base64.b85decode(PICKLES[kind])))
    x = jnp.ones((2, 4))
    if kind == "dense":
        assert type(module) is flax.linen.Dense
        assert (module.features, module.name, module.parent) == (3, "x", None)
        assert (
            module.init_with_output(jax.random.key(0), x)[0].tolist() == [[4] * 3] * 2
        )
    else:
        assert type(module) is flax.linen.Sequential
        assert [type(m).__name__ for m in module.layers] == ["LayerNorm", "Dense"]
        params = module.init(jax.random.key(0), x)["params"]
        assert sorted(params) == ["layers_0", "layers_1"]
    assert not {"_id", "_parent_ref"} & set(vars(module))
    assert repr(pickle.loads(pickle.dumps(module))) == repr(module)
    assert repr(copy.deepcopy(module)) == repr(module)


def test_interceptors_of_arguments_one_by_one(flax):
    from flax.linen.module import run_interceptors

    seen = []

    def interceptor(next_fun, args, kwargs, context):
        seen.append((args, kwargs, context.method_name))
        return next_fun(*args, **kwargs) + 1

    def add(x, *, y):
        return x + y

    with flax.linen.intercept_methods(interceptor):
        assert run_interceptors(add, flax.linen.Dense(2), 3, y=4) == 8
    assert seen == [((3,), {"y": 4}, "add")]
