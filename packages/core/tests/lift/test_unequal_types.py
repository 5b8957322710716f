"""Tests of batiste.core.lift.unequal_types."""

import jax
import jax.numpy as jnp
import pytest

from batiste.core import apply, init, lift
from batiste.core.config import config
from batiste.core.errors import InvalidArgumentError

X = jnp.zeros(3)
TREE = {"h": X, "n": jnp.int32(0)}

# What a body makes of its carry, and what is then said.
CHANGES = {
    "shape": (
        TREE,
        lambda c: {**c, "h": jnp.ones(4)},
        r"gets carry\['h'\] as float32\[3\] and returns it as float32\[4\]\. Begin "
        r"with a carry of the shape",
    ),
    "dtype": (
        TREE,
        lambda c: {**c, "h": c["h"].astype("bfloat16")},
        r"gets carry\['h'\] as float32\[3\] and returns it as bfloat16\[3\]\. Begin "
        r'with bfloat16, or convert .* \.astype\("float32"\)',
    ),
    "dtype of an integer": (
        TREE,
        lambda c: {**c, "n": c["n"] + 0.5},
        r"gets carry\['n'\] as int32\[\] and returns it as float32\[\]",
    ),
    "both leaves": (
        TREE,
        lambda c: {"h": c["h"][1:], "n": c["n"] * 1.0},
        r"carry\['h'\] as float32\[3\] and returns it as float32\[2\] \(and 1 more\)",
    ),
    "missing": (
        TREE,
        lambda c: {"n": c["n"]},
        r"gets carry\['h'\] \(float32\[3\]\) and returns nothing in its place\. Return "
        "all that the first carry has",
    ),
    "more": (
        TREE,
        lambda c: {**c, "new": c["h"]},
        r"gets nothing in its place and returns carry\['new'\] \(float32\[3\]\)",
    ),
    "none": (X, lambda c: None, r"gets carry \(float32\[3\]\) and returns nothing"),
    "tuple": (
        X,
        lambda c: (c, c, c, c),
        r"returns carry\[0\] \(float32\[3\]\), carry\[1\] \(float32\[3\]\), carry\[2\] "
        r"\(float32\[3\]\) and 1 more",
    ),
    "list": (
        (X,),
        list,
        r"gets the structure .*\(\(\*,\)\) and returns the .*\(\[\*\]",
    ),
}


def scan(change, scope, first):
    return lift.scan(lambda s, c: (change(c), None), length=2)(scope, first)


def scan_over(change, scope, first):
    loop = lift.scan(lambda s, c, x: (change(c), x), reverse=True, in_axes=1)
    return loop(scope, first, jnp.ones((2, 3)))


def scan_with_keys(change, scope, first):
    def body(scope, carry):
        jax.random.normal(scope.make_rng("noise"))
        return change(carry), None

    return lift.scan(body, split_rngs={True: True}, length=2)(scope, first)


def remat_scan(change, scope, first):
    return lift.remat_scan(lambda s, c: change(c), (2, 2))(scope, first)


def while_loop(change, scope, first):
    return lift.while_loop(
        lambda s, c: jnp.sum(jax.tree.leaves(c)[0]) < 1,
        lambda s, c: change(c),
        scope,
        first,
    )


LOOPS = [scan, scan_over, scan_with_keys, remat_scan, while_loop]
RUNS = {
    "init": lambda model: init(model)({"params": jax.random.key(0)}),
    "apply": lambda model: apply(model)({}, rngs={"noise": jax.random.key(0)}),
    "jit": lambda model: jax.jit(lambda key: apply(model)({}, rngs={"noise": key}))(
        jax.random.key(0)
    ),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
@pytest.mark.parametrize("kind", CHANGES)
def test_a_carry_of_another_type(kind, loop, run):
    first, change, words = CHANGES[kind]
    name = {"remat_scan": "remat_scan", "while_loop": "while_loop"}
    path = r"remat\(scan\(net\)\)" if loop is remat_scan else "net"
    message = (
        rf"The body of the {name.get(loop.__name__, 'scan')} of scope "
        rf'"/outer/{path}" must return what it carries with the structure, shapes and '
        f"dtypes that it gets, but .*{words}"
    )
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        RUNS[run](lambda s: loop(change, s.push("outer").push("net"), first))
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value.__cause__, TypeError)
    assert not isinstance(caught.value.__cause__, InvalidArgumentError)


