"""The page in a real browser: no console errors, contents lead somewhere, selectors choose, copies
are what is seen, the legend switches arms, headings sort tables, a phone can read it.

pytest -m browser tests/integration/test_report_browser.py
"""

import csv
import io
import shutil
from xml.etree import ElementTree

import pytest
from support.pages import write_runs

from bench.commands.report import write_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs chromium and chromedriver",
    ),
]
FLAGS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--window-size=1280,900",
    ),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


LONG = "selfflow(attention=separated,mask_ratio=0.125)"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_runs(
        root,
        arms={"vanilla": 1.0, "selfflow": 0.85, "repa/local_m": 0.95, LONG: 0.9},
        sizes=("nano", "micro"),
        pictures=True,
    )
    return write_report("all", root, pdf=False)[0]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    selenium = pytest.importorskip("selenium.webdriver")
    options = selenium.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = selenium.Chrome(
        options=options, service=selenium.ChromeService(shutil.which("chromedriver"))
    )
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, page):
    browser.get(page.as_uri())
    return browser


def visible(browser, arm_key):
    """Whether each part of the figures that belongs to an arm can be seen."""
    parts = browser.find_elements("css selector", f'[data-arm="{arm_key}"]')
    return browser.execute_script(
        "return arguments[0].map((part) => part.getClientRects().length > 0)", parts
    )


def test_nothing_but_the_contents_and_headings_of_tables_sticks_to_the_top(opened):
    """A chart is no bar at the top, whatever its panel is called."""
    stuck = opened.execute_script(
        "return [...document.querySelectorAll('body *')]"
        ".filter((one) => getComputedStyle(one).position === 'sticky').map((one) => one.tagName)"
    )
    assert set(stuck) == {"NAV", "TH"}


def test_it_opens_without_console_errors(opened):
    assert opened.get_log("browser") == []
    assert "All runs on digits" in opened.title


def test_contents_lead_to_every_part_and_open_what_is_folded(opened):
    opened.find_element("css selector", ".contents summary").click()
    links = opened.find_elements("css selector", ".contents a")
    assert {"Answer", "Scaling", "Published claims", "Appendix"} <= {link.text for link in links}
    for link in links:
        target = link.get_attribute("href").partition("#")[2]
        assert len(opened.find_elements("id", target)) == 1, target
    folded = next(link for link in links if "Differences from" in link.get_attribute("textContent"))
    opened.execute_script("arguments[0].click()", folded)
    figure = opened.find_element("id", folded.get_attribute("href").partition("#")[2])
    assert figure.find_element("css selector", "details").get_attribute("open")
    assert not opened.find_element("css selector", ".contents").get_attribute("open")


def panels_of(opened, figure):
    """What each panel shows that can be seen."""
    return opened.execute_script(
        "return [...document.querySelectorAll(`#figure-${arguments[0]} .panel`)]"
        ".filter((panel) => panel.getClientRects().length)"
        ".map((panel) => JSON.parse(panel.dataset.shown || '{}'))",
        figure,
    )


def choose(opened, figure, key, value):
    from selenium.webdriver.support.ui import Select

    selector = f'#figure-{figure} select[data-key="{key}"]'
    Select(opened.find_element("css selector", selector)).select_by_visible_text(value)


def test_a_size_is_chosen_everywhere_and_a_metric_is_shown_alone_or_beside_the_others(opened):
    assert {one["size"] for one in panels_of(opened, "training-results")} == {"micro"}
    assert len(panels_of(opened, "training-results")) == 3  # metrics side by side
    choose(opened, "answer", "size", "nano")
    for figure in ("answer", "training-results", "training", "maps"):
        assert {one["size"] for one in panels_of(opened, figure)} == {"nano"}, figure
    choose(opened, "training-results", "metric", "fd_local")
    (alone,) = panels_of(opened, "training-results")
    assert alone["metric"] == "fd_local" and alone["shown"] == "change from Vanilla"
    choose(opened, "training-results", "shown", "values")
    choose(opened, "training-results", "over", "FLOPs")
    (values,) = panels_of(opened, "training-results")
    assert (values["shown"], values["over"]) == ("values", "FLOPs")
    assert panels_of(opened, "answer") == [{"size": "nano", "metric": "fd_local"}]


def copied(opened, button):
    """What a click on a button hands to the clipboard."""
    opened.execute_script(
        "window.handed = null;"
        "navigator.clipboard.writeText = async (text) => { window.handed = text; };"
        "navigator.clipboard.write = async ([item]) => {"
        "  const blob = await item.getType('image/png');"
        "  window.handed = [...new Uint8Array(await blob.arrayBuffer())].slice(0, 8); };"
    )
    opened.execute_script("arguments[0].click()", button)
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(opened, 20).until(lambda page: page.execute_script("return window.handed"))


