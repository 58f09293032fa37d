"""`bench.report fit`: tables as programs write them, where the picture goes, and what is on it."""

import re

import numpy as np
import pytest

from bench.cli import guarded
from bench.report import REPORT
from reports.laws.command import fit_table
from reports.laws.table_file import read_columns

TABLE = "N,D,loss\n" + "".join(
    f"{n},{d},{1.7 + 40 * n**-0.3 + 40 * d**-0.3}\n"
    for n in (1e6, 1e7, 1e8, 1e9)
    for d in (1e8, 464158883.4, 1e9, 1e10)
)
SIZES = (1e5, 4e5, 1.6e6, 6.4e6, 2.56e7, 1e8)


def test_the_folder_of_the_picture_is_made(tmp_path, capsys):
    (tmp_path / "table.csv").write_text(TABLE)
    words = ["fit", "--csv", str(tmp_path / "table.csv"), "--x", "N", "--x2", "D", "--y", "loss"]
    assert guarded(REPORT.main, [*words, "--out", str(tmp_path / "new" / "fit.svg")]) == 0
    drawn = (tmp_path / "new" / "fit.svg").read_text()
    assert "D = 464M" in drawn and "<!-- 10M -->" in drawn and "mathdefault" not in drawn
    capsys.readouterr()
    assert guarded(REPORT.main, [*words, "--out", str(tmp_path / "table.csv" / "fit.svg")]) == 2
    said = capsys.readouterr()
    assert "cannot be made" in said.err and not said.out


def test_the_command_prints_and_draws(tmp_path, capsys):
    table = tmp_path / "table.csv"
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal((len(SIZES), 3))
    lines = [
        f"{n},{(0.2 + 30 * n**-0.4) * z}\n"
        for n, of_n in zip(SIZES, noise, strict=True)
        for z in of_n
    ]
    table.write_text("N,loss\n" + "".join(lines))
    fit_table(table, "N", "loss")
    out = capsys.readouterr().out
    assert "loss = E + A N^-a" in out and "from the smaller ones" in out and "from seeds" in out
    picture = (tmp_path / "table-fit.svg").read_bytes()
    assert picture.startswith(b"<?xml")
    fit_table(table, "N", "loss")
    assert (tmp_path / "table-fit.svg").read_bytes() == picture


def test_rows_of_unlike_d_are_a_map_with_residuals_and_names_stay_as_they_are(tmp_path, capsys):
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log([[5e7], [1e9]]), np.log([[1.5e10], [3e11]]), (2, 40)))
    n = np.repeat(n[:10], 4)  # four snapshots of each run
    loss = (1.7 + 400 * n**-0.34 + 400 * d**-0.28) * np.exp(0.01 * rng.standard_normal(40))
    rows = zip(n, d, loss, [f"run {i // 4}" for i in range(40)], strict=True)
    table = tmp_path / "table.csv"
    table.write_text("a$b_$,D,lo$s^$,run\n" + "".join(f"{a},{b},{c},{r}\n" for a, b, c, r in rows))
    fit_table(table, "a$b_$", "lo$s^$", "D")
    assert "rows drawn with replacement" in capsys.readouterr().out
    drawn = (tmp_path / "table-fit.svg").read_text()
    for words in ("a$b_$", "D", "measured lo$s^$ (colour)", "residual (%)"):
        assert f"<!-- {words} -->" in drawn
    assert "D = " not in drawn
    fit_table(table, "a$b_$", "lo$s^$", "D", run="run")
    assert "shared by the rows of a run" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--run D: that column is fitted"):
        fit_table(table, "a$b_$", "lo$s^$", "D", run="D")
    with pytest.raises(ValueError, match="give it as --x2"):
        fit_table(table, "a$b_$", "lo$s^$", run="run")


@pytest.mark.parametrize(
    "text",
    [
        "N,loss\n1000,2.5\n2000,1.5\n",
        "\ufeffN,loss\r\n1000,2.5\r\n\r\n2000,1.5\r\n",
        "N, loss\n1000, 2.5\n2000, 1.5\n",
        "N,loss,,\n1000,2.5,,\n2000,1.5,,,\n",
        "N;loss\n1000;2.5\n2000;1.5\n",
        "N\tloss\n1e3\t2.5\n2e3\t1.5\n",
        'note,"N",loss\n"two\nlines",1000,"2.5"\n"a, b",2000,1.5\n',
        'N,loss\n"1,000.0",2.5\n"2,000",1.5\n',
        "loss,other,N,other\n2.5,x,1000\n1.5,y,2000,z\n",
    ],
)  # fmt: skip
def test_tables_of_many_programs_are_read(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    found = read_columns(path, ["N", "loss"])
    assert found["N"].tolist() == [1000, 2000] and found["loss"].tolist() == [2.5, 1.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("N,loss\n1,2\nmany,3\n", "line 3: N is 'many', not a number"),
        ("M,loss\n1,2\n", "no column 'N' (it has: M, loss)"),
        ("N,loss\n1,2\n\n,3\n", "line 4: N is empty"),
        ("N,loss\n1\n", "line 2: loss is empty"),
        ('N,loss,note\n1,2,"a\nb"\nx,3,c\n', "line 4: N is 'x'"),
        ("N,loss\n1,2\n1e308,3\n", "line 3: N is 1e308; a power law is fitted to numbers from"),
        ("N,loss\n1,2\n1,nan\n", "line 3: loss is nan; a power law"),
        ("N,loss\n1,2\n-1,2\n", "line 3: N is -1; a power law"),
        ("N,N,loss\n1,2,3\n", "line 1: 2 columns are called 'N'"),
        ("N,loss\n1,234,5\n", "line 2 has 3 cells and the heading 2"),
        ("N;loss\n1,234;5\n", "line 2: N is '1,234', whose comma may part thousands or decimals"),
        ("N;loss\n1;2,5\n", "line 2: loss is '2,5', whose comma"),
        ("N,loss\n", "has no rows under a header line"),
        ("", "has no rows under a header line"),
        ("N,loss\n1,2\n\xff".encode("latin-1"), "is no table in UTF-8"),
        (b"N,loss\n1,2\x00\n", "line 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path, text, said):
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        read_columns(path, ["N", "loss"])
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*nowhere.csv"):
        read_columns(tmp_path / "nowhere.csv", ["N"])
    with pytest.raises(ValueError, match="is no table"):
        read_columns(tmp_path, ["N"])