@pytest.mark.parametrize("loop", [scan, while_loop], ids=lambda loop: loop.__name__)
def test_a_carry_that_is_no_array(loop):
    message = r"carry as float32\[3\] and returns it as 'a' \(of type str\)\. Carry arr"
    with pytest.raises(InvalidArgumentError, match=message):
        apply(lambda s: loop(lambda c: "a", s, X))({})


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
@pytest.mark.parametrize("kind", [TypeError, ValueError])
def test_an_error_of_the_body_is_raised_as_it_is(kind, loop):
    error = kind("of the user")

    def change(carry):
        raise error

    with pytest.raises(kind) as caught:
        apply(lambda s: loop(change, s, X))({}, rngs={"noise": jax.random.key(0)})
    assert caught.value is error
    assert error.__cause__ is None


def test_the_innermost_of_nested_loops_is_named():
    def outer(scope, carry):
        return scan(lambda c: c[1:], scope.push("inner"), carry)

    model = lift.scan(outer, length=2)
    with pytest.raises(
        InvalidArgumentError, match=r'scan of scope "/scan.*inner"'
    ) as e:
        apply(lambda s: model(s.push("outer"), X))({})
    assert type(e.value.__cause__) is TypeError


def test_numbers_that_jax_converts_are_no_difference():
    first = (0, jnp.zeros(3))
    with pytest.raises(
        InvalidArgumentError, match=r"carry\[1\] as .*\[3\] and .*\[2\]"
    ):
        apply(lambda s: scan(lambda c: (c[0] + 0.5, c[1][1:]), s, first))({})
    y = apply(lambda s: scan(lambda c: (c[0] + 0.5, c[1]), s, first))({})
    assert y[0][0] == 1.0


@pytest.mark.parametrize("transform", ["scan", "while_loop"])
@pytest.mark.parametrize(
    ("new", "words"),
    [
        (
            jnp.zeros(2, "bfloat16"),
            r'gets the variable "state/x" of scope "/net" as fl',
        ),
        (jnp.zeros(3), r'changes the shape of the variable "state/x" from \(2,\) to'),
    ],
)
def test_a_carried_variable_of_another_type(transform, new, words):
    def model(scope):
        def write(scope, carry):
            scope.put_variable("state", "x", new)
            return carry

        if transform == "scan":
            loop = lift.scan(
                lambda s, c: (write(s, c), None), variable_carry="state", length=2
            )
            return loop(scope, 0)
        return lift.while_loop(lambda s, c: c < 3, write, scope, 0, "state")

    variables = {"state": {"net": {"x": jnp.zeros(2)}}}
    message = rf'The body of the {transform} of scope "/net".* {words}'
    with pytest.raises(InvalidArgumentError, match=message):
        apply(lambda s: model(s.push("net")), mutable=True)(variables)


def test_a_carry_that_changes_in_the_step_that_makes_variables():
    def body(scope, carry):
        w = scope.variable("state", "w", lambda: jnp.ones(carry.shape))
        return jnp.concatenate([carry * w.value, carry]), None

    model = lift.scan(body, variable_carry="state", length=3)
    message = r'scan of scope "/net" .* carry as float32\[3\] and .* float32\[6\]'
    with pytest.raises(InvalidArgumentError, match=message):
        apply(lambda s: model(s.push("net"), X), mutable=True)({})


@pytest.mark.parametrize(
    ("cond_fn", "text"),
    [
        (lambda s, c: c, r"float32\[3\]"),
        (lambda s, c: c < 1, r"bool\[3\]"),
        (lambda s, c: c.sum(), r"float32\[\]"),
        (lambda s, c: None, "None"),
        (lambda s, c: (c.sum() < 1,), r"\(ShapeDtypeStruct.*\)"),
    ],
)
def test_a_condition_that_is_no_boolean(cond_fn, text):
    message = f'condition of the while_loop of scope "/a" is {text}.*a boolean scalar'
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        apply(lambda s: lift.while_loop(cond_fn, lambda s, c: c, s.push("a"), X))({})
    assert isinstance(caught.value.__cause__, TypeError)


