"""Functions whose arrays are leaves: traced once for all that differ in these arrays only.

A function that closes over stars and isochrones is a new one for each candidate, and tracing it
takes seconds. One that is a pytree, such as a method of an equinox module or a `Partial` of a
function of a module, says itself which of its parts are arrays; two that are alike in all else are
traced alike.
"""

from collections.abc import Callable
from typing import Any

import jax

from jaxcluster.density.backend import on_cpu

KEPT = 32  # programs, some megabytes each


class Recent(dict):
    """A dict that forgets the oldest entry where it would have more than `KEPT`."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        if len(self) > KEPT:
            del self[next(iter(self))]

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What was made for a key, or is made now; it is not kept where the key is None."""
        if key is None:
            return make()
        if key not in self:
            self[key] = make()
        return self[key]


def structure(function: Any, arguments: Any) -> tuple | None:
    """What the tracing of a function that is a pytree depends on.

    Arrays of it, and all of the arguments, by shape and type, all else by type and value. None for
    what cannot be compared: a numpy array, or what has one.
    """
    leaves, form = jax.tree.flatten(function)
    each = tuple(
        jax.typeof(leaf) if isinstance(leaf, jax.Array) else (type(leaf), leaf) for leaf in leaves
    )
    leaves, form_of_arguments = jax.tree.flatten(arguments)
    found = (form, each, form_of_arguments, tuple(map(jax.typeof, leaves)), on_cpu())
    try:
        hash(found)
    except TypeError:
        return None
    return found


def lifted(function: Callable) -> tuple[list[jax.Array], Callable]:
    """Arrays of a function that is a pytree, and that function of them and of its arguments."""
    leaves, form = jax.tree.flatten(function)
    arrays = [isinstance(leaf, jax.Array) for leaf in leaves]
    # others only, so that what is kept of a candidate does not keep its stars
    rest = [None if is_array else leaf for leaf, is_array in zip(leaves, arrays, strict=True)]

    def evaluate(given, *arguments):
        parts = iter(given)
        whole = [
            next(parts) if is_array else leaf for leaf, is_array in zip(rest, arrays, strict=True)
        ]
        return jax.tree.unflatten(form, whole)(*arguments)

    return [leaf for leaf, is_array in zip(leaves, arrays, strict=True) if is_array], evaluate
