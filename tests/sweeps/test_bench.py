"""The benchmarks run at their smallest sizes, and their peers do what they stand for."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from worlds.toy_game import ToyGames

from sweeps.bench import cells, language, packs, procgen
from sweeps.bench.cleanrl import Agent, UsualProcgenScript
from sweeps.bench.processes import memory_below, private_bytes
from sweeps.bench.tables import Target
from sweeps.bench.usual import DEVIATION, MEAN, UsualDataset, UsualScript, pixels_of
from sweeps.bench.work import core_seconds, run_alone, spun, trained, untrained
from trainers.columns import identity_of
from trainers.language.corpus import text_corpus
from trainers.mnist.images import _torchvision_datasets, load_images, normalised
from trainers.mnist.network import ConvNet
from trainers.procgen.ppo import advantages
from trainers.procgen.shape import Shape


@pytest.fixture(scope="module")
def images():
    mnist = load_images()
    return replace(mnist, train_images=mnist.train_images[:256], train_labels=mnist.train_labels[:256],
                   val_images=mnist.val_images[:64], val_labels=mnist.val_labels[:64])


def test_pixels_come_back_from_normalised_images():
    raw = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    raw[0, 0, :2] = 0, 255
    labels = np.array([0, 1, 2, 3, 4])
    assert np.array_equal(pixels_of(normalised("any", raw, labels, raw, labels).train_images), raw)


def test_the_usual_data_set_is_torchvisions(images):
    """Catches a peer made slower, or other, than what users have."""
    try:
        _torchvision_datasets()
        from torchvision.transforms import Compose, Normalize, ToTensor
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not load here: {error}")
    from PIL import Image
    pixels = pixels_of(images.train_images)
    transform = Compose([ToTensor(), Normalize(MEAN, DEVIATION)])
    for index in (0, 17):
        image, label = UsualDataset(pixels, images.train_labels)[index]
        assert torch.equal(image, transform(Image.fromarray(pixels[index])))
        assert label == images.train_labels[index]


def test_the_usual_script_learns(images):
    """Catches a peer that goes through the motions."""
    network = ConvNet(0.5, 0.0, images.classes, torch.Generator().manual_seed(0))
    script = UsualScript(network, images, batch_size=32, lr=0.01, device=torch.device("cpu"))
    before = script.evaluate()
    script.advance(40)  # five times over its images
    assert script.evaluate() < before - 0.5


def test_cells_and_packs_are_measured_at_the_smallest_sizes(images):
    for section in (cells.section([0.25], batch_size=8, seconds=0.01, repeats=1, images=images),
                    packs.section([0.25], [1, 2], batch_size=8, seconds=0.01, repeats=1, images=images, device="cpu")):
        assert {len(row) for row in section.rows} == {len(section.columns)}
        assert all(np.isfinite(target.value) and target.value > 0 for target in section.targets)


def test_the_language_model_and_its_peer_are_measured_on_the_same_bytes_and_both_learn():
    """Catches a peer that goes through the motions, and losses of other texts or contexts."""
    corpus = text_corpus("verse", b"Shall I compare thee to a summer's day? " * 2000)
    section = language.section([8], batch_tokens=256, seconds=0.01, repeats=1, trained=65_536, corpus=corpus)
    row = dict(zip(section.columns[:-1], section.rows[0]))   # the peer's loss bears the name of its speed
    ours, peers = float(row["loss"]), float(section.rows[0][-1])
    assert len(section.rows[0]) == len(section.columns) and ours < 1.0 and peers < np.log(256) - 1.0
    assert all(np.isfinite(target.value) for target in section.targets)


def test_the_agent_and_its_peer_are_measured_on_a_toy_game():
    section = procgen.section([0.125], game="line", envs=4, steps=4, repeats=1, games=ToyGames())
    assert len(section.rows[0]) == len(section.columns) and float(section.rows[0][3].replace(",", "")) > 0


def test_the_peer_is_the_same_ppo():
    """Its advantages are ours, written another way round, and a minibatch moves every weight. Catches a peer made to lose."""
    shape, games = Shape(0.125, 15, 8), ToyGames()
    torch.manual_seed(0)
    environments = games.make("line", "easy", range(100), range(6), threads=1, again=True)
    agent = Agent(shape.channels, shape.units, shape.features, shape.actions)
    script = UsualProcgenScript(agent, environments, steps=30, minibatches=2, epochs=1)
    script._play()
    ended = torch.cat([script.ends[1:], script.ended[None]]).numpy().astype(bool)
    with torch.no_grad():
        last = script.agent.value(script.seen)[:, 0].numpy()
    ours = advantages(script.rewards.numpy(), script.values.numpy(), ended, last, gamma=0.999, lam=0.95)
    found = script._advantages()
    assert ended.any() and np.allclose(found, ours, atol=1e-5)
    before = [weights.detach().clone() for weights in script.agent.parameters()]
    script._learn(found, found + script.values)
    assert not any(torch.equal(one, other) for one, other in zip(before, script.agent.parameters()))


def test_a_target_knows_which_way_is_good():
    assert Target("speed", 4.0, 4.0, "x", True).line().startswith("reached")
    assert Target("speed", 3.9, 4.0, "x", True).line().startswith("MISSED")
    assert Target("memory", 3.1, 3.0, "GB", False).line().startswith("MISSED")


@pytest.mark.parametrize("work, least", [(lambda images: spun(1, 0.02), 0.5), (lambda images: trained(1, images), 0.5),
                                         (lambda images: untrained(1, images), 0.0)], ids=["spun", "trained", "untrained"])
def test_a_cell_yields_a_row_of_its_task_and_knows_what_it_took(images, work, least):
    """Catches a benchmark of cells that no sweep would keep, or whose own time counts as the sweep's."""
    made = work(images)
    cell, = made.cells
    placed = made.task.place(made.data, "cpu")
    began = time.thread_time()
    values = run_alone(made.task, cell, placed)
    took = time.thread_time() - began
    assert identity_of(made.task.row_type(values)(**values)) == identity_of(cell)
    assert least * took <= core_seconds(values) <= took


