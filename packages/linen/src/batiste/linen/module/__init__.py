"""Modules: layers and models as dataclasses whose methods use variables."""

from .context import InterceptorContext as InterceptorContext
from .context import disable_named_call as disable_named_call
from .context import enable_named_call as enable_named_call
from .context import intercept_methods as intercept_methods
from .context import override_named_call as override_named_call
from .methods import compact as compact
from .methods import compact_name_scope as compact_name_scope
from .methods import nowrap as nowrap
from .methods import wrap_method_once as wrap_method_once
from .module import Module as Module
from .running import apply as apply
from .running import init as init
from .running import init_with_output as init_with_output
from .share_scope import share_scope as share_scope
from .state import SetupState as SetupState
from .variables import merge_param as merge_param
