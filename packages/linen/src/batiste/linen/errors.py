"""Errors of modules: naming, attributes, binding, and what may be called when."""

from collections.abc import Iterable
from typing import Any

from batiste.core.errors import FlaxError, path_text, quoted, short_repr

__all__ = [
    "ApplyModuleInvalidMethodError",
    "AssignSubModuleError",
    "CallCompactUnboundModuleError",
    "CallSetupUnboundModuleError",
    "CallShareScopeOnUnboundModuleError",
    "CallUnbindOnUnboundModuleError",
    "DescriptorAttributeError",
    "GraphvizMissingError",
    "IncorrectPostInitOverrideError",
    "InvalidConstructorError",
    "InvalidInstanceModuleError",
    "ModuleDepthError",
    "MultipleMethodsCompactError",
    "NameInUseError",
    "ReservedModuleAttributeError",
    "SetAttributeFrozenModuleError",
    "SetAttributeInModuleSetupError",
    "SurgeryError",
    "TransformTargetError",
    "TransformedMethodReturnValueError",
    "UndefinedUntilBoundError",
]


def _of(module_cls: Any) -> str:
    """' of Foo' for a class or its name, and '' where it is not known."""
    return f" of {_named(module_cls)}" if module_cls is not None else ""


def _named(cls: Any) -> str:
    return str(getattr(cls, "__name__", cls))


class NameInUseError(FlaxError):
    """Two submodules, parameters or variables of one module have the same name.

    Args:
      key_type: what was to be made: `"submodule"`, `"param"` or `"variable"`.
      value: the name.
      module_name: the class of the module that has the name twice.
      scope_path: path of that module, where known.

    >>> print(NameInUseError('param', 'bar', 'Foo', scope_path='/Foo_0'))
    ... # doctest: +ELLIPSIS
    Cannot create param "bar" in module Foo at "/Foo_0": the name is in use. ...
    """

    def __init__(
        self,
        key_type: str,
        value: Any,
        module_name: str,
        *,
        scope_path: str | Iterable[Any] | None = None,
    ):
        self.key_type, self.value = key_type, str(value)
        self.module_name = str(module_name)
        self.scope_path = None if scope_path is None else path_text(scope_path)
        where = "" if self.scope_path is None else f' at "{self.scope_path}"'
        super().__init__(
            f'Cannot create {key_type} "{value}" in module {module_name}{where}: the '
            "name is in use. Submodules, parameters and variables of a module share "
            "one set of names. Choose another name, leave out `name=` to get a unique "
            "one, or share a submodule by calling the same instance twice."
        )


class AssignSubModuleError(FlaxError):
    """A submodule was made where none may be made.

    Args:
      cls: the submodule's class, or its name.
      parent: class or name of the module that it would belong to, where known.

    >>> print(AssignSubModuleError('Conv', parent='Foo'))
    ... # doctest: +ELLIPSIS
    Submodule Conv of Foo was made outside `setup` and outside a method marked ...
    """

    def __init__(self, cls: Any, *, parent: Any = None):
        self.cls = _named(cls)
        super().__init__(
            f"Submodule {self.cls}{_of(parent)} was made outside `setup` and outside "
            "a method marked @nn.compact. Make it in `setup` and keep it in an "
            "attribute, or mark the method with @nn.compact."
        )


class SetAttributeInModuleSetupError(FlaxError):
    """`setup` assigned to a field of the module.

    Args:
      module_cls: class of the module, or its name, where known.
      attr_name: the field, where known.

    >>> print(SetAttributeInModuleSetupError(module_cls='Foo', attr_name='features'))
    ... # doctest: +ELLIPSIS
    The field "features" of Foo was assigned in `setup`; fields are set ...
    """

    def __init__(self, *, module_cls: Any = None, attr_name: str | None = None):
        field = "A field" if attr_name is None else f'The field "{attr_name}"'
        super().__init__(
            f"{field}{_of(module_cls)} was assigned in `setup`; fields are set only "
            "when the module is constructed. Pass the value to the constructor, or "
            "assign to an attribute with another name."
        )


