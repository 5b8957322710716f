"""An interrupt at any moment: afterwards everything works, and nothing is left.

    python tests/campaigns/interrupts.py [--share 0.2] [--seed 0] [--out FOLDER]

Each scenario is run with an exception at one moment: before some line of Batiste, or
when one of its functions begins or ends. Then the state of the program is looked at,
and the scenario is run again, whole. A finding says which scenario and which moment;
`--only NAME --at N` runs it alone.
"""

import argparse
import dis
import faulthandler
import importlib
import inspect
import os
import random
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from shared.reporting import Report, add_options, command

import batiste.linen as nn
from batiste import serialization, spmd
from batiste.core import apply as core_apply
from batiste.core import init as core_init
from batiste.core import lift
from batiste.core.config import config
from batiste.linen.module.context import context
from batiste.training import checkpoints

# Functions hide the modules of their name.
lift_jit = importlib.import_module("batiste.core.lift.jit")
linen_jit = importlib.import_module("batiste.linen.transforms.jit")

OURS = f"{os.sep}batiste{os.sep}"
KEY = jax.random.key(0)
X = np.ones((2, 3), np.float32)
PATIENCE = 120  # seconds; whoever waits longer waits for a lock that is never given up


class Interrupt(BaseException):
    """What comes from outside, as KeyboardInterrupt does."""


def is_out_of_reach(frame: FrameType, event: str) -> bool:
    """Python interrupts no generator that hands on a value, and no edge of a `with`."""
    code, at = frame.f_code, frame.f_lasti
    if event == "return":
        return bool(code.co_flags & inspect.CO_GENERATOR)
    # What stands for `try` right after `with` has begun belongs to neither.
    if dis.opname[code.co_code[at]] == "NOP" and at >= 4:
        return dis.opname[code.co_code[at - 4]] == "BEFORE_WITH"
    # Three times None are the arguments of `__exit__`.
    next_three = code.co_code[at : at + 6]
    return dis.opname[next_three[0]] == "LOAD_CONST" and (
        next_three[:2] == next_three[2:4] == next_three[4:6]
    )


