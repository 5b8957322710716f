"""Modules: layers and models as dataclasses whose methods use variables."""

from .context import (
    InterceptorContext,
    disable_named_call,
    enable_named_call,
    intercept_methods,
    override_named_call,
)
from .methods import compact, compact_name_scope, nowrap, wrap_method_once
from .module import Module
from .running import apply, init, init_with_output
from .state import SetupState
from .submodules import share_scope
from .variables import merge_param

__all__ = [
    "InterceptorContext",
    "Module",
    "SetupState",
    "apply",
    "compact",
    "compact_name_scope",
    "disable_named_call",
    "enable_named_call",
    "init",
    "init_with_output",
    "intercept_methods",
    "merge_param",
    "nowrap",
    "override_named_call",
    "share_scope",
    "wrap_method_once",
]