class SetAttributeFrozenModuleError(FlaxError):
    """An attribute of a module was assigned outside `setup`.

    Args:
      module_cls: class of the module, or its name.
      attr_name: the attribute.
      attr_val: the value.

    >>> print(SetAttributeFrozenModuleError('Foo', 'features', 3))
    ... # doctest: +ELLIPSIS
    Cannot set features=3 on Foo: a module is frozen outside `setup`. ...
    """

    def __init__(self, module_cls: Any, attr_name: str, attr_val: Any):
        self.module_cls, self.attr_name = _named(module_cls), attr_name
        super().__init__(
            f"Cannot set {attr_name}={short_repr(attr_val)} on {self.module_cls}: a "
            "module is frozen outside `setup`. Use a local variable, a "
            "`self.variable(...)` for state, or `module.clone(...)` for a copy with "
            "another configuration."
        )


class MultipleMethodsCompactError(FlaxError):
    """More than one method of a module class is marked `@nn.compact`.

    Args:
      module_cls: the class, or its name, where known.
      methods: names of the marked methods.

    >>> print(MultipleMethodsCompactError(module_cls='Foo', methods=['f', 'g']))
    ... # doctest: +ELLIPSIS
    Only one method of Foo can be marked @nn.compact; "f", "g" are. ...
    """

    def __init__(self, *, module_cls: Any = None, methods: Iterable[str] = ()):
        self.methods = list(methods)
        marked = f"; {quoted(self.methods)} are" if self.methods else ""
        cls = "a module class" if module_cls is None else _named(module_cls)
        super().__init__(
            f"Only one method of {cls} can be marked @nn.compact{marked}. Define the "
            "submodules and variables in `setup`, or make two modules with one "
            "compact method each."
        )


class ReservedModuleAttributeError(FlaxError):
    """A module class declares a field with a reserved name.

    Args:
      annotations: the annotations of the class.

    >>> print(ReservedModuleAttributeError({'parent': int}))
    ... # doctest: +ELLIPSIS
    The fields `parent` and `name` are reserved, and every module has them; the ...
    """

    def __init__(self, annotations: Any):
        super().__init__(
            "The fields `parent` and `name` are reserved, and every module has them; "
            f"the annotations {short_repr(annotations)} declare one again. Rename it."
        )


class ApplyModuleInvalidMethodError(FlaxError):
    """The `method` given to `apply`, `init` or the like is none.

    Args:
      method: what was given.
      module_cls: class of the module, or its name, where known.

    >>> print(ApplyModuleInvalidMethodError(3, module_cls='Foo'))
    ... # doctest: +ELLIPSIS
    Cannot call method 3 of Foo: `method` must be a method of the module, ...
    """

    def __init__(self, method: Any, *, module_cls: Any = None):
        super().__init__(
            f"Cannot call method {short_repr(method)}{_of(module_cls)}: `method` must "
            "be a method of the module, its name, or a function whose first argument "
            "is the module."
        )


class CallCompactUnboundModuleError(FlaxError):
    """A method that needs variables was called on a module that has none bound.

    Args:
      module_cls: class of the module, or its name, where known.

    >>> print(CallCompactUnboundModuleError(module_cls='Dense'))
    ... # doctest: +ELLIPSIS
    A method of Dense that needs variables was called on an unbound module. ...
    """

    def __init__(self, *, module_cls: Any = None):
        super().__init__(
            f"A method{_of(module_cls)} that needs variables was called on an unbound "
            "module. Call it through `module.init(key, x)` and "
            "`module.apply(variables, x)`, or bind it: `module.bind(variables)(x)`."
        )


class CallSetupUnboundModuleError(FlaxError):
    """`setup` was called by hand on an unbound module.

    Args:
      module_cls: class of the module, or its name, where known.

    >>> print(CallSetupUnboundModuleError(module_cls='Foo'))
    ... # doctest: +ELLIPSIS
    `setup` of Foo was called on an unbound module. ...
    """

    def __init__(self, *, module_cls: Any = None):
        super().__init__(
            f"`setup`{_of(module_cls)} was called on an unbound module. It runs by "
            "itself when the module is bound; to reach a submodule made there, use "
            "`nn.apply(lambda module: module.submodule.clone(), module)(variables)`."
        )


class CallUnbindOnUnboundModuleError(FlaxError):
    """`unbind` was called on a module that is not bound.

    Args:
      module_cls: class of the module, or its name, where known.

    >>> print(CallUnbindOnUnboundModuleError(module_cls='Foo'))
    ... # doctest: +ELLIPSIS
    `unbind` of Foo was called on a module that is not bound. ...
    """

    def __init__(self, *, module_cls: Any = None):
        super().__init__(
            f"`unbind`{_of(module_cls)} was called on a module that is not bound. "
            "Bind it first: `module = module.bind(variables)`."
        )


