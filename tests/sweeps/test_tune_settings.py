"""How Ray Tune is set, apart from any sweep."""

import pytest
from ray.tune import registry

from sweeps.running.tune_settings import class_kept_in_mind


class Registry:
    """Counts how often it is asked."""

    def __init__(self, held):
        self.held, self.asked = held, 0

    def contains(self, category, key):
        self.asked += 1
        return key in self.held

    def get(self, category, key):
        self.asked += 1
        return self.held[key]


def test_the_class_is_fetched_once_a_sweep_and_anew_for_the_next(monkeypatch):
    """Catches a second sweep in one process that runs the first one's task."""
    found = Registry({"JobTrainable": "first"})
    monkeypatch.setattr(registry, "_global_registry", found)
    with class_kept_in_mind():
        assert [registry.get_trainable_cls("JobTrainable") for _ in range(5)] == ["first"] * 5
        assert found.asked == 2
    found.held["JobTrainable"] = "second"
    with class_kept_in_mind():
        assert registry.get_trainable_cls("JobTrainable") == "second"


@pytest.mark.parametrize("other", [None, object()])
def test_a_ray_with_another_registry_is_left_alone(monkeypatch, other):
    monkeypatch.setattr(registry, "_global_registry", other)
    with class_kept_in_mind():
        assert registry._global_registry is other
