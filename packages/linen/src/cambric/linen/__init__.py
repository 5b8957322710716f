"""Neural network modules: layers, models, and transforms of them."""

from cambric.core import DenyList as DenyList
from cambric.core import FrozenDict as FrozenDict
from cambric.core import Variable as Variable
from cambric.core.meta import unbox as unbox

from .base import SetupState as SetupState
from .context import InterceptorContext as InterceptorContext
from .context import disable_named_call as disable_named_call
from .context import enable_named_call as enable_named_call
from .context import intercept_methods as intercept_methods
from .context import override_named_call as override_named_call
from .functional import apply as apply
from .functional import init as init
from .functional import init_with_output as init_with_output
from .method_call import compact as compact
from .method_call import compact_name_scope as compact_name_scope
from .method_call import nowrap as nowrap
from .module import Module as Module
from .module import merge_param as merge_param
