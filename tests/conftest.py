"""How the tests share a machine: with `-n auto` (pytest-xdist) a module is one worker's, and one has all that start a Ray."""

import os
import re

import pytest

# One Ray at a time: two would wait for each other's cores until a timeout ends a test that nothing is wrong with.
STARTS_RAY = re.compile(r"tests/(chaos|cluster|lab)/|"
                        r"/test_(carbs_readme|carbs_searcher|determinism|language_sweep|readme|schedules|sweep)\.py$")

MOST_WORKERS = 4   # more would only wait for the one that has the Rays

if "PYTEST_XDIST_WORKER" in os.environ:   # the workers are the parallelism: said before numpy and torch are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores, MOST_WORKERS) if cores > 1 else 0   # 0: no workers, all in this process


def pytest_collection_modifyitems(items):
    """The Rays' tests first: on a worker of their own they take the longest."""
    items.sort(key=lambda item: STARTS_RAY.search(item.nodeid.partition("::")[0]) is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class OneRay(LoadScopeScheduling):
        """Hands out units of tests, a module each (so that its fixtures are made once); the Rays' modules are one unit."""

        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return "Ray" if STARTS_RAY.search(module) else module

    config.option.loadscopereorder = False   # not the unit of the most tests first
    return OneRay(config, log)