def test_an_error_of_the_condition_is_raised_as_it_is():
    error = TypeError("of the user")

    def cond_fn(scope, carry):
        raise error

    with pytest.raises(TypeError) as caught:
        apply(lambda s: lift.while_loop(cond_fn, lambda s, c: c, s, X))({})
    assert caught.value is error


# What one of the branches returns, where the others return {"y": float32[3]}.
RESULTS = {
    "shape": (
        lambda y: {"y": y[1:]},
        r"result\['y'\] is float32\[3\] after {first} and float32\[2\] after {other}",
    ),
    "dtype": (
        lambda y: {"y": y.astype("float16")},
        r"result\['y'\] is float32\[3\] after {first} and float16\[3\] after {other}",
    ),
    "missing": (
        lambda y: {},
        r"{first} returns result\['y'\] \(float32\[3\]\) and {other} returns nothing",
    ),
    "more": (
        lambda y: {"y": y, "z": y},
        r"{first} returns nothing in its place and {other} returns result\['z'\]",
    ),
    "list": (
        lambda y: [y],
        r"{first} returns result\['y'\] .* and {other} returns result\[0\]",
    ),
}


def branch_off(transform, kind, scope):
    change = RESULTS[kind][0]
    alike, other = (lambda s: {"y": X}), (lambda s: change(X))
    if transform == "cond":
        return lift.cond(True, alike, other, scope)
    return lift.switch(2, [alike, alike, other], scope)


@pytest.mark.parametrize("counts_on", [False, True])
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("transform", ["cond", "switch"])
@pytest.mark.parametrize("kind", RESULTS)
def test_branches_that_return_other_types(kind, transform, run, counts_on):
    names = {
        "cond": ('"true_fun"', '"false_fun"'),
        "switch": ('"branch 0"', '"branch 2"'),
    }
    first, other = names[transform]
    words = RESULTS[kind][1].format(first=first, other=other)
    message = (
        f'The branches of the {transform} of scope "/outer/net" must .*, but {words}'
    )
    with (
        config.temp_flip_flag("branches_count_on", counts_on),
        pytest.raises(InvalidArgumentError, match=message) as caught,
    ):
        RUNS[run](lambda s: branch_off(transform, kind, s.push("outer").push("net")))
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize("transform", ["cond", "switch"])
def test_branches_that_leave_variables_of_other_types(transform):
    def write(value):
        return lambda scope: scope.put_variable("state", "x", value)

    def model(scope):
        branches = [write(jnp.zeros(2)), write(jnp.zeros(3))]
        if transform == "cond":
            return lift.cond(True, *branches, scope)
        return lift.switch(0, branches, scope)

    message = (
        rf'{transform} of scope "/net" .* the variable "state/x" of scope "/net" is '
        r"float32\[2\] after .* and float32\[3\] after"
    )
    with pytest.raises(InvalidArgumentError, match=message):
        apply(lambda s: model(s.push("net")), mutable=True)({})


def test_branches_of_which_jax_converts_numbers():
    one, two = (lambda s: (1, X)), (lambda s: (1.5, X[1:]))
    with pytest.raises(InvalidArgumentError, match=r"result\[1\] is .*\[3\].*\[2\]"):
        apply(lambda s: lift.cond(True, one, two, s))({})


@pytest.mark.parametrize("raising", [0, 1, 2])
def test_an_error_of_a_branch_is_raised_as_it_is(raising):
    error = TypeError("of the user")

    def fail(scope):
        raise error

    branches = [lambda s: 1.0, lambda s: (1, 2), lambda s: 3.0]
    branches[raising] = fail
    with pytest.raises(TypeError) as caught:
        apply(lambda s: lift.switch(1, branches, s))({})
    assert caught.value is error
    assert error.__cause__ is None


@pytest.mark.parametrize("pred", [jnp.ones(2), "yes", None, 1j, [True]])
def test_what_cannot_decide(pred):
    one, two = (lambda s: 1), (lambda s: 2)
    wanted = r'cond of scope "/a": pred is .*, but must be a boolean scalar\.'
    with pytest.raises(InvalidArgumentError, match=wanted):
        apply(lambda s: lift.cond(pred, one, two, s.push("a")))({})
    wanted = r'switch of scope "/a": index is .*, but must be an integer scalar\.'
    with pytest.raises(InvalidArgumentError, match=wanted):
        apply(lambda s: lift.switch(pred, [one, two], s.push("a")))({})
