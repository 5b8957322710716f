"""The book works: links, search, tabs, pictures, colours, and narrow screens.

`nox -s docs docs-test` builds it and runs these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest

SITE = Path(__file__).parents[2] / "docs" / "_build" / "html"
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html"))
PHONE = {"width": 390, "height": 844}
# Of Sphinx: no text of ours, and as long as the book.
LISTS = {"genindex.html", "py-modindex.html", "search.html"}


class _Reader(HTMLParser):
    """Collects what a page links to, its anchors, and its pictures."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if found.get("id"):
            self.anchors.add(found["id"])
        if tag == "img":
            self.pictures.append(found)
        for name in ("href", "src"):
            if found.get(name) and not (tag == "link" and found.get("rel") == "search"):
                self.links.append(found[name])


@pytest.fixture(scope="module")
def pages() -> dict[str, _Reader]:
    return {name: _Reader((SITE / name).read_text("utf-8")) for name in PAGES}


def test_there_is_a_book():
    assert "index.html" in PAGES
    assert "api/linen/module.html" in PAGES
    assert "start/quickstart.html" in PAGES


def test_no_link_is_dead(pages):
    dead = []
    for name, page in pages.items():
        for link in page.links:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            path, anchor = urldefrag(urljoin(name, link))
            path = unquote(path.partition("?")[0]) or name
            if path.endswith("/"):
                path += "index.html"
            if (
                not (SITE / path).is_file()
                or path in pages
                and anchor
                and unquote(anchor) not in pages[path].anchors
            ):
                dead.append(f"{name}: {link}")
    assert not dead


def test_every_picture_has_a_text(pages):
    without = [
        f"{name}: {picture.get('src', '')[:60]}"
        for name, page in pages.items()
        for picture in page.pictures
        if not (picture.get("alt") or "").strip()
        # What MyST-NB writes for a picture that was given no text is its file's name.
        or re.search(r"\.(png|svg|jpe?g)$", picture["alt"] or "")
    ]
    assert not without


def test_no_page_shows_where_it_was_made():
    here = [str(SITE.parents[2]), "/site-packages/"]
    shown = [
        f"{name}: {place}" for name in PAGES for place in here if place in _text(name)
    ]
    assert not shown


def _text(name: str) -> str:
    return re.sub(r"<[^>]*>", "", (SITE / name).read_text("utf-8"))


OUTPUT = re.compile(r'<div class="output text_html">.*?</div>', re.S)
DRAWING = re.compile(r"<svg.*?</svg>", re.S)


@pytest.mark.parametrize("name", PAGES)
def test_drawings_within_pages_have_a_text(name):
    outputs = OUTPUT.findall((SITE / name).read_text("utf-8"))
    for drawing in DRAWING.findall("".join(outputs)):
        assert re.search(r"<title>\s*\S|aria-label=\"[^\"]+\"", drawing)


def test_every_page_that_runs_can_be_had_as_a_notebook(pages):
    without = [
        name
        for name, page in pages.items()
        if 'class="cell docutils' in (SITE / name).read_text("utf-8")
        and not any(link.endswith(".ipynb") for link in page.links)
    ]
    assert not without


# What a page shows, to each text's colour and what is behind it.
CONTRAST = """() => {
  const channels = (text) => {
    const m = text.match(/rgba?\\(([^)]+)\\)/);
    if (!m) return [0, 0, 0, 0];
    const v = m[1].split(/[ ,\\/]+/).map(Number);
    return [v[0], v[1], v[2], v.length > 3 ? v[3] : 1];
  };
  const over = (top, below) => top.slice(0, 3).map(
    (c, i) => c * top[3] + below[i] * (1 - top[3]));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => {
      c /= 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const c = channels(getComputedStyle(e).backgroundColor);
      if (c[3] > 0) layers.push(c);
      if (c[3] === 1) break;
    }
    let colour = [255, 255, 255];
    for (const layer of layers.reverse()) colour = over(layer, colour);
    return colour;
  };
  const bad = new Map();
  const walker = document.createTreeWalker(
    document.querySelector('.page'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility({opacityProperty: true,
        visibilityProperty: true})) continue;
    if (element.closest('svg, math, script, style')) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    const ink = over(channels(style.color), ground);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) {
      const key = `${element.tagName}.${element.className} ${style.color}`;
      const words = node.textContent.trim().slice(0, 30);
      bad.set(key, `${ratio.toFixed(2)} ${key} on ${ground}: ${words}`);
    }
  }
  return [...bad.values()];
}"""


