"""The wrong versions of the mutation trial are wrong: each differs from the right module, and from every other."""

import ast
from pathlib import Path

from tests.mutation.mutants import mutants_of, tree_of

RIGHT = '''
LIMIT = -7

def f(a, b=2, *, c, d=False):
    """A docstring is no place for a fault."""
    if not a and b < 3:
        c.x = a + 1
        c.send(b)
    return f"{a} of 3" if d is None else a in (b, 4)

class Held:
    size: int = 5

    def g(self, this: int = -6) -> int:
        self.size += this
        return self.size
'''


def test_each_wrong_version_is_another(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(RIGHT, encoding="utf-8")
    mutants = list(mutants_of(tmp_path, "right.py"))
    wrong = {mutant.what: ast.unparse(tree_of(tmp_path, mutant)) for mutant in mutants}
    assert len({*wrong.values(), ast.unparse(ast.parse(RIGHT))}) == len(mutants) + 1
    for what in ("2 -> 3", "False -> True", "-6: without its sign", "if not a and b < 3: never", "without c.send(b)", "5 -> 6"):
        assert what in wrong, what
    assert not any("docstring" in what or "of 3" in what for what in wrong)
