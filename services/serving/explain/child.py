"""The explaining child: reads jobs, answers each. Whatever a graph or a library does to it (a crash, no memory, no end)
is the end of this process and of one answer, never of the server. `start.py` is its main program.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import BinaryIO

from services.kernel.errors import InvalidInput, TrimtabError
from services.serving.explain.attributing import attribute_sample, explain
from services.serving.explain.lime import Lime
from services.serving.explain.method import Method
from services.serving.explain.refusals import OutOfMemory
from services.serving.explain.shapley import Shapley
from services.serving.explain.subject import Subject
from services.serving.explain.wire import ExplainJob, Job, Refused, Reply, Version, decode_job, frame, read_frame


def serve(source: BinaryIO, target: BinaryIO, answer: Callable[[Job], Reply]) -> None:
    """Answer every job of `source` on `target` until it ends. The parent ends a child that had too little memory."""
    while (data := read_frame(source)) is not None:
        try:
            reply = answer(decode_job(data))
        except MemoryError:
            reply = Refused(OutOfMemory.code, "it needs more memory than TRIMTAB_SERVING_EXPLAIN_MEMORY_BYTES allows")
        except TrimtabError as error:
            reply = Refused(error.code, error.detail)
        target.write(frame(reply))
        target.flush()


class Work:
    """Answers jobs, with the last `versions` versions open."""

    def __init__(self, versions: int) -> None:
        self._versions = versions
        self._open: OrderedDict[Version, Subject] = OrderedDict()
        methods: tuple[Method, ...] = (Shapley(), Lime())
        self._methods = {method.name: method for method in methods}

    def __call__(self, job: Job) -> Reply:
        """The answer to `job`. Raises `TrimtabError`."""
        method = self._methods.get(job.method)
        if method is None:
            raise InvalidInput(f"method: {job.method[:100]!r} is none of {', '.join(self._methods)}")
        subject = self._subject(job.version, job.max_features)
        if isinstance(job, ExplainJob):
            return explain(subject, method, job)
        return attribute_sample(subject, method, job)

    def _subject(self, version: Version, max_features: int) -> Subject:
        subject = self._open.pop(version, None)
        if subject is None:
            while len(self._open) >= self._versions:
                self._open.popitem(last=False)[1].close()
            subject = Subject(version, max_features)
        self._open[version] = subject
        return subject
