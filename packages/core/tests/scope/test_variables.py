"""Tests of batiste.core.scope.variables."""

import pytest

from batiste.core import Variable, apply, bind, errors, meta, struct


class Box(struct.PyTreeNode, meta.AxisMetadata):
    value: object
    note: str = struct.field(pytree_node=False)

    def unbox(self):
        return self.value

    def replace_boxed(self, val):
        return self.replace(value=val)

    def add_axis(self, index, params):
        return self

    def remove_axis(self, index, params):
        return self


def test_reading_and_assigning():
    def fn(scope):
        variable = scope.push("a").variable("state", "n", lambda x, y: x - y, 5, y=2)
        assert isinstance(variable, Variable)
        assert variable.is_mutable()
        variable.value += 1
        return variable.value, repr(variable)

    (value, text), new = apply(fn, mutable=True)({})
    assert value == 4
    assert new == {"state": {"a": {"n": 4}}}
    assert text == "Variable(state:/a/n)"


def test_boxes_are_hidden_and_kept():
    def fn(scope):
        variable = scope.variable("state", "n", lambda: Box(1, "kept"))
        assert variable.value == 1
        variable.value = 2
        raw = scope.rewound().variable("state", "n", unbox=False)
        assert raw.value == Box(2, "kept")
        raw.value = 3

    _, new = apply(fn, mutable=True)({})
    assert new["state"]["n"] == 3


def test_an_immutable_variable():
    variable = bind({"state": {"n": 1}}).variable("state", "n")
    assert variable.value == 1
    assert not variable.is_mutable()
    with pytest.raises(errors.ModifyScopeVariableError, match='"n" of scope "/"'):
        variable.value = 2
    assert variable.value == 1


def test_a_variable_without_value():
    variable = Variable(bind({}).push("a"), "state", "n", unbox=True)
    with pytest.raises(errors.ScopeVariableNotFoundError, match=r'"n".*"/a"'):
        print(variable.value)