@dataclass
class Seen:
    """What was seen of all pages."""

    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    wide: list[str] = field(default_factory=list)
    faint: dict[str, list[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def seen(browser, address) -> Seen:
    """Opens every page on a phone, in both themes."""
    found = Seen()
    context = browser.new_context(base_url=address, viewport=PHONE)
    page = context.new_page()
    page.on(
        "console",
        lambda m: (
            found.complaints.append(f"{page.url}: {m.text}")
            if m.type in ("error", "warning")
            else None
        ),
    )
    page.on("pageerror", lambda e: found.complaints.append(f"{page.url}: {e}"))

    def note(request):
        if not request.url.startswith((address, "data:", "blob:")):
            found.foreign.append(f"{page.url}: {request.url}")

    page.on("request", note)
    for name in PAGES:
        page.goto(name)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            found.wide.append(f"{name}: {width}")
        if name in LISTS:
            continue
        for theme in ("light", "dark"):
            page.add_style_tag(content="* { transition: none !important; }")
            page.evaluate(f"document.body.dataset.theme = '{theme}'")
            for line in page.evaluate(CONTRAST):
                found.faint.setdefault(f"{theme}: {line}", []).append(name)
    context.close()
    return found


def test_no_page_makes_the_browser_complain(seen):
    assert not seen.complaints


def test_nothing_comes_from_another_host(seen):
    assert not seen.foreign


def test_no_page_is_wider_than_a_phone(seen):
    assert not seen.wide


def test_text_is_readable_in_light_and_in_dark(seen):
    assert not seen.faint


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("nn.scan", "api/linen/transformations.html#nn-scan"),
        ("BatchNorm", "api/linen/layers/normalization.html#batiste.linen.BatchNorm"),
        ("save_checkpoint", "api/training/checkpoints.html"),
    ],
)
def test_search_finds(page, words, place):
    page.goto("index.html")
    field = page.locator("input.sidebar-search").first
    field.fill(words)
    field.press("Enter")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function(
        "!document.querySelector('#search-progress')?.textContent.trim()"
        " || document.querySelectorAll('#search-results li').length > 0"
    )
    links = page.locator("#search-results li a").evaluate_all("x => x.map(a => a.href)")
    assert any(place in link for link in links[:5]), links[:10]


def test_tabs_switch(page):
    page.goto("start/install.html")
    label = page.locator(".sd-tab-set > label", has_text="linen").first
    text = page.get_by_text("Modules and layers. Needs core, spmd and rich.")
    assert not text.is_visible()
    label.click()
    assert text.is_visible()


def test_the_theme_switches(page):
    page.goto("index.html")
    colours = set()
    for _ in range(3):
        page.locator(".theme-toggle-content button.theme-toggle").first.click()
        colours.add(
            page.evaluate("getComputedStyle(document.body).backgroundColor"),
        )
    assert len(colours) == 2


def test_a_phone_has_the_contents_behind_a_button(page):
    page.set_viewport_size(PHONE)
    page.goto("start/install.html")
    entry = page.locator(".sidebar-tree a", has_text="Quickstart").first
    assert not entry.is_visible() or entry.bounding_box()["x"] < 0
    page.locator("label.nav-overlay-icon").first.click()
    page.wait_for_function(
        "document.querySelector('.sidebar-drawer').getBoundingClientRect().left >= 0"
    )
    assert entry.bounding_box()["x"] >= 0


def test_code_can_be_copied(page):
    page.goto("start/quickstart.html")
    assert page.locator("button.copybtn").count() > 3
