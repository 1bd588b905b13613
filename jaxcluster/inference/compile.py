"""Compiled functions that serve all data of the same shapes, and what compiling them cost."""

import hashlib
import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Var, jaxpr_as_fun
from jax.sharding import Mesh, PartitionSpec
from jax.tree_util import Partial

from jaxcluster.density.backend import on_cpu
from jaxcluster.inference.tracing import Recent, lifted, structure

_compiled = Recent()  # programs by the digest of their text
_traced = Recent()  # by what tracing depends on
# XLA takes half of AVX-512's width by default, which makes pairs half as slow again. An option and
# no more: processors with narrower vectors take theirs.
WIDE: dict[str, Any] = {"xla_cpu_prefer_vector_width": 512}
UNKNOWN = jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError
LARGE = 1 << 16  # numbers: isochrones, and not a sample
# what calls a program for this thread, where many runs go side by side (`together`)
LAUNCH: ContextVar[Callable | None] = ContextVar("launch", default=None)


def cpu_time() -> float:
    """CPU seconds of this process; of this thread where runs go side by side."""
    return time.process_time() if LAUNCH.get() is None else time.thread_time()


def _stack(arrays: list) -> Any:
    if jax.dtypes.issubdtype(arrays[0].dtype, jax.dtypes.prng_key):
        return jax.numpy.stack(arrays)
    return np.stack(arrays)  # one transfer, where jax would make one for each


def _fetched(array: Any) -> Any:
    """A small array in numpy, as launches stack it: from a device once, and not for each launch."""
    is_key = jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)
    return array if is_key or np.size(array) >= LARGE else np.asarray(array)


def _compile(lowered):
    Program.made += 1
    return lowered.compile(compiler_options=WIDE if on_cpu() else None)


class Program:
    """A function of constants and arguments, for one run or for several side by side.

    Args:
        evaluate: constants and arguments, both lists of arrays, to a list of arrays.
        lowered: the same for one run, not yet compiled.
    """

    made = 0  # large functions that this process has compiled, or read from disk, so far

    def __init__(self, evaluate: Callable, lowered):
        self._evaluate, self._lowered = evaluate, lowered
        self._many: dict[tuple, Any] = {}

    @cached_property
    def one(self):
        """For one run."""
        found = _compile(self._lowered)
        self._lowered = None  # megabytes of text
        return found

    def many(self, runs: list[tuple[list, list]]) -> list[list]:
        """Results of several runs, each with its constants and arguments, by one launch.

        Large arrays that are the same object for all are given once, others are stacked.
        """
        columns = [list(column) for column in zip(*(c + a for c, a in runs), strict=True)]
        axes = [
            None if np.size(first) >= LARGE and all(a is first for a in others) else 0
            for first, *others in columns
        ]
        stacked = [
            column[0] if axis is None else _stack(column)
            for column, axis in zip(columns, axes, strict=True)
        ]
        n = len(runs[0][0])
        if (key := (len(runs), *axes)) not in self._many:
            over = jax.vmap(self._evaluate, in_axes=(axes[:n], axes[n:]))
            lowered = jax.jit(over).lower(stacked[:n], stacked[n:])
            self._many[key] = _compile(lowered)
        found = jax.device_get(self._many[key](stacked[:n], stacked[n:]))
        return [[array[i] for array in found] for i in range(len(runs))]


class Traced(NamedTuple):
    """What is known of a function of arrays and arguments."""

    program: Program
    used: list[int]  # which of the arrays, in the order in which it asks for them
    closed: list  # arrays that it closes over
    shape: Any  # of its result

    @classmethod
    def of(cls, function: Callable, arrays: list, arguments: tuple) -> "Traced":
        """Trace it; its program is that of any function that lowers to the same text.

        The order of arrays is that of their use, since that of the leaves of numpyro's
        distributions changes from process to process.
        """
        closed, shape = jax.make_jaxpr(function, return_shape=True)(arrays, *arguments)
        jaxpr = closed.jaxpr
        place = {variable: i for i, variable in enumerate(jaxpr.invars[: len(arrays)])}
        asked = [v for equation in jaxpr.eqns for v in equation.invars] + list(jaxpr.outvars)
        used = list(dict.fromkeys(place[v] for v in asked if isinstance(v, Var) and v in place))

        def evaluate(constants, leaves):
            # those that nothing asks for can be anything
            given = [constants[0] if constants else None] * len(arrays)
            for at, constant in zip(used, constants, strict=False):
                given[at] = constant
            run = jax.core.eval_jaxpr  # pyright: ignore[reportAttributeAccessIssue]
            return run(jaxpr, constants[len(used) :], *given, *leaves)

        constants = [*(arrays[i] for i in used), *closed.consts]
        lowered = jax.jit(evaluate).lower(constants, jax.tree.leaves(arguments))
        # the text does not have arguments that nothing uses, which a call must fit all the same
        whole = f"{lowered.in_avals}{lowered.as_text()}"
        text = hashlib.sha256(whole.encode()).hexdigest()
        if (program := _compiled.get(text)) is None:
            program = _compiled[text] = Program(evaluate, lowered)
        return cls(program, used, closed.consts, shape)


