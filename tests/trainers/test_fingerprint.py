"""What code made a row: told apart where it computes something else, and nowhere else."""

from trainers.fingerprint import code_digest, fingerprint

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


def test_data_and_code_both_count():
    assert len({fingerprint("a", "b"), fingerprint("b", "a"), fingerprint("a", "c"), fingerprint("c", "b")}) == 4
