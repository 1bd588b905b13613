"""Runs side by side in one process, whose evaluations are launched as one.

On a device a launch takes as long for a hundred candidates as for one. So each run is a thread that
goes on until it needs a program of `compile` evaluated, and then sleeps. When all sleep, those that
ask for the same program are launched together, their arrays stacked; arrays that they share, such
as isochrones, are given once.

Only one thread is awake at a time: what traces models (numpyro's handlers, warnings) is not made
for threads, and Python would hardly run two at once.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from jaxcluster.inference.compile import LAUNCH, Program

SIZES = (8, 64)  # runs of a launch, which are compiled for; what is missing is filled up


class _Request:
    def __init__(self, program: Program, constants: list, leaves: list):
        self.program, self.run = program, (constants, leaves)
        self.found: list | None = None
        self.error: Exception | None = None

    @property
    def waits(self) -> bool:
        return self.found is None and self.error is None


class Together:
    """The runs of a process that go side by side.

    Example:
        >>> together = Together()
        >>> def run(model):
        ...     with together.joined():
        ...         return jc.importance(model, key=1)
        >>> with ThreadPoolExecutor(64) as pool:  # doctest: +SKIP
        ...     found = list(pool.map(run, models))
    """

    def __init__(self):
        self._awake = threading.Lock()  # whose holder works
        self._state = threading.Condition()  # guards what follows
        self._runs = 0
        self._requests: list[_Request] = []

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Be one of the runs, in the thread that calls, until the end of the context."""
        with self._state:
            self._runs += 1
        self._awake.acquire()
        token = LAUNCH.set(self._launch)
        try:
            yield
        finally:
            LAUNCH.reset(token)
            self._awake.release()
            with self._state:
                self._runs -= 1
                self._state.notify_all()  # all others may be asleep

    def _launch(self, program: Program, constants: list, leaves: list) -> list:
        """What a run gets for its request, perhaps some launches later."""
        request = _Request(program, constants, leaves)
        self._awake.release()
        try:
            with self._state:
                self._requests.append(request)
                while request.waits:
                    if len(self._requests) == self._runs:
                        self._answer()
                        self._state.notify_all()
                    else:
                        self._state.wait()
        finally:
            self._awake.acquire()
        if request.error is not None:
            raise request.error
        assert request.found is not None
        return request.found

    def _answer(self) -> None:
        """Launch the program that most ask for."""
        groups: dict[int, list[_Request]] = {}
        for request in self._requests:
            groups.setdefault(id(request.program), []).append(request)
        group = max(groups.values(), key=len)[: SIZES[-1]]
        size = next(size for size in SIZES if size >= len(group))
        runs = [request.run for request in group]
        try:
            found = group[0].program.many(runs + runs[-1:] * (size - len(runs)))
        except Exception as error:  # of any of them
            for request in group:
                request.error = error
        else:
            for request, one in zip(group, found, strict=False):
                request.found = one
        self._requests = [request for request in self._requests if request.waits]
