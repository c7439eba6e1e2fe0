"""Takes the pictures in docs/screenshots: python -m tests.browser.screenshots.

The demo of `up` runs, with a batch beside it. Each page is taken at a width of 1,200 px, one at the
width of a phone, one in the dark scheme. A drawn image replaces the media of results.
"""

import struct
import sys
import tempfile
import uuid
import zlib
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, Route, sync_playwright

from tests.browser.png_palette import shrink, write_png
from tests.browser.running_site import RunningSite, find_chromium, running

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
WIDTH, PHONE_WIDTH = 1_200, 390
MAX_HEIGHT = 1_300
TALL = {"overview": 2_300, "overview-dark": 2_300}
MAX_BYTES = 150_000
BATCH_S = 45
"""Seconds that a batch is enqueued, so that the charts have data."""


def main() -> int:
    """Take every picture."""
    path = find_chromium()
    if path is None:
        print("no Chromium is installed, or set CHROMIUM", file=sys.stderr)  # noqa: T201
        return 1
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), tokens=False, demo=True) as site,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        site.program.until(r"Still running", within_s=90)
        names = _run_demo_batch(site, browser)
        for name, path in _shots(names).items():
            _take(browser, site, name, path)
        browser.close()
    return 0


def _run_demo_batch(site: RunningSite, browser: Browser) -> dict[str, str]:
    """Run a batch of about 150 jobs; returns the jobs to take pictures of, by purpose."""
    batch = "autumn-catalogue"
    page = browser.new_page()
    page.goto(site.url)
    for _ in range(BATCH_S):
        for target in ("gpt-image-2", "suno", "seedance-2-0"):
            site.enqueue(target, batch=batch, knobs={"duration_s": 2})
        page.wait_for_timeout(1_000)
    for n in range(6):
        shot = {"product_image": None} if n % 2 else {}
        site.enqueue("product-shots", kind="workflow", batch=batch, inputs=shot)
    done = site.enqueue("my-pipeline", kind="workflow", batch=batch, knobs={"duration_s": 3})
    fails = {"fault": "EXECUTION_FAILED", "times": 1, "duration_s": 3}
    retried = site.enqueue(
        "my-pipeline",
        kind="workflow",
        id=f"film-{uuid.uuid4().hex[:6]}",
        batch=batch,
        tags=["autumn", "film"],
        knobs=fails,
    )
    site.until(done, "succeeded")
    site.until(retried, "succeeded")
    dead = site.api("GET", "/v1/jobs?state=dead&code=INVALID_INPUTS&limit=1")["items"][0]["id"]
    page.close()
    return {"done": retried, "dead": dead}


def _shots(jobs: dict[str, str]) -> dict[str, str]:
    return {
        "overview": "/?window=5m",
        "overview-dark": "/?window=5m",
        "jobs": "/jobs?batch=autumn-catalogue",
        "job": f"/jobs/{jobs['done']}",
        "parked": "/parked",
        "parked-phone": "/parked",
        "dead": "/dead",
        "requeue": f"/jobs/{jobs['dead']}/requeue",
        "bulk": "/dead?code=INVALID_INPUTS",
        "holds": "/holds",
        "batches": "/batches",
        "credits": "/credits?days=7",
        "audit": "/audit",
    }


def _take(browser: Browser, site: RunningSite, name: str, path: str) -> None:
    width = PHONE_WIDTH if name.endswith("-phone") else WIDTH
    context: BrowserContext = browser.new_context(
        base_url=site.url,
        viewport={"width": width, "height": 800},
        color_scheme="dark" if name.endswith("-dark") else "light",
    )
    page = context.new_page()
    page.route("https://cdn.knouds.example/**", _serve_media)
    page.goto(path)
    _prepare(page, name)
    page.wait_for_timeout(700)
    height = min(TALL.get(name, MAX_HEIGHT), page.evaluate("document.documentElement.scrollHeight"))
    page.set_viewport_size({"width": width, "height": height})
    file = FOLDER / f"{name}.png"
    png = page.screenshot()
    blank = browser.new_page()
    file.write_bytes(shrink(blank, png))
    blank.close()
    context.close()
    size = file.stat().st_size
    print(f"{file.name:22} {width} x {height} {size / 1_000:6.0f} kB")  # noqa: T201
    if size > MAX_BYTES:
        raise SystemExit(f"{file.name} is larger than {MAX_BYTES} bytes")


def _prepare(page: Page, name: str) -> None:
    """Fill in forms before the picture is taken."""
    if name == "requeue":
        page.get_by_label("JSON merge patch").fill('{"product_image": "https://example.com/1.png"}')
        page.get_by_role("button", name="Preview changes").click()
        page.locator(".diff").wait_for()
    if name == "bulk":
        page.locator("input[name=scope][value=all]").check()
        page.locator("fieldset.bulk summary").click()
        page.locator("#bulk-patch").fill('{"product_image": "https://example.com/shoe.png"}')
        page.locator("fieldset.bulk").get_by_role("button", name="Requeue").click()
        page.locator("#progress-text").wait_for()


def _serve_media(route: Route) -> None:
    if route.request.url.endswith(".png"):
        route.fulfill(body=picture(320, 200), content_type="image/png")
    else:
        route.abort()


def picture(width: int, height: int) -> bytes:
    """A drawn landscape as PNG."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            hill = height * 0.62 + 18 * ((x // 4 * 7919) % 13) / 13 - abs(x - width / 2) / 5
            down = y / height
            rows += (
                bytes((int(40 + 60 * down), int(96 + 40 * down), 70))
                if y > hill
                else bytes((int(250 - 120 * down), int(190 - 40 * down), int(120 + 110 * down)))
            )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return write_png((b"IHDR", head), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))


if __name__ == "__main__":
    sys.exit(main())
