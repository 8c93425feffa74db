"""How the tests share a machine: with `-n auto` (pytest-xdist) a module is one worker's, and one has all that start a Ray."""

import os
import re
from functools import cache

import pytest

# Tests that start a Ray, one at a time: two would wait for each other's cores until a timeout ends a test that nothing is wrong
# with. A new one joins here. Of modules that are listed with a test's name the others are free.
STARTS_RAY = re.compile(r"tests/(chaos|cluster|lab)/|/test_(readme|sweep|language_sweep)\.py::"
                        r"|/test_determinism\.py::test_a_row_does_not_depend_on_concurrency"
                        r"|/test_(schedules|carbs_readme|carbs_searcher)\.py::"
                        r"test_(the_smoke_study|the_example_under_ray|a_real_tuner)")

MOST_WORKERS = 4   # more would only wait for the one that has the Rays

if "PYTEST_XDIST_WORKER" in os.environ:   # the workers are the parallelism: said before numpy and torch are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_worker_niceness", "0")   # else 15: a Ray's cells would wait for the other workers' tests


@pytest.fixture
def mnist_once(monkeypatch):
    """MNIST is read at the first of a test's commands alone: more than a second each time."""
    from trainers.mnist.images import load_images
    monkeypatch.setattr("trainers.mnist.task.load_images", cache(load_images))


@pytest.fixture
def one_thread():
    """Of torch's, whose sums depend on their number."""
    import torch
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores, MOST_WORKERS) if cores > 1 else 0   # 0: no workers, all in this process


def pytest_collection_modifyitems(items):
    """The Rays' tests first: on a worker of their own they take the longest."""
    items.sort(key=lambda item: STARTS_RAY.search(item.nodeid) is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class OneRay(LoadScopeScheduling):
        """Hands out units of tests: all that start a Ray, and of the rest a module each, whose fixtures are then made once."""

        def _split_scope(self, nodeid: str) -> str:
            return "Ray" if STARTS_RAY.search(nodeid) else nodeid.partition("::")[0]

    config.option.loadscopereorder = False   # not the unit of the most tests first
    return OneRay(config, log)
