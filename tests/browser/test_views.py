"""The inspector, the page for those who do not see it or use no mouse, and its languages; the server wants no key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser.visit import ask, pick_example
from tools import ROOT
from tools.serving import Server, image_message

PICTURE = ROOT / "docs" / "images" / "scene-60.png"
PROMPT = "Please describe this image in detail."


@pytest.fixture(scope="module")
def server(browser: Browser) -> Iterator[Server]:
    """One server for all tests; the browser is asked for first, since without one no server is needed."""
    with Server(api_key=None) as server:
        yield server


def visit(page: Page, server: Server, *, inspector: bool = False) -> None:
    page.goto(f"{server.url}/playground")
    expect(page.locator("#sides .side")).to_have_count(2)
    pick_example(page)
    if inspector:
        page.get_by_role("tab", name="Inspector").click()
        page.get_by_role("button", name="Inspect the picture").click()
        expect(page.locator("#inspected")).to_be_visible()


def inspected(server: Server, **options: Any) -> dict[str, Any]:
    body = {"model": "scenes", "messages": image_message(Image.open(PICTURE), PROMPT), "eah": options}
    status, text = server.post("/v1/eah/inspect", body)
    assert status == 200, text
    reply: dict[str, Any] = json.loads(text)
    return reply


def cell(page: Page, layer: int, head: int) -> Any:
    return page.locator(f'td[data-layer="{layer}"][data-head="{head}"]')


def test_the_grid_is_what_the_server_says_and_a_cell_can_be_used(page: Page, server: Server) -> None:
    visit(page, server, inspector=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    thresholds = [0.188, 3.0, 48.0]  # the least, the middle and the greatest of the slider, which rounds them
    replies = inspected(server, relative_thresholds=thresholds)
    slider = page.get_by_label("Threshold of a vision sink")
    for at, (value, place) in enumerate(zip(thresholds, (0, 8, 16), strict=True)):
        slider.fill(str(place))
        expect(page.locator("#threshold-said")).to_contain_text(f"{value:g} \u00d7 1/S")
        for layer in replies["layers"]:
            for one in layer["heads"]:
                name = f"Layer {layer['layer']}, head {one['head']}: {one['sinks'][at]} of 144 image tokens are sinks."
                source = " EAH takes this head." if layer["source_head"][at] == one["head"] else ""
                assert cell(page, layer["layer"], one["head"]).get_attribute("aria-label") == name + source
    assert asked == [], "the slider asks nobody"
    slider.fill("8")
    cell(page, 2, 1).hover()
    received = inspected(server, relative_thresholds=[3.0], layer=2, head=1)["map"]["images"][0]["tiles"][0]["received"]
    row, column = divmod(max(range(144), key=received.__getitem__), 12)
    expect(page.locator("#cell-said")).to_contain_text(f"row {row + 1}, column {column + 1}")
    cell(page, 4, 5).click()
    expect(page.locator("#compare-said")).to_have_text("Answer B uses head 5 of layer 4.")
    expect(page.locator('[data-side="1"] summary')).to_have_text("Options: layer 4, head 5")
    ask(page)
    sinks = next(one for one in replies["layers"] if one["layer"] == 4)["heads"][5]["sinks"][1]
    expect(page.locator('[data-side="1"] .report')).to_contain_text(f"Head 5 of layer 4 saw {sinks} of 144")


def test_keys_alone_move_through_the_grid_and_use_a_head(page: Page, server: Server) -> None:
    visit(page, server)
    page.get_by_role("tab", name="Compare").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Inspector")).to_be_focused()
    page.get_by_role("button", name="Inspect the picture").focus()
    page.keyboard.press("Enter")
    cell(page, 0, 0).focus()
    for key, layer, head in [("ArrowRight", 0, 1), ("ArrowDown", 1, 1), ("End", 1, 7), ("ArrowRight", 1, 7)]:
        page.keyboard.press(key)
        expect(cell(page, layer, head)).to_be_focused()
    expect(page.locator("#cell-said")).to_contain_text("Layer 1, head 7: ")
    expect(page.locator("#cell-said")).to_contain_text("Most attention goes to")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Ask for both")).to_be_focused()
    expect(page.locator("#compare-said")).to_have_text("Answer B uses head 7 of layer 1.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(page: Page, server: Server, scheme: Any, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    visit(page, server)
    ask(page)
    page.locator('[data-side="1"] summary').click()
    page.get_by_text("Sampling").click()
    found = [("compare", Axe().run(page))]
    page.get_by_role("button", name="Share link").click()
    found.append(("dialog", Axe().run(page)))
    page.get_by_role("button", name="Close").click()
    page.get_by_role("tab", name="Inspector").click()
    page.get_by_role("button", name="Inspect the picture").click()
    cell(page, 2, 1).hover()
    expect(page.locator("#cell-said")).to_contain_text("Most attention goes to")
    found.append(("inspector", Axe().run(page)))
    problems = [
        (part, one["id"], one["nodes"][0]["html"]) for part, result in found for one in result.response["violations"]
    ]
    assert problems == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"


def test_chinese(page: Page, server: Server) -> None:
    visit(page, server)
    ask(page)
    page.get_by_label("Language").select_option("zh")
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    expect(page.locator('[data-side="1"] .report')).to_contain_text("第 2 层的头 1 把 144 个图像词元中的 27 个")
    expect(page.locator('[data-side="0"] .only')).to_contain_text("and、white、cloud")
    page.reload()
    expect(page.get_by_role("button", name="同时提问")).to_be_visible()
    expect(page.get_by_role("tab", name="检视器")).to_be_visible()


def test_the_page_is_small(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/playground")
    expect(page.locator("#sides .side")).to_have_count(2)
    sizes = "performance.getEntries().reduce((sum, entry) => sum + (entry.transferSize ?? 0), 0)"
    assert 50_000 < page.evaluate(sizes) < 150_000
