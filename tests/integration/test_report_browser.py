"""The page in a real browser: no console errors, the legend switches arms, headings sort tables,
a phone can read it.

pytest -m browser tests/integration/test_report_browser.py
"""

import shutil

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


def test_it_opens_without_console_errors(opened):
    assert opened.get_log("browser") == []
    assert "All findings" in opened.title


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


def test_no_verdict_is_behind_a_scroll_bar(opened):
    measures = (
        "const part = document.querySelector('.verdicts'); "
        "return [part.scrollHeight, part.clientHeight]"
    )
    needed, shown = opened.execute_script(measures)
    assert needed <= shown
    note = opened.find_element("css selector", ".verdicts > .note")
    assert "claims could be tested" in note.text and note.location["y"] < 900


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
    assert LONG + " − vanilla" in dict(titles)
    assert all(label.replace(" ", "") == drawn.replace(" ", "") for label, drawn in titles)