def test_figures_are_copied_as_they_are_seen(opened):
    choose(opened, "answer", "size", "nano")
    figure = opened.find_element("id", "figure-answer")
    buttons = {one.text: one for one in figure.find_elements("css selector", "[data-copy]")}
    table = list(csv.reader(io.StringIO(copied(opened, buttons["CSV"]))))
    assert table[0][0] == "arm" and {"Self-Flow", "REPA (local M)"} < {row[0] for row in table}
    svg = ElementTree.fromstring(copied(opened, buttons["SVG"]))
    texts = [one.text for one in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "Self-Flow" in texts and "fd_pixels · digits · nano" in texts
    assert copied(opened, buttons["PNG"]) == list(b"\x89PNG\r\n\x1a\n")
    # lines come with their legend, without an arm that is switched off
    opened.find_element("css selector", "[data-arm-key]:nth-of-type(2)").click()
    figure = opened.find_element("id", "figure-size")
    button = figure.find_element("css selector", "[data-copy=SVG]")
    texts = [
        one.text
        for one in ElementTree.fromstring(copied(opened, button)).iter(
            "{http://www.w3.org/2000/svg}text"
        )
    ]
    assert "REPA (local M)" in texts and "Self-Flow" not in texts


def test_tables_are_copied_as_latex_markdown_and_csv(opened):
    table = opened.find_element("id", "table-headline").find_element(
        "xpath", "ancestor::section[1]"
    )
    buttons = {one.text: one for one in table.find_elements("css selector", "[data-table]")}
    latex = copied(opened, buttons["LaTeX"])
    assert latex.startswith("\\begin{tabular}{llrr") and latex.count("\\textbf{") >= 2
    assert "fd\\_pixels $\\downarrow$" in latex and "$\\pm$" in latex
    markdown = copied(opened, buttons["Markdown"]).splitlines()
    assert markdown[0].startswith("| arm | size | fd_pixels") and "**" in "".join(markdown)
    assert len({line.count("|") for line in markdown}) == 1
    rows = list(csv.reader(io.StringIO(copied(opened, buttons["CSV"]))))
    assert rows[0][:3] == ["arm", "size", "fd_pixels ↓"] and float(rows[1][2]) > 0


def test_samples_stand_beside_real_pictures_and_slide_over_training(opened):
    shown = panels_of(opened, "samples")
    assert shown[0] == {"size": "micro"} and len(shown) == 5  # real ones, and four arms
    slider = opened.find_element("css selector", "#figure-samples input[type=range]")
    opened.execute_script(
        "arguments[0].value = 0; arguments[0].dispatchEvent(new Event('input'))", slider
    )
    assert {one.get("after") for one in panels_of(opened, "samples")} == {None, "65,536 images"}


def test_the_legend_switches_an_arm_off_and_on(opened):
    button = opened.find_element("css selector", "[data-arm-key]:nth-of-type(2)")
    key = button.get_attribute("data-arm-key")
    shown = visible(opened, key)
    assert any(shown)
    button.click()
    assert not any(visible(opened, key)) and button.get_attribute("aria-pressed") == "false"
    others = opened.find_element("css selector", "[data-arm-key]:nth-of-type(1)").get_attribute(
        "data-arm-key"
    )
    assert any(visible(opened, others))
    button.click()
    assert visible(opened, key) == shown


def test_a_heading_sorts_by_value_both_ways(opened):
    table = opened.find_element("id", "table-results-0")
    heads = [head.text.strip(" ▲▼") for head in table.find_elements("css selector", "th")]
    column = heads.index("mean")
    head = table.find_elements("css selector", "th button")[column]

    def values():
        cells = table.find_elements("css selector", f"tbody td:nth-child({column + 1})")
        return [float(cell.get_attribute("data-sort") or cell.text) for cell in cells]

    before = values()
    head.click()
    assert values() == sorted(before)
    head.click()
    assert values() == sorted(before, reverse=True)


def test_light_and_dark_differ(opened):
    def ground():
        return opened.execute_script("return getComputedStyle(document.body).backgroundColor")

    before = ground()
    opened.find_element("id", "theme").click()
    assert ground() != before


def test_a_phone_scrolls_one_way_only(opened):
    for width in (390, 1280):
        metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_first_screen_is_the_answer(opened):
    first = opened.find_element("css selector", ".answers p")
    assert "Does anything beat Vanilla?" in first.text and "parameters" in first.text
    figure = opened.find_element("css selector", "#figure-answer svg")
    assert first.location["y"] < figure.location["y"] < 800
    assert figure.size["width"] > 1000
    term = opened.find_element("css selector", ".answers a.term")
    assert term.get_attribute("title")
    target = term.get_attribute("href").partition("#")[2]
    assert opened.find_element("id", target).text.lower() in term.text.lower()


def test_a_phone_has_few_screens_before_the_appendix(opened):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    opened.refresh()
    assert opened.find_element("id", "appendix").location["y"] <= 12 * 844
    assert len(panels_of(opened, "training-results")) == 1
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_no_text_of_a_figure_leaves_its_panel(opened):
    outside = """
        document.querySelectorAll("details").forEach((part) => { part.open = true; });
        const found = [];
        for (const svg of document.querySelectorAll(".panel svg")) {
          const frame = svg.getBoundingClientRect();
          for (const text of svg.querySelectorAll("text")) {
            const box = text.getBoundingClientRect();
            if (box.left < frame.left - 1 || box.right > frame.right + 1
                || box.bottom > frame.bottom + 1)
              found.push(text.textContent);
          }
        }
        return found"""
    assert opened.execute_script(outside) == []
    titles = opened.execute_script(
        "return "
        "[...document.querySelectorAll('.heat svg')].map((svg) => [svg.getAttribute('aria-label'), "
        "[...svg.querySelectorAll('text[font-weight=bold]')]"
        ".map((line) => line.textContent).join('')])"
    )
    long = "Self-Flow with separated attention and with mask ratio 0.125"
    assert f"{long} − Vanilla" in dict(titles)
    assert all(label.replace(" ", "") == drawn.replace(" ", "") for label, drawn in titles)