def test_bfloat16_is_compared_only_where_the_processor_has_it(images, monkeypatch):
    """Catches a benchmark that waits for an arithmetic which nobody should use there, or leaves it out unsaid."""
    found = {}
    for native in (True, False, None):
        monkeypatch.setattr(cells, "native_bfloat16", lambda: native)
        found[native] = cells.section([2.0], batch_size=8, seconds=0.01, repeats=1, images=images)
    assert len(found[True].targets) == len(found[False].targets) + 1
    assert found[False].targets[0].value > 0 and len(found[False].notes) == len(found[True].notes) + 1
    assert len(found[None].notes) == len(found[False].notes)


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs Linux's /proc")
def test_memory_of_a_process_counts_what_it_took():
    before, private = memory_below(os.getpid()), private_bytes(os.getpid())
    ballast = np.ones(40_000_000, np.uint8)
    after = memory_below(os.getpid())
    assert 35e6 < after.proportional - before.proportional < 80e6
    assert private_bytes(os.getpid()) - private > 35e6
    assert before.processes >= 1 and len(ballast) == 40_000_000


@pytest.mark.slow
def test_the_command_runs_every_section():
    """Catches a section that breaks as engine, store or connect go on."""
    ran = subprocess.run([sys.executable, "-m", "sweeps.bench", "--quick", "--cells", "6", "--tune-cells", "2", "--sizes", "5", "10",
                          "--widths", "0.25", "--pack-widths", "0.25", "--seconds", "0.02", "--memory-width", "0.5",
                          "--cell-seconds", "0.05", "--text-widths", "8", "--text-bytes", "8192"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert all(f"\n{number}  " in ran.stdout for number in range(1, 7))