class Stopwatch:
    """CPU seconds of a run (`cpu_time`), and those of them spent compiling.

    Those of a run that was killed, and that this one goes on with, are in both, and in `resumed`.
    """

    def __init__(self):
        self.start, self.compiling, self.resumed = cpu_time(), 0.0, 0.0

    def resume(self, spent: float, compiling: float) -> None:
        """Add what an earlier run has spent in all, and on compiling."""
        self.start -= spent
        self.compiling += compiling
        self.resumed += spent

    def compile(self, function: Callable, *arguments) -> Callable:
        """Compile a function for these arguments, on the compile account.

        Arrays that the function closes over (stars, isochrones) become arguments, so that one
        compilation serves all data of the same shapes: in this process, and on disk where JAX's
        compilation cache is on. Of one that is a pytree, arrays are leaves, and one tracing serves
        all others of the same structure (`tracing`).
        """
        begin = cpu_time()
        arrays, evaluate = lifted(function)
        known = structure(function, arguments)
        if known is None or (found := _traced.get(known)) is None:
            try:
                found = Traced.of(evaluate, arrays, arguments)
            except UNKNOWN:  # it asks for a number of an array of its own
                arrays, known = [], None
                found = Traced.of(lambda _, *arguments: function(*arguments), [], arguments)
            # what closes over a sample is kept with it, and is no other's
            if known is not None and sum(map(np.size, found.closed)) < LARGE:
                _traced[known] = found
        program, shape, launch = found.program, found.shape, LAUNCH.get()
        constants = [*(arrays[i] for i in found.used), *found.closed]
        if launch is None:
            constants = jax.device_put(constants, program.one.input_shardings[0][0])
        else:
            constants = [_fetched(constant) for constant in constants]
        self.compiling += cpu_time() - begin

        def call(*arguments):
            leaves = jax.tree.leaves(arguments)
            if launch is None:
                found = program.one(constants, leaves)
            else:
                found = launch(program, constants, leaves)
            return jax.tree.unflatten(jax.tree.structure(shape), found)

        return call

    def rows(self, run: Callable, like: np.ndarray) -> Callable:
        """Compile a function of one row of numbers for any number of them.

        Args:
            run: the function.
            like: as many rows as a launch takes at most.

        Returns:
            A function of rows [n, d], and of what to take of the results (all by default), that
            returns arrays with a leading axis of n.
        """
        most = len(like)
        launch = self.compile(Partial(_rows, run, most), like, np.int32(0))

        def at(rows: np.ndarray, take: Callable = lambda found: found):
            parts = []
            for some in np.split(rows, range(most, len(rows), most)):
                filled = np.concatenate([some, np.repeat(some[-1:], most - len(some), axis=0)])
                found = jax.device_get(take(launch(filled, np.int32(len(some)))))
                parts.append(jax.tree.map(itemgetter(slice(len(some))), found))
            return jax.tree.map(lambda *a: np.concatenate(a), *parts)

        return at

    def record(self) -> dict[str, float]:
        """Return both accounts; the second is not contained in the first."""
        total = cpu_time() - self.start
        return {"cpu_seconds": total - self.compiling, "compile_seconds": self.compiling}


def _rows(run: Callable, most: int, rows, n):
    return over_rows(run, most)(rows, n)


def over_rows(run: Callable, most: int) -> Callable:
    """Return `(rows, n) -> run(row)` of the first n of `most` rows; of others it means nothing.

    On CPUs one after the other, shared among devices, and so many as are asked for: a launch costs
    as much as two gradients of a mixture, and one of a fixed number would be filled up.
    """
    if not on_cpu():
        return lambda rows, n: jax.vmap(run)(rows)

    def one_by_one(rows, n):
        # what to fill needs its shape before the loop: traced here, and in the loop read from that
        closed, shape = jax.make_jaxpr(run, return_shape=True)(rows[0])
        begin = jax.tree.map(lambda one: jax.numpy.zeros((len(rows), *one.shape), one.dtype), shape)
        evaluate = jaxpr_as_fun(closed)

        def put(i, leaves):
            return [a.at[i].set(one) for a, one in zip(leaves, evaluate(rows[i]), strict=True)]

        leaves = jax.lax.fori_loop(0, n, put, jax.tree.leaves(begin))
        return jax.tree.unflatten(jax.tree.structure(shape), leaves)

    devices = math.gcd(most, len(jax.devices()))
    if devices == 1:
        return one_by_one
    split, same = PartitionSpec("rows"), PartitionSpec()
    shared = jax.shard_map(
        lambda rows, n: one_by_one(rows, (n - jax.lax.axis_index("rows") - 1) // devices + 1),
        mesh=Mesh(np.array(jax.devices()[:devices]), ("rows",)),
        in_specs=(split, same),
        out_specs=split,
        check_vma=False,
    )

    def dealt(a, parts):
        """Deal rows out like cards, so that all devices have as many; by the other number back."""
        return a.reshape(-1, parts, *a.shape[1:]).swapaxes(0, 1).reshape(a.shape)

    def run_shared(rows, n):
        found = shared(dealt(rows, devices), n)
        return jax.tree.map(lambda a: dealt(a, most // devices), found)

    return run_shared


def over_chains(run: Callable, n_chains: int) -> Callable:
    """Return `(chains, shared) -> run(chain, shared)` of each; chains are leading axes.

    On CPUs one after the other, shared among devices: under vmap all chains wait for the slowest,
    and half the likelihoods of slices or trajectories are thrown away.
    """
    if not on_cpu():
        return jax.vmap(run, in_axes=(0, None))

    def one_by_one(chains, shared):
        return jax.lax.map(lambda chain: run(chain, shared), chains)

    devices = math.gcd(n_chains, len(jax.devices()))
    if devices == 1:
        return one_by_one
    split, same = PartitionSpec("chains"), PartitionSpec()
    return jax.shard_map(
        one_by_one,
        mesh=Mesh(np.array(jax.devices()[:devices]), ("chains",)),
        in_specs=(split, same),
        out_specs=split,
        check_vma=False,
    )
