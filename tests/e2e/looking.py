"""What a person would see on the page: its texts, its numbers, the colours of its canvases."""

import json
import urllib.request
from typing import Any

from playwright.sync_api import Page


def get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/api/now", timeout=5) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def text(page: Page, selector: str) -> str:
    return page.locator(selector).first.inner_text()


def figures(page: Page) -> dict[str, str]:
    return dict(zip(page.locator("#figures dt").all_inner_texts(), page.locator("#figures dd").all_inner_texts(), strict=True))


def events(page: Page) -> list[str]:
    return page.locator("#events li").all_inner_texts()


def pixels(page: Page, selector: str, then: str, argument: str = "") -> Any:
    """What comes of a canvas's pixels, each a whole number."""
    script = f"""(canvas, argument) => {{
        const pen = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {{ willReadFrequently: true }});
        pen.drawImage(canvas, 0, 0);
        const pixels = new Uint32Array(pen.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
        {then}
    }}"""
    return page.locator(selector).first.evaluate(script, argument)


def colours(page: Page, selector: str) -> int:
    """How many different colours a canvas has."""
    return int(pixels(page, selector, "return new Set(pixels).size;"))


def has_colour(page: Page, selector: str, variable: str) -> bool:
    """Whether a canvas has a pixel of a colour of the theme."""
    then = """
        pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(argument);
        pen.fillRect(0, 0, 1, 1);
        return pixels.includes(new Uint32Array(pen.getImageData(0, 0, 1, 1).data.buffer)[0]);
    """
    return bool(pixels(page, selector, then, variable))


def is_wider_than_its_window(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def nameless(page: Page) -> list[str]:
    """What a screen reader would meet without being told what it is."""
    script = """() => [...document.querySelectorAll("button, select, img, [role=img], [role=progressbar], [tabindex]")]
        .filter(it => !it.ariaLabel && !it.labels?.length && !it.hasAttribute("aria-labelledby") && !it.closest("[hidden]"))
        .map(it => it.outerHTML.slice(0, 80))"""
    return list(page.evaluate(script))
