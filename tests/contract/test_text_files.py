"""Text files are UTF-8 whatever the locale: nothing opens one without saying so."""

import ast
import os
import subprocess
import sys

import pytest
from support.house import PACKAGES, ROOT

OF_A_PATH = ("read_text", "write_text")
# modules whose own `open` takes no encoding, or is of bytes
NOT_OF_TEXT = ("os", "Image", "zipfile", "tarfile", "archive", "urllib", "gzip", "av")


def without_encoding(tree: ast.AST):
    """Lines of calls that leave the encoding to the locale."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(k.arg == "encoding" for k in node.keywords):
            continue
        function = node.func
        attribute = function.attr if isinstance(function, ast.Attribute) else ""
        name = function.id if isinstance(function, ast.Name) else ""
        if attribute in OF_A_PATH and not (attribute == "read_text" and node.args):
            yield node.lineno
        owner = getattr(getattr(function, "value", None), "id", "")
        opens = name == "open" or (attribute in ("open", "fdopen") and owner not in NOT_OF_TEXT)
        if not opens and not (owner == "os" and attribute == "fdopen"):
            continue
        place = 0 if attribute == "open" else 1
        said = [k.value for k in node.keywords if k.arg == "mode"] + node.args[place : place + 1]
        mode = said[0].value if said and isinstance(said[0], ast.Constant) else "r"
        if set(str(mode)) <= set("rwaxb+t") and "b" not in str(mode):
            yield node.lineno


@pytest.mark.parametrize("package", PACKAGES)
def test_every_text_file_says_its_encoding(package):
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in without_encoding(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("open(p)\nopen(p, 'w')\nopen(p, mode='a')\np.open()\np.read_text()\np.write_text(x)", 6),
        ("os.fdopen(h, 'r+')", 1),
        ("open(p, 'rb')\nopen(p, encoding='utf-8')\nImage.open(p)\nos.open(p, 1)", 0),
    ],
)
def test_the_rule_sees_each_way(code, lines):
    assert len(list(without_encoding(ast.parse(code)))) == lines


def test_files_are_the_same_in_a_locale_of_ascii(tmp_path):
    code = (
        "import sys; from pathlib import Path; from bench.core.store.files import *; "
        "folder = Path(sys.argv[1]); write_text(folder / 'a', chr(181)); "
        "write_yaml(folder / 'b', {'a': chr(181)}); print(read_json(folder / 'c')['a'] == chr(181))"
    )
    (tmp_path / "c").write_text('{"a": "µ"}', encoding="utf-8")
    locale = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=os.environ | locale, cwd=ROOT, capture_output=True)
    assert done.stdout == b"True\n", done.stderr
    assert (tmp_path / "a").read_bytes() == "µ".encode()