class Tracer:
    """Counts the moments of a run; raises at one of them.

    Args:
      at: the number of the moment, from 1; 0 for none.
    """

    def __init__(self, at: int = 0):
        self.at, self.seen, self.where = at, 0, ""

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if OURS not in frame.f_code.co_filename:
            return None
        self.moment(frame, event, arg)
        return self.moment

    def moment(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "exception" or is_out_of_reach(frame, event):
            return self.moment
        self.seen += 1
        if self.seen == self.at:
            code = frame.f_code
            self.where = f"{event} {code.co_filename}:{frame.f_lineno} {code.co_name}"
            raise Interrupt(self.where)
        return self.moment

    def run(self, function: Callable[[], Any]) -> Any:
        sys.settrace(self)
        try:
            return function()
        finally:
            sys.settrace(None)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(3, name="first")(x)
        x = nn.BatchNorm(use_running_average=False)(x)
        self.sow("intermediates", "seen", x)
        return nn.Dropout(0.5, deterministic=False)(x)


class Net(nn.Module):
    def setup(self):
        self.blocks = [Block() for _ in range(2)]
        self.top = nn.Dense(2)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.top(x)

    @nn.nowrap
    def helper(self):
        return self.top


def lifted(transform: Callable[[Any], Any]) -> nn.Module:
    class Lifted(nn.Module):
        @nn.compact
        def __call__(self, x):
            return transform(nn.Dense)(3)(x)

    return Lifted()


class Step(nn.Module):
    @nn.compact
    def __call__(self, carry, x):
        y = nn.Dense(3)(carry) + x
        return y, y


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        scan = nn.scan(
            Step, variable_broadcast="params", split_rngs={"params": False}, length=2
        )
        return scan()(x, np.zeros((2, *x.shape), np.float32))[1]


class Control(nn.Module):
    @nn.compact
    def __call__(self, x):
        dense = nn.Dense(3)
        dense(x)
        x = nn.cond(True, lambda m, x: m(x), lambda m, x: x, dense, x)
        nn.while_loop(
            lambda m, c: c[0] < 2,
            lambda m, c: (c[0] + 1, m(c[1])),
            dense,
            (0, np.ones((2, 3))),
        )
        return nn.vjp(lambda m, x: m(x), dense, x)[0]


def double(next_fun, args, kwargs, info):
    return next_fun(*args, **kwargs)


def digest(tree: Any) -> Any:
    """What is compared of a result: structure, dtypes and bytes."""
    leaves, structure = jax.tree.flatten(tree)
    return str(structure), [
        (str(np.asarray(x).dtype), np.asarray(x).tobytes()) for x in leaves
    ]


def of_modules() -> dict[str, Callable[[], Any]]:
    """Scenarios of modules and scopes."""
    rngs = {"params": KEY, "dropout": KEY}
    mutable = ["batch_stats", "intermediates"]
    found: dict[str, Callable[[], Any]] = {}

    def add(name: str, model: nn.Module, **keywords: Any) -> None:
        variables = model.init(rngs, X)
        bound = model.bind(variables, rngs=rngs, mutable=True)
        found[f"{name} init"] = lambda: model.init(rngs, X)
        found[f"{name} apply"] = lambda: model.apply(
            variables, X, rngs=rngs, mutable=mutable, **keywords
        )
        found[f"{name} grad"] = lambda: jax.grad(
            lambda p: model.apply(
                {**variables, "params": p}, X, rngs=rngs, mutable=mutable
            )[0].sum()
        )(variables["params"])
        found[f"{name} bound"] = lambda: bound(X).shape

    add("net", Net(), capture_intermediates=True)
    for name in ("jit", "remat"):
        add(name, lifted(getattr(nn, name)))
    add(
        "vmap",
        lifted(
            lambda m: nn.vmap(
                m, variable_axes={"params": 0}, split_rngs={"params": True}
            )
        ),
    )
    add("scan", Scanned())
    add("control", Control())
    add(
        "rnn",
        nn.Sequential([nn.RNN(nn.GRUCell(3)), nn.MultiHeadDotProductAttention(1)]),
    )
    net, variables = Net(), Net().init(rngs, X)
    lazy = lifted(nn.jit)
    found["eval_shape"] = lambda: jax.tree.map(
        lambda s: np.zeros(s.shape), jax.eval_shape(lambda: net.init(rngs, X))
    )
    found["lazy_init"] = lambda: net.lazy_init(rngs, jax.ShapeDtypeStruct((2, 3), "f4"))
    found["jaxpr"] = lambda: len(str(jax.make_jaxpr(lambda x: lazy.init(KEY, x))(X)))
    found["tabulate"] = lambda: len(net.tabulate(rngs, X))

    def hooks() -> Any:
        with (
            nn.intercept_methods(double),
            nn.override_named_call(False),
            spmd.logical_axis_rules((("batch", "data"),)),
            config.temp_flip_flag("return_frozendict", False),
        ):
            return net.apply(variables, X, rngs=rngs, mutable=mutable)

    found["hooks"] = hooks

    def scoped(scope, x):
        w = scope.param("w", nn.initializers.ones, (3,))
        scope.variable("state", "n", jnp.zeros, ()).value += 1
        return scope.child(
            lambda s: s.param("b", nn.initializers.zeros, (3,)) + x * w, "c"
        )()

    found["core init"] = lambda: core_init(scoped)(KEY, X)
    state = core_init(scoped)(KEY, X)[1]
    found["core apply"] = lambda: core_apply(scoped, mutable=["state"])(state, X)
    counted = lift.remat(scoped)
    found["core lifted"] = lambda: core_init(lambda s, x: counted(s, x))(KEY, X)
    return found


def of_files(folder: Path) -> dict[str, Callable[[], Any]]:
    """Scenarios of bytes, files and checkpoints."""
    tree = {"w": np.arange(5000.0), "b": [np.ones(3, "f4"), (1, None)], "n": 7}
    data = serialization.to_bytes(tree, max_chunk_size=9000)
    single = folder / "single"
    serialization.serialize(tree, single)
    saved = folder / "saved"
    checkpoints.save_checkpoint(saved, tree, 1)
    manager = checkpoints.AsyncManager()

    def restore(**keywords: Any) -> Any:
        found = serialization.restore(single, tree, **keywords)
        return jax.tree.map(np.array, found)

    def save(name: str, **keywords: Any) -> Any:
        place = folder / name
        checkpoints.save_checkpoint(place, tree, 3, overwrite=True, **keywords)
        found = checkpoints.restore_checkpoint(place, None)
        return found, np.array(checkpoints.available_steps(place))

    return {
        "to_bytes": lambda: np.frombuffer(
            serialization.to_bytes(tree, max_chunk_size=9000), "u1"
        ),
        "from_bytes": lambda: serialization.from_bytes(tree, data),
        "serialize": lambda: serialization.serialize(tree, single),
        "restore": restore,
        "restore copy": lambda: restore(copy=True),
        "restore verify": lambda: restore(verify=True),
        "save": lambda: save("msgpack"),
        "save orbax": lambda: save("orbax", orbax_checkpointer=_orbax()),
        "save manager": lambda: save("manager", async_manager=manager),
        "restore checkpoint": lambda: checkpoints.restore_checkpoint(saved, tree),
    }


def _orbax() -> Any:
    import orbax.checkpoint as ocp

    return ocp.PyTreeCheckpointer()


def left(folder: Path) -> dict[str, Any]:
    """All state that a call could leave behind; what it is where there is none."""
    names = [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if "tmp" in path.name or "new" in path.name
    ]
    flags = {name: getattr(config, name) for name in sorted(config._globals)}
    return {
        "modules": list(context.modules),
        "capture": context.capture,
        "interceptors": list(context.interceptors),
        "recorders": list(context.recorders),
        "named_call": context.named_call,
        "hooked": context.hooked,
        "jit calls": list(lift_jit._calls.stack),
        "jit bodies": vars(linen_jit._bodies).copy(),
        "axis rules": spmd.get_logical_axis_rules(),
        "flags": flags,
        "flags that are flipped": {n: k for n, k in config._flips.items() if k},
        "files": names,
        "threads": sorted(
            t.name for t in threading.enumerate() if "batiste" not in t.name
        )[:1],
    }


def descriptors() -> int:
    """How many files are open."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


class Campaign:
    """Runs scenarios, each at a share of its moments."""

    def __init__(self, options: argparse.Namespace, folder: Path):
        self.report = Report("interrupts", options)
        self.options, self.folder = options, folder
        self.random = random.Random(options.seed)
        self.rows: list[tuple[Any, ...]] = []

    def run(self, name: str, scenario: Callable[[], Any]) -> None:
        scenario()
        expected, clean = digest(scenario()), left(self.folder)
        whole = Tracer()
        whole.run(scenario)
        moments = range(1, whole.seen + 1)
        count = max(1, min(len(moments), round(len(moments) * self.options.share)))
        chosen = sorted(self.random.sample(moments, count))
        if self.options.at:
            chosen = [self.options.at]
        before, found, reached = descriptors(), 0, 0
        for at in chosen:
            problem, interrupted = self.once(name, scenario, at, expected, clean)
            reached += interrupted
            found += problem
            self.report.count("interrupts", interrupted)
            if problem:
                self.reset(clean)
        more = descriptors() - before
        if more > 0 and more >= len(chosen) // 50 + 2:
            self.report.found(
                f"{name}: {more} files stay open", command("--only", name)
            )
        self.rows.append((name, whole.seen, reached, found))

    def once(
        self,
        name: str,
        scenario: Callable[[], Any],
        at: int,
        expected: Any,
        clean: dict[str, Any],
    ) -> tuple[bool, bool]:
        """Interrupts once; whether something is wrong then, and whether it was one."""
        tracer, swallowed = Tracer(at), True
        again = command("--only", repr(name), "--at", at)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        try:
            try:
                tracer.run(scenario)
            except Interrupt:
                swallowed = False
            except BaseException:
                # It came as the cause of another error.
                swallowed = False
            if not tracer.where:
                return False, False
            state = left(self.folder)
            state.pop("files"), state.pop("threads")
            wrong = {k: v for k, v in state.items() if v != clean[k]}
            if wrong:
                self.report.found(
                    f"{name}: {', '.join(wrong)} left",
                    f"{tracer.where}\n{wrong}\n{again}",
                )
                return True, True
            try:
                if digest(scenario()) != expected:
                    self.report.found(
                        f"{name}: another result afterwards", f"{tracer.where}\n{again}"
                    )
                    return True, True
            except Exception:
                self.report.crashed(
                    f"{name}: fails afterwards", f"{tracer.where}\n{again}"
                )
                return True, True
            state = left(self.folder)
            wrong = {k: v for k, v in state.items() if v != clean[k]}
            if wrong:
                self.report.found(
                    f"{name}: {', '.join(wrong)} left after the next run",
                    f"{tracer.where}\n{wrong}\n{again}",
                )
                return True, True
            if swallowed:
                self.report.count("swallowed")
            return False, True
        finally:
            faulthandler.cancel_dump_traceback_later()

    def reset(self, clean: dict[str, Any]) -> None:
        """Takes away what a finding has left, so that the next one is its own."""
        context.__init__()
        lift_jit._calls.stack.clear()
        vars(linen_jit._bodies).clear()
        linen_jit._bodies.__init__()
        spmd.set_logical_axis_rules(())
        config.__dict__["_local"].set({})
        for name, value in clean["flags"].items():
            config._flips[name].clear()
            config.__dict__[name] = value


def main() -> int:
    """Runs all scenarios, or one, and prints what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument(
        "--share", type=float, default=0.2, help="of the moments that are tried"
    )
    parser.add_argument("--only", metavar="NAME", help="one scenario, or all that fit")
    parser.add_argument("--at", type=int, default=0, help="one moment")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="interrupts-"))
    try:
        scenarios = of_modules() | of_files(folder)
        campaign = Campaign(options, folder)
        for name, scenario in scenarios.items():
            if options.only and options.only not in name:
                continue
            campaign.run(name, scenario)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return campaign.report.end(
        ("scenario", "moments", "interrupted", "findings"), campaign.rows
    )


if __name__ == "__main__":
    sys.exit(main())
