"""The playground in a real browser, against the real server of the built-in model, which wants a key."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser.visit import LONG, answers, ask, copied, enter, open_page, pick_example, sample
from tools import ROOT
from tools.serving import API_KEY, Server, image_message

PICTURE = ROOT / "docs" / "images" / "scene-60.png"
# A link by which a value that the page shows nowhere would be sent.
UNSEEN = "#s=" + json.dumps(
    {"prompt": "", "model": "", "example": "", "sampling": {"top_k": 1}, "sides": [{"mode": "off", "options": {}}] * 2}
)
PROMPT = "Please describe this image in detail."
GREEDY = {"model": "scenes", "temperature": 0, "max_tokens": 256}


@pytest.fixture(scope="module")
def server(browser: Browser) -> Iterator[Server]:
    """One server for all tests; the browser is asked for first, since without one no server is needed."""
    with Server() as server:
        yield server


def answer(server: Server, **fields: Any) -> tuple[int, dict[str, Any]]:
    """Status and reply of the server itself to what the page asks."""
    status, text = server.post(
        "/v1/chat/completions", GREEDY | {"messages": image_message(Image.open(PICTURE), PROMPT)} | fields
    )
    return status, json.loads(text)


def said(reply: dict[str, Any]) -> str:
    return str(reply["choices"][0]["message"]["content"]).strip()


def test_two_answers_side_by_side(page: Page, server: Server) -> None:
    open_page(page, server)
    pick_example(page)
    shown = ask(page)
    replies = [answer(server)[1], answer(server, eah={"report": True})[1]]
    assert shown == [said(reply) for reply in replies]
    assert shown[0] != shown[1], "EAH changed nothing"
    assert page.locator("mark").all_inner_texts() == ["and", "white", "cloud"], "the words that only A says"
    expect(page.locator('[data-side="0"]')).to_contain_text("Said only here: and, white, cloud")
    layer = replies[1]["eah"]["layers"][0]
    sentence = f"Head {layer['head']} of layer {layer['layer']} saw {layer['sinks']} of {layer['image_tokens']}"
    expect(page.locator('[data-side="1"] .report')).to_contain_text(f"{sentence} image tokens as sinks")
    for at, reply in enumerate(replies):
        facts = page.locator(f'[data-side="{at}"] [data-fact]').all_inner_texts()
        assert re.fullmatch(r"[\d.]+ s", facts[0]), facts
        assert re.fullmatch(r"[\d.,]+ tokens/s", facts[1]), facts
        assert facts[2] == f"{reply['usage']['completion_tokens']} tokens"


def test_a_setting_changes_what_is_done_and_the_servers_errors_are_its_own_words(page: Page, server: Server) -> None:
    open_page(page, server)
    pick_example(page)
    page.locator('[data-side="1"] summary').click()
    layer = page.locator('[data-side="1"]').get_by_label("layer", exact=True)
    expect(page.locator('[data-side="1"] .options')).to_contain_text("This server's default: 2.")
    layer.fill("1, 3")
    ask(page)
    report = answer(server, eah={"layer": [1, 3], "report": True})[1]["eah"]["layers"]
    lines = page.locator('[data-side="1"] .report li').all_inner_texts()
    assert [f"Head {one['head']} of layer {one['layer']}" for one in report] == [
        re.findall(r"^Head \d+ of layer \d+", line)[0] for line in lines
    ]
    layer.fill("99")
    page.get_by_role("button", name="Ask for both").click()
    status, refused = answer(server, eah={"layer": 99, "report": True})
    assert status == 400
    expect(page.locator('[data-side="1"] [role="alert"]')).to_have_text(
        f"The server says (400): {refused['error']['message']}"
    )
    expect(page.locator('[data-side="0"] .facts')).to_be_visible()


def test_an_answer_can_be_checked(page: Page, server: Server) -> None:
    open_page(page, server)
    pick_example(page)
    page.get_by_role("combobox", name="Answer A").select_option("verify")
    page.get_by_role("combobox", name="Answer B").select_option("verify")
    page.locator('[data-side="1"] summary').click()
    page.locator('[data-side="1"]').get_by_label("action", exact=True).select_option("rewrite")
    shown = ask(page)
    assert shown == [said(answer(server)[1]), said(answer(server, verify={"action": "rewrite"})[1])]
    for at in (0, 1):
        expect(page.locator(f'[data-side="{at}"] .report')).to_contain_text("denies: cloud")
    expect(page.locator('[data-side="1"] .report')).to_contain_text("was taken out of the answer")


def test_a_wrong_key_is_asked_for_again(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/playground")
    notice = page.locator("#notice")
    expect(notice).to_have_text("The server says (401): Unauthorized")
    expect(page.get_by_label("API key")).to_be_focused()
    enter(page, "wrong")
    expect(notice).to_have_text("The server says (401): Unauthorized")
    expect(page.locator("#sides .side")).to_have_count(0)
    enter(page, API_KEY)
    expect(page.locator("#sides .side")).to_have_count(2)
    expect(notice).to_be_hidden()
    expect(page.get_by_label("API key")).to_be_hidden()


def test_stop_leaves_what_has_come(page: Page, server: Server) -> None:
    open_page(page, server)
    pick_example(page)
    sample(page, **LONG)
    run, stop = page.get_by_role("button", name="Ask for both"), page.get_by_role("button", name="Stop")
    run.focus()
    page.keyboard.press("Enter")
    expect(stop).to_be_focused()
    expect(page.locator('[data-side="0"] .answer')).not_to_contain_text("Waiting")
    page.keyboard.press("Enter")
    expect(page.locator("#compare-said")).to_have_text("Stopped.")
    expect(run).to_be_focused()
    assert answers(page)[0] not in ("", "No answer yet.")
    expect(page.locator('[data-side="0"] [role="alert"]')).to_be_hidden()


def test_a_link_restores_the_settings_and_holds_no_key(page: Page, server: Server) -> None:
    open_page(page, server)
    pick_example(page, 2)
    page.get_by_role("textbox", name="Prompt", exact=True).fill('Is there a "boat" & 船?')
    page.get_by_role("combobox", name="Answer A").select_option("eah+verify")
    page.locator('[data-side="1"] summary').click()
    page.locator('[data-side="1"]').get_by_label("min_density").fill("0.25")
    sample(page, max_tokens="5")
    page.get_by_role("button", name="Share link").click()
    link = page.locator("#snippet-text").inner_text()
    assert API_KEY not in link
    page.goto("about:blank")
    open_page(page, server, link.removeprefix(f"{server.url}/playground"))
    expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value('Is there a "boat" & 船?')
    expect(page.get_by_role("combobox", name="Answer A")).to_have_value("eah+verify")
    expect(page.locator('[data-side="1"] summary')).to_have_text("Options: min_density 0.25")
    expect(page.locator("#picture-said")).to_contain_text("scene-91.png")
    expect(page.get_by_role("button", name="Example picture 2")).to_have_attribute("aria-pressed", "true")
    ask(page)
    expect(page.locator('[data-side="0"] [data-fact="length"]')).to_have_text("5 tokens")


@pytest.mark.parametrize("tail", ["#s=%7B", "#s=null", "#s=%7B%22prompt%22%3A3%7D", "#s=%", UNSEEN])
def test_a_broken_link_is_said_to_be_one(page: Page, server: Server, tail: str) -> None:
    page.goto(f"{server.url}/playground{tail}")
    expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value(PROMPT)
    enter(page, API_KEY)
    expect(page.locator("#notice")).to_contain_text("The link's settings could not be read")


def test_the_snippets_ask_for_the_same(page: Page, server: Server, tmp_path: Path) -> None:
    (tmp_path / PICTURE.name).write_bytes(PICTURE.read_bytes())
    open_page(page, server)
    pick_example(page)
    page.get_by_role("textbox", name="Prompt", exact=True).fill(
        """What's "this"? \\n $HOME `touch made` $(touch made)\nEOF\n'"'"""
    )
    shown = ask(page)
    environment = os.environ | {"API_KEY": API_KEY}
    for at, expected in enumerate(shown):
        command = copied(page, at, "Copy as curl")
        program = copied(page, at, "Copy as Python")
        assert API_KEY not in command + program
        run = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "check": True}
        reply = json.loads(subprocess.run(["bash", "-c", command], **run).stdout)
        assert said(reply) == expected
        assert ("eah" in reply) == bool(at)
        printed = subprocess.run([sys.executable, "-c", program], **run).stdout
        assert printed.strip().startswith(expected)
    assert [file.name for file in tmp_path.iterdir()] == [PICTURE.name], "a prompt was run as a command"


