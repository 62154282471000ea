"""All jobs of the service, by subject."""

from __future__ import annotations

from ..jobs import Job
from . import algorithms, archives, attacks, data, interpreters, maths, shell, systems, texts


def all_jobs() -> list[Job]:
    """Every job there is; names are unique."""
    modules = (texts, data, archives, maths, algorithms, interpreters, systems, shell, attacks)
    jobs = [job for module in modules for job in module.JOBS]
    names = [job.name for job in jobs]
    if len(set(names)) != len(names):
        raise ValueError("two jobs have the same name")
    return jobs
