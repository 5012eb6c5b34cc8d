"""What a visitor does on the page, in a few words each."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tools.serving import API_KEY, Server

LONG = {"min_tokens": "300", "max_tokens": "300"}
"""An answer of some seconds, so that its middle can be met; of its own accord the model ends after one."""


def open_page(page: Page, server: Server, tail: str = "", key: str = API_KEY) -> None:
    """Open the page and enter the key that its server asks for."""
    page.goto(f"{server.url}/playground{tail}")
    enter(page, key)
    expect(page.locator("#sides .side")).to_have_count(2)


def enter(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use this key").click()


def pick_example(page: Page, number: int = 1) -> None:
    page.get_by_role("button", name=f"Example picture {number}").click()
    expect(page.locator("#picture-said")).to_contain_text("scene-")


def ask(page: Page) -> list[str]:
    """Ask for both answers and return them once both are complete."""
    page.get_by_role("button", name="Ask for both").click()
    expect(page.locator("#compare-said")).to_contain_text("Both answers are complete")
    return answers(page)


def answers(page: Page) -> list[str]:
    return [text.strip() for text in page.locator(".answer").all_inner_texts()]


def sample(page: Page, **values: str) -> None:
    """Set how both answers are sampled."""
    if not page.locator("#sampling").is_visible():
        page.get_by_text("Sampling").click()
    for name, value in values.items():
        page.get_by_label(name, exact=True).fill(value)


def copied(page: Page, at: int, button: str) -> str:
    """Return the text that a side's button shows to be copied."""
    page.locator(f'[data-side="{at}"]').get_by_role("button", name=button).click()
    text = page.locator("#snippet-text").inner_text()
    page.get_by_role("button", name="Close").click()
    return text
