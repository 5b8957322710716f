"""Tests of batiste.linen.module.notebook."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import batiste.linen as nn
from batiste.linen.module.notebook import module_html

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


def text_of(shown: str | None) -> str:
    assert shown is not None
    return re.sub(
        "<[^>]*>", "", shown.replace("</div>", "\n").replace("</summary>", "\n")
    )


class Model(nn.Module):
    hidden: int = 4
    inner: Any = None
    layers: Any = ()

    def setup(self):
        self.first = nn.Dense(self.hidden)

    def __call__(self, x):
        return self.first(x)


def test_a_module_is_its_configuration():
    model = Model(inner=nn.Dropout(0.5), layers=[nn.Dense(2), nn.relu], name="m")
    text = text_of(model._repr_html_())
    assert text.startswith(
        "Model\nname: &#x27;m&#x27;\nhidden: 4\ninner: Dropout\nrate: 0.5\n"
    )
    assert "layers list\n0: Dense\nfeatures: 2\n" in text
    assert "1: relu\n" in text


def test_it_is_not_run(monkeypatch):
    def fail(self):
        raise AssertionError("setup has run")

    monkeypatch.setattr(Model, "setup", fail)
    variables = {"params": {"first": {"kernel": X}}}
    for model in (Model(), Model().bind(variables)):
        for name in ("_repr_markdown_", "_ipython_display_", "_repr_mimebundle_"):
            assert not hasattr(model, name)
        assert not hasattr(model, "_ipython_canary_method_should_not_exist_")
        assert "hidden: 4" in text_of(model._repr_html_())


def test_a_bound_module_shows_its_variables():
    model = Model()
    variables = model.init(KEY, X)
    bound = model.bind(variables)
    assert "kernel: float32[3,4] 12 (48 B)" in text_of(bound._repr_html_())
    bound.first  # noqa: B018 - which runs setup
    text = text_of(bound._repr_html_())
    assert "first: Dense\nfeatures: 4" in text
    assert "variables 16 (64 B)" in text
    assert "kernel" in text_of(bound.first._repr_html_())
    assert "kernel" not in text_of(model._repr_html_())


def test_within_a_call_and_after_it():
    kept = []

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            kept.append(self)
            inner = nn.Dense(2)
            y = inner(x)
            kept.append(text_of(self._repr_html_()))
            return y

    jax.jit(Outer().init)(KEY, X)
    assert "Dense_0: Dense\nfeatures: 2" in kept[1]
    assert "kernel: float32[3,2]" in kept[1]
    assert text_of(kept[0]._repr_html_()).startswith("Outer")


def test_names_and_reprs_are_text():
    class Evil:
        def __repr__(self):
            return "<script>"

    shown = Model(inner=Evil(), layers={"<img>": nn.Dense(2)})._repr_html_()
    assert "<script" not in shown
    assert "<img" not in shown
    assert "&lt;script&gt;" in shown


def test_it_never_raises():
    class Rude:
        def __repr__(self):
            raise RuntimeError

    assert "&lt;Rude&gt;" in Model(inner=Rude())._repr_html_()
    unfinished = object.__new__(Model)
    assert text_of(unfinished._repr_html_()).startswith("Model")
    loop: list = []
    model = Model(layers=loop)
    loop.append(model)
    assert "&lt;list&gt;" in model._repr_html_()
    vars(model)["inner"] = model
    assert "(see above)" in model._repr_html_()
    deep = nn.relu
    for _ in range(2000):
        deep = Model(inner=deep)
    assert deep._repr_html_() is None or "Model" in deep._repr_html_()


def test_methods_that_look_on_do_not_see_it():
    seen = []

    class Own(nn.Module):
        def _repr_html_(self):
            return "own"

        @nn.compact
        def __call__(self, x):
            assert self._repr_html_() == "own"
            assert nn.Dense(2, parent=None)._repr_html_()
            return nn.Dense(2)(x)

    def note(next_fun, args, kwargs, context):
        seen.append(context.method_name)
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(note):
        Own().init(KEY, X)
    assert "_repr_html_" not in seen
    assert "__call__" in seen
    variables = Own().init(KEY, X)
    _, state = Own().apply(variables, X, capture_intermediates=lambda m, name: True)
    assert "_repr_html_" not in str(state)


@pytest.mark.parametrize("name", ["rows", "html", "notebook", "graph", "repr_html"])
def test_names_are_still_the_users(name):
    made = type("M", (nn.Module,), {"__annotations__": {name: int}})
    assert f"{name}: 3" in made(**{name: 3})._repr_html_()


def test_the_field_is_the_users_even_so():
    made = type("M", (nn.Module,), {"__annotations__": {"_repr_html_": int}})
    module = made(_repr_html_=3)
    assert module._repr_html_ == 3
    assert "_repr_html_: 3" in module_html(module)
