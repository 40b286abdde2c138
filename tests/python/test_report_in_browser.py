"""The report page in headless Chromium: silent, asking for nothing, readable without JavaScript, and never wider than the screen."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from cli_models import METADATA, compressed_graph
from lutra import page
from lutra.dataset import make_dataset
from lutra.page import gathering
from lutra_compiler.driver import Model
from page_checks import Page

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
WIDTHS = (360, 390, 768, 1280)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
SILENT = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps",
)  # fmt: skip
pytestmark = [
    pytest.mark.usefixtures("host_cache"),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not here; install it (Debian: apt-get install chromium) to test pages in it"),
]


@dataclass(frozen=True)
class Visit:
    """What the browser made of a page: its elements when it had loaded, messages on the console, and what the page asked for."""

    dom: str
    console: tuple[str, ...]
    requests: tuple[str, ...]


def chromium(content: str, folder: Path, *options: str, scripts: bool = True) -> subprocess.CompletedProcess[str]:
    """Load a page from a file."""
    settings = folder / "profile/Default/Preferences"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"profile": {"default_content_setting_values": {"javascript": 1 if scripts else 2}}}))
    (folder / "page.html").write_text(content)
    assert CHROMIUM is not None
    command = [CHROMIUM, *SILENT, f"--user-data-dir={folder / 'profile'}", *options, (folder / "page.html").as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def visit(content: str, folder: Path) -> Visit:
    """Load a page and hear it. Requests of the browser itself, which have no page as their origin, are left out."""
    done = chromium(
        content, folder, f"--log-net-log={folder / 'net.json'}", "--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom"
    )  # fmt: skip
    events = [event.get("params") or {} for event in json.loads((folder / "net.json").read_text())["events"]]
    asked = {event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin" and "url" in event}
    console = tuple(line for line in done.stderr.splitlines() if ":CONSOLE:" in line)
    return Visit(done.stdout, console, tuple(sorted(asked)))


def picture(content: str, folder: Path, *options: str, scripts: bool = True) -> npt.NDArray[np.uint8]:
    """A page as it is seen on a phone."""
    chromium(content, folder, "--window-size=390,4000", f"--screenshot={folder / 'page.png'}", *options, scripts=scripts)
    with Image.open(folder / "page.png") as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Of LeNet-5 with samples, of ResNet-20, of a model without anything, and of one whose names are hostile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "can_measure", lambda: False)
        images = np.random.default_rng(0).normal(size=(200, 1, 28, 28)).astype(np.float32)
        data = make_dataset(images, np.random.default_rng(1).integers(10, size=200))
        name = '<script>document.title="taken"</script><img src="http://127.0.0.1:9/x.png" onerror="console.error(1)">' + "W" * 300
        return {
            "lenet5": page.render(page.gather("zoo:lenet5", page.Question(board="microbit"), data=data)),
            "resnet20": page.render(page.gather("zoo:resnet20", page.Question(board="mps2-an386"))),
            "little": page.render(page.gather(Model(compressed_graph(), {}), page.Question(flash=1))),
            "hostile": page.render(page.gather(Model(compressed_graph(), {**METADATA, "network": name, name: name}), page.Question())),
        }


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "little", "hostile"])
def test_a_page_is_silent_and_asks_for_nothing(pages: dict[str, str], name: str, tmp_path: Path) -> None:
    found = visit(pages[name], tmp_path / "visit")
    assert (found.console, found.requests) == ((), ())
    assert len(pages[name].encode()) < 2_000_000
    assert Page(pages[name]).text == Page(found.dom).text  # nothing was added, and nothing was mended


def test_the_browser_would_tell(tmp_path: Path) -> None:
    found = visit('<!doctype html><img src="http://127.0.0.1:9/x.png"><script>console.error("heard")</script>', tmp_path / "visit")
    assert "heard" in found.console[0]
    assert found.requests == ("http://127.0.0.1:9/x.png",)


def test_a_page_looks_the_same_without_scripts(pages: dict[str, str], tmp_path: Path) -> None:
    without = picture(pages["lenet5"], tmp_path / "without", scripts=False)
    assert np.array_equal(without, picture(pages["lenet5"], tmp_path / "with"))
    assert (without.std(axis=(1, 2)) > 10).sum() > 1000  # rows of pixels with something on them
    painted = "<!doctype html><script>document.documentElement.style.background = 'black'</script>"
    assert picture(painted, tmp_path / "painted").max() == 0
    assert picture(painted, tmp_path / "not painted", scripts=False).min() == 255


def test_a_page_is_dark_where_the_screen_is(pages: dict[str, str], tmp_path: Path) -> None:
    light, dark = (picture(pages["little"], tmp_path / str(scheme), f"--blink-settings=preferredColorScheme={scheme}") for scheme in (1, 0))
    assert np.median(light) > 240
    assert np.median(dark) < 30


@pytest.mark.parametrize("name", ["lenet5", "little", "hostile"])
def test_a_page_is_no_wider_than_the_screen(pages: dict[str, str], name: str, tmp_path: Path) -> None:
    assert POLICY.search(pages[name])
    inner = html.escape(POLICY.sub("", pages[name]), quote=True)
    frames = "".join(f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{inner}"></iframe>' for width in WIDTHS)
    measure = """<script>addEventListener("load", () => {
        document.title = [...document.querySelectorAll("iframe")].map(f => f.contentDocument.documentElement.scrollWidth).join(" ");
    })</script>"""
    found = visit(f"<!doctype html>{frames}{measure}", tmp_path / "visit")
    title = re.findall(r"<title>([\d ]+)</title>", found.dom)[-1]
    assert [int(width) for width in title.split()] == list(WIDTHS)