GIVE = """([data, how]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], `${how}.png`, {type: "image/png"}));
  const event = how === "drop" ? new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true})
    : new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true});
  document.body.dispatchEvent(event);
}"""


def test_a_picture_is_picked_taken_dropped_or_pasted(page: Page, server: Server) -> None:
    open_page(page, server)
    data = image_message(Image.open(PICTURE))[0]["content"][0]["image_url"]["url"].split(",")[1]
    for field in ("#choose", "#take"):
        page.locator(field).set_input_files(
            {"name": f"{field[1:]}.png", "mimeType": "image/png", "buffer": PICTURE.read_bytes()}
        )
        expect(page.locator("#picture-said")).to_contain_text(f"{field[1:]}.png")
    assert page.locator("#take").get_attribute("capture") == "environment"
    for how in ("drop", "paste"):
        page.evaluate(GIVE, [data, how])
        expect(page.locator("#picture-said")).to_contain_text(f"{how}.png")
    assert ask(page)[0] == said(answer(server)[1])
    page.locator("#choose").set_input_files({"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.locator("#picture-said")).to_contain_text("no.png")
    page.get_by_role("button", name="Ask for both").click()
    expect(page.locator('[data-side="0"] [role="alert"]')).to_contain_text("The server says (400): ")


def test_the_server_is_restarted_in_the_middle_of_an_answer(page: Page, server: Server) -> None:
    """This test is the last one: it leaves a server behind that is not the fixture's."""
    open_page(page, server)
    pick_example(page)
    expected = ask(page)
    sample(page, **LONG)
    page.get_by_role("button", name="Ask for both").click()
    expect(page.locator('[data-side="0"] .answer')).not_to_contain_text("Waiting")
    os.killpg(server.pid, signal.SIGKILL)
    for at in (0, 1):
        alert = page.locator(f'[data-side="{at}"] [role="alert"]')
        expect(alert).to_contain_text("The connection to the server was lost")
    expect(page.locator("#compare-said")).to_contain_text("Not every answer came to its end")
    page.get_by_role("button", name="Ask for both").click()
    expect(page.locator('[data-side="0"] [role="alert"]')).to_contain_text("or it is not running")
    sample(page, min_tokens="", max_tokens="256")
    with Server(port=server.port):
        assert ask(page) == expected
