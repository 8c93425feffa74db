"""The examples of sweeps/carbs/README.md, as they stand."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "sweeps" / "carbs" / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("code", [block for block in BLOCKS if "import tune" not in block])
def test_an_example_runs(code):
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})


@pytest.mark.slow
@pytest.mark.parametrize("code", [block for block in BLOCKS if "import tune" in block])
def test_the_example_under_ray_runs(code, tmp_path):
    ray = pytest.importorskip("ray")
    ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False)
    try:
        names: dict = {"__name__": "__main__"}
        exec(compile(code, str(README), "exec"), names)
        assert len(names["results"]) == 6 and not names["results"].num_errors
        assert len(names["search"].carbs.observations) == 6
    finally:
        ray.shutdown()
