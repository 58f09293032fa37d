"""`bench.report fit`: where the picture goes, and the numbers on it."""

from bench.cli import guarded
from bench.report import REPORT

TABLE = "N,D,loss\n" + "".join(
    f"{n},{d},{1.7 + 40 * n**-0.3 + 40 * d**-0.3}\n"
    for n in (1e6, 1e7, 1e8, 1e9)
    for d in (1e8, 464158883.4, 1e9, 1e10)
)


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
