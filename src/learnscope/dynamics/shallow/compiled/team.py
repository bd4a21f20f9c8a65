"""A few threads that work on one network: one leads, the others wait for jobs and do their shares.

They speak through an array of integers. A job is announced by raising its count, and waiting is by looking again and
again, for a pass over a large network takes some milliseconds and a lock of the system tens of microseconds.
"""

# ruff: noqa: ANN001, ANN201, ANN202 (Numba infers the types of what it compiles)
from __future__ import annotations

import os
from typing import Any

from numba import types

from learnscope.dynamics.shallow.compiled.passes import compiled, inlined
from learnscope.dynamics.shallow.compiled.tiles import emitted

COUNT, JOB, DONE, PLACES = 0, 1, 8, 16  # what others write lies on a cache line of its own
PATIENCE = 100  # looks before the processor is offered to other threads
CAN_YIELD = hasattr(os, "sched_yield")
sched_yield: Any = types.ExternalFunction("sched_yield", types.int32())


@emitted
def read(typing_context, team, place):
    """Return a number that another thread writes, and see all that it wrote before."""

    def codegen(context, builder, signature, values):
        data = context.make_array(team)(context, builder, values[0]).data
        return builder.load_atomic(builder.gep(data, [values[1]]), "acquire", 8)

    return types.int64(team, types.intp), codegen


@emitted
def raise_by_one(typing_context, team, place):
    """Add 1 to a number, so that threads that read it see all that was written before."""

    def codegen(context, builder, signature, values):
        data = context.make_array(team)(context, builder, values[0]).data
        one = context.get_constant(types.int64, 1)
        return builder.atomic_rmw("add", builder.gep(data, [values[1]]), one, "acq_rel")

    return types.int64(team, types.intp), codegen


@inlined
def share(count, rank, threads):
    """Return where a thread's share of some pieces begins and ends."""
    return count * rank // threads, count * (rank + 1) // threads


@compiled
def await_number(team, place, number):
    """Return once a number has been reached."""
    looks = 0
    while read(team, place) < number:
        looks += 1
        if CAN_YIELD and looks % PATIENCE == 0:
            sched_yield()


@compiled
def announce(team, job):
    """Give all other threads a job."""
    team[JOB], team[DONE] = job, 0
    raise_by_one(team, COUNT)


@compiled
def await_others(team, others):
    """Return once the other threads have done theirs."""
    await_number(team, DONE, others)


@compiled
def job_after(team, count):
    """Return the job after the first few, once it is announced."""
    await_number(team, COUNT, count + 1)
    return team[JOB]


@compiled
def report(team):
    """Say that this thread has done its share."""
    raise_by_one(team, DONE)