class CallShareScopeOnUnboundModuleError(FlaxError):
    """`share_scope` was called with a module that is not bound.

    Args:
      module_cls: class of the module, or its name, where known.

    >>> print(CallShareScopeOnUnboundModuleError(module_cls='Foo'))
    ... # doctest: +ELLIPSIS
    `share_scope` was called with an unbound module of Foo. ...
    """

    def __init__(self, *, module_cls: Any = None):
        super().__init__(
            f"`share_scope` was called with an unbound module{_of(module_cls)}. Call "
            "it in `setup` or in a compact method, where the modules are bound."
        )


class InvalidInstanceModuleError(FlaxError):
    """`init`, `apply` or `bind` was called on a class instead of an instance.

    Args:
      module_cls: the class, or its name, where known.

    >>> print(InvalidInstanceModuleError(module_cls='Foo'))
    ... # doctest: +ELLIPSIS
    `init`, `init_with_output`, `apply` and `bind` need an instance, and were ...
    """

    def __init__(self, *, module_cls: Any = None):
        name = "Module" if module_cls is None else _named(module_cls)
        super().__init__(
            "`init`, `init_with_output`, `apply` and `bind` need an instance, and "
            f"were called on the class {name} itself. Construct it first: "
            f"{name}(...).init(key, x)."
        )


class IncorrectPostInitOverrideError(FlaxError):
    """`__post_init__` was overridden without a call of the original.

    Args:
      module_cls: class of the module, or its name, where known.

    >>> print(IncorrectPostInitOverrideError(module_cls='Foo'))
    ... # doctest: +ELLIPSIS
    `__post_init__` of Foo does not call `super().__post_init__()`, ...
    """

    def __init__(self, *, module_cls: Any = None):
        super().__init__(
            f"`__post_init__`{_of(module_cls)} does not call "
            "`super().__post_init__()`, so the module was not set up. Call it, as the "
            "last line."
        )


class InvalidConstructorError(FlaxError, TypeError):
    """A module class has an `__init__` of its own that cannot make copies.

    Args:
      problem: what it does or does not do.
      module_cls: the class, or its name, where known.

    >>> print(InvalidConstructorError("does not set 'parent'", module_cls="Foo"))
    ... # doctest: +ELLIPSIS
    The `__init__` of Foo does not set 'parent'. Declare the arguments as fields ...
    """

    def __init__(self, problem: str, *, module_cls: Any = None):
        super().__init__(
            f"The `__init__`{_of(module_cls)} {problem}. Declare the arguments as "
            "fields instead (`features: int` in the class body), which gives the class "
            "a constructor, and compute what follows from them in `setup`."
        )


class DescriptorAttributeError(FlaxError):
    """A property of a module read an attribute that does not exist.

    Args:
      module_cls: class of the module, or its name, where known.
      attr_name: the property, where known.

    >>> print(DescriptorAttributeError(module_cls='Foo', attr_name='prop'))
    ... # doctest: +ELLIPSIS
    The property "prop" of Foo read an attribute that does not exist. ...
    """

    def __init__(self, *, module_cls: Any = None, attr_name: str | None = None):
        prop = "A property" if attr_name is None else f'The property "{attr_name}"'
        super().__init__(
            f"{prop}{_of(module_cls)} read an attribute that does not exist. The "
            "AttributeError above this one names it."
        )


class TransformedMethodReturnValueError(FlaxError):
    """A transformed method returned a module or a variable.

    Args:
      name: the method.

    >>> print(TransformedMethodReturnValueError('encode'))
    ... # doctest: +ELLIPSIS
    The transformed method encode returned a Module or Variable. ...
    """

    def __init__(self, name: str):
        self.name = name
        super().__init__(
            f"The transformed method {name} returned a Module or Variable. Those live "
            "only inside the transform: return arrays (for a variable, its `.value`)."
        )


