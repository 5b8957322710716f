"""Every error of batiste.linen: its parameters, its text, pickling and copying."""

import copy
import inspect
import pickle

import numpy as np
import pytest

from batiste.core.errors import FlaxError
from batiste.linen import errors

# For each error: the positional arguments of the specification, and words that the
# message must hold: what, where, and the fix.
CASES = {
    "NameInUseError": (
        ("param", "bar", "Foo"),
        ['param "bar"', "module Foo", "name is in use", "same instance"],
    ),
    "AssignSubModuleError": (("Conv",), ["Submodule Conv", "@nn.compact"]),
    "SetAttributeInModuleSetupError": ((), ["`setup`", "constructor"]),
    "SetAttributeFrozenModuleError": (
        ("Foo", "features", 3),
        ["features=3 on Foo", "frozen", "module.clone"],
    ),
    "MultipleMethodsCompactError": ((), ["@nn.compact", "`setup`"]),
    "ReservedModuleAttributeError": (
        ({"parent": int},),
        ["`parent` and `name`", "Rename it"],
    ),
    "ApplyModuleInvalidMethodError": ((3,), ["method 3", "must be a method"]),
    "CallCompactUnboundModuleError": ((), ["unbound module", "module.apply"]),
    "CallSetupUnboundModuleError": ((), ["`setup`", "nn.apply"]),
    "CallUnbindOnUnboundModuleError": ((), ["`unbind`", "Bind it first"]),
    "CallShareScopeOnUnboundModuleError": ((), ["`share_scope`", "in `setup`"]),
    "InvalidInstanceModuleError": ((), ["an instance", "Construct it first"]),
    "IncorrectPostInitOverrideError": (
        (),
        ["`__post_init__`", "`super().__post_init__()`"],
    ),
    "GraphvizMissingError": (
        ("package",),
        ["package graphviz", "the extra graph of batiste-linen"],
    ),
    "InvalidConstructorError": (
        ("does not set 'parent'",),
        ["does not set 'parent'", "Declare the arguments as fields"],
    ),
    "DescriptorAttributeError": ((), ["property", "does not exist"]),
    "TransformedMethodReturnValueError": (
        ("encode",),
        ["encode", "Module or Variable", "return arrays"],
    ),
    "ModuleDepthError": (
        (330, "/Block_0", 1000),
        ["limit (1000)", "330 nested", '"/Block_0"', "sys.setrecursionlimit(10000)"],
    ),
    "SurgeryError": (("is not there",), ["is not there"]),
    "UndefinedUntilBoundError": (
        ("scale",),
        ['no attribute "scale" while it is unbound', "bound to variables"],
    ),
    "TransformTargetError": ((3,), ["3 (of type int)", "nn.vmap(nn.Dense)"]),
}


def _classes():
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: cls for name, cls in found if cls.__module__ == errors.__name__}


def test_every_error_has_a_case():
    assert set(_classes()) == set(CASES)
    assert all(issubclass(cls, FlaxError) for cls in _classes().values())


@pytest.mark.parametrize("name", CASES)
def test_error(name):
    args, words = CASES[name]
    error = getattr(errors, name)(*args)
    for word in words:
        assert word in str(error)
    assert error.args == (str(error),)
    error.add_note("a note")
    for again in (
        pickle.loads(pickle.dumps(error)),
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert type(again) is type(error)
        assert (again.args, again.__dict__) == (error.args, error.__dict__)
        assert str(again) == str(error)
    with pytest.raises(FlaxError):
        raise error


def test_errors_tell_programs_what_they_tell_people():
    name = errors.NameInUseError("param", "bar", "Foo", scope_path=("x", "y"))
    assert (name.value, name.module_name, name.scope_path) == ("bar", "Foo", "/x/y")
    assert 'at "/x/y"' in str(name)


def test_optional_facts_are_in_the_text():
    def text(name, *args, **kwargs):
        return str(getattr(errors, name)(*args, **kwargs))

    assert "Submodule Conv of Foo" in text("AssignSubModuleError", "Conv", parent="Foo")
    assert 'The field "x" of Foo' in text(
        "SetAttributeInModuleSetupError", module_cls="Foo", attr_name="x"
    )
    assert 'method of Foo can be marked @nn.compact; "f", "g" are.' in text(
        "MultipleMethodsCompactError", module_cls="Foo", methods=["f", "g"]
    )
    for name in (
        "CallCompactUnboundModuleError",
        "CallSetupUnboundModuleError",
        "CallUnbindOnUnboundModuleError",
        "CallShareScopeOnUnboundModuleError",
        "InvalidInstanceModuleError",
        "IncorrectPostInitOverrideError",
        "DescriptorAttributeError",
    ):
        assert "Point" in text(name, module_cls="Point")

    class Named:
        pass

    assert "of Named" in text("ApplyModuleInvalidMethodError", 3, module_cls=Named)


def test_values_are_described_in_short():
    error = errors.SetAttributeFrozenModuleError("Foo", "w", np.zeros((1000, 1000)))
    assert "w=float64[1000,1000] on Foo" in str(error)

    class Rude:
        def __repr__(self):
            raise RuntimeError

    assert "Rude object" in str(errors.TransformTargetError(Rude()))


def test_errors_pickle_whatever_they_were_made_from():
    error = errors.SetAttributeFrozenModuleError("Foo", "f", lambda: 0)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
