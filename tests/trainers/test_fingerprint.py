"""What code made a row: told apart where it computes something else, and nowhere else."""

from trainers.fingerprint import code_digest, fingerprint, script_digest

CODE = '''"""A module."""
import math


def area(radius):
    """Of a disc."""
    return math.pi * radius**2
'''


def digest(tmp_path, text, name="code.py"):
    file = tmp_path / name
    file.write_text(text)
    return code_digest([file])


def test_words_and_imports_change_nothing_and_a_computation_does(tmp_path):
    """A module may move, and be explained better, without barring the tables that it made."""
    first = digest(tmp_path, CODE)
    assert digest(tmp_path, CODE, name="moved.py") == first
    for silent in (CODE.replace("A module.", "Another."), CODE.replace("    return", "    # the formula\n\n    return"),
                   CODE.replace("import math", "import math\nfrom pathlib import Path"), CODE.replace('    """Of a disc."""\n', "")):
        assert digest(tmp_path, silent) == first
    for loud in (CODE.replace("radius**2", "radius**3"), CODE.replace("math.pi", "3"), CODE + "\nTAU = 6\n"):
        assert digest(tmp_path, loud) != first


def test_in_a_users_file_another_import_is_other_code():
    """Catches rows of two optimisers in one table, where only the import that names them differs."""
    def digest(optimiser, comment=""):
        return script_digest([f"{comment}from torch.optim import {optimiser} as Optimiser\ndef train(): return Optimiser\n".encode()])

    assert digest("SGD") == digest("SGD", "# said\n") != digest("Adam")


def test_data_and_code_both_count():
    assert len({fingerprint("a", "b"), fingerprint("b", "a"), fingerprint("a", "c"), fingerprint("c", "b")}) == 4