class TransformTargetError(FlaxError):
    """A lifted transform was given something that it cannot transform.

    Args:
      target: what was given.

    >>> print(TransformTargetError(3))
    ... # doctest: +ELLIPSIS
    Cannot transform 3 (of type int): the target must be a Module class, or a ...
    """

    def __init__(self, target: Any):
        super().__init__(
            f"Cannot transform {short_repr(target)} (of type "
            f"{type(target).__name__}): the target must be a Module class, or a "
            "function whose first argument is a module. For an instance, transform "
            "the class, nn.vmap(nn.Dense)(features), or a function, "
            "nn.vmap(lambda module, x: module(x))(instance, x)."
        )


class ModuleDepthError(FlaxError, RecursionError):
    """Modules are nested deeper than Python's recursion limit allows.

    Args:
      depth: how many modules were running, one within the other.
      path: the path of the innermost of them.
      limit: the limit that was reached.

    >>> print(ModuleDepthError(330, "/Block_0/Block_0", 1000))
    Python's recursion limit (1000) was reached within 330 nested modules; the innermost
    is at "/Block_0/Block_0". Raise it before the call, as in
    sys.setrecursionlimit(10000); or run layers one after the other and not within each
    other. If no module is meant to be so deep, one of them calls itself.
    """

    def __init__(self, depth: int, path: str | Iterable[Any], limit: int):
        self.depth, self.scope_path, self.limit = depth, path_text(path), limit
        shown = self.scope_path
        if len(shown) > 120:
            shown = f"{shown[:60]}...{shown[-60:]}"
        super().__init__(
            f"Python's recursion limit ({limit}) was reached within {depth} nested "
            f'modules; the innermost is at "{shown}". Raise it before the call, as in '
            f"sys.setrecursionlimit({10 * limit}); or run layers one after the other "
            f"and not within each other. If no module is meant to be so deep, one of "
            f"them calls itself."
        )


class GraphvizMissingError(FlaxError, ImportError):
    """A graph cannot be made or drawn: something of Graphviz is not installed.

    Args:
      missing: `"package"` for the Python package `graphviz`, `"program"` for `dot`.

    >>> print(GraphvizMissingError("package"))
    nn.graph needs the package graphviz, which is not installed: pip install graphviz
    (the extra graph of batiste-linen). It needs Graphviz's program dot, too.
    """

    def __init__(self, missing: str):
        self.missing = missing
        if missing == "package":
            message = (
                "nn.graph needs the package graphviz, which is not installed: pip "
                "install graphviz (the extra graph of batiste-linen). It needs "
                "Graphviz's program dot, too."
            )
        else:
            message = (
                "To draw a graph takes Graphviz's program dot, which is not on the "
                "PATH. The package graphviz (the extra graph of batiste-linen) is "
                "there, but only calls it: install Graphviz itself, as in apt install "
                "graphviz or brew install graphviz. Without it the graph can be read "
                "in its attribute source."
            )
        super().__init__(message)


class UndefinedUntilBoundError(FlaxError, AttributeError):
    """An attribute of an unbound module is made of variables or PRNG keys by `setup`.

    Args:
      name: the attribute.
      module_cls: class of the module, or its name, where known.
      failed: whether `setup` as a whole could not be run without their values.

    >>> print(UndefinedUntilBoundError("scale", module_cls="Foo"))
    "Foo" object has no attribute "scale" while it is unbound: `setup` makes it of
    variables or of PRNG keys. Read it from inside 'init' or 'apply', or of a module
    that is bound to variables by Foo.bind.
    """

    def __init__(self, name: str, *, module_cls: Any = None, failed: bool = False):
        self.name, self.module_cls, self.failed = name, module_cls, failed
        cls = "Module" if module_cls is None else _named(module_cls)
        why = "`setup` makes it of variables or of PRNG keys"
        if failed:
            why = "`setup` cannot run with shapes in place of variables (see above)"
        super().__init__(
            f'"{cls}" object has no attribute "{name}" while it is unbound: {why}. '
            f"Read it from inside 'init' or 'apply', or of a module that is bound to "
            f"variables by {cls}.bind."
        )


class SurgeryError(FlaxError, ValueError):
    """A submodule cannot be taken out of a model, or exchanged.

    Args:
      message: why, and what can be done.
      path: the submodule's path.

    >>> print(SurgeryError("is not there", path="encoder/block_3"))
    The submodule "encoder/block_3" is not there
    """

    def __init__(self, message: str, *, path: str | Iterable[str] = ()):
        self.path = path if isinstance(path, str) else "/".join(path)
        super().__init__(f'The submodule "{self.path}" {message}')
