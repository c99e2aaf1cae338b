"""The page of a run: valid HTML that stands alone, names as text, its own numbers, rules as stated."""

from __future__ import annotations

import base64
import copy
import io
import itertools
import math
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerator import pretended
from matplotlib.figure import Figure
from PIL import Image
from test_cli import succeed

from pyrovae import plots, verdicts
from pyrovae.config import dump, resolve
from pyrovae.data import Split
from pyrovae.importance import FEWEST_DRAWS, TOLERATED_SHARE
from pyrovae.page import _number, page, some
from pyrovae.plots._style import BLUE
from pyrovae.quantities import Findings, Histogram, Mean, Quantity
from pyrovae.run import Run

VOID = {"meta", "img", "br", "hr", "input", "link"}
SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "network": {"name": "mlp", "hidden": [8]},
    "data": {"limit": 60},
    "train": {"epochs": 1, "watch": 0},
}
SCRIPT = "<script>alert(1)</script>"


def trained(path: Path | None = None, **changes: Any) -> Run:
    """A run on a few digits."""
    run = Run.start(resolve(SMALL, changes), path=path)
    assert run.prepared is not None
    list(run.train())
    return run


def rows_of(run: Run, n: int = 40) -> Split:
    assert run.prepared is not None
    return run.prepared.dataset.test.take(torch.arange(n)).drawn()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs") / "<b>bold")


@pytest.fixture(scope="module")
def rows(run: Run) -> Split:
    return rows_of(run)


PIXEL = plots.png(Figure(figsize=(0.1, 0.1)))


@pytest.fixture
def pictures() -> None:
    """Pictures are drawn in this test; elsewhere they are empty: drawing takes most of the time."""


@pytest.fixture(autouse=True)
def _empty_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(plots, "png", lambda figure: PIXEL)


def drawn(run: Run, rows: Split) -> str:
    assert run.prepared is not None
    train = run.prepared.dataset.train.drawn()
    return page(run, rows, train=train, name=f"{SCRIPT} & 'co'", data='the "data" <i>', particles=30)


@pytest.fixture(scope="module")
def html(run: Run, rows: Split) -> str:
    """A page with all its pictures."""
    return drawn(run, rows)


class Strict(HTMLParser):
    """Reads a page whose every element is closed by its own end tag, and keeps what it consists of."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.append((self.open[-1], data))
        else:
            assert not data.strip(), "text outside the page"

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, *tags: str) -> str:
        """All text, or that directly in some elements."""
        return "".join(text for tag, text in self.texts if not tags or tag in tags)


def read(html: str) -> Strict:
    parser = Strict()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


@pytest.mark.smoke
def test_the_page_is_valid_and_says_what_it_is(html: str) -> None:
    assert html.startswith("<!DOCTYPE html>\n<html lang=")
    parsed = read(html)
    assert parsed.attributes("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in parsed.attributes("meta")
    for tag in ("title", "h1", "main"):
        assert len(parsed.attributes(tag)) == 1
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {str(link["href"]) for link in parsed.attributes("a")}
    labels = {f"#{attributes['aria-labelledby']}" for attributes in parsed.attributes("section")}
    assert links == labels == {f"#{name}" for name in ids}
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_the_page_needs_nothing_else(html: str) -> None:
    parsed = read(html)
    used = {tag for tag, _ in parsed.elements}
    assert not used & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert not [name for _, attributes in parsed.elements for name in attributes if name.startswith("on")]
    policies = [meta["content"] for meta in parsed.attributes("meta") if "http-equiv" in meta]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_every_picture_is_in_the_page_with_its_size_and_words_for_it(html: str) -> None:
    pictures = read(html).attributes("img")
    assert len(pictures) >= 4
    for picture in pictures:
        kind, _, encoded = str(picture["src"]).partition(",")
        assert kind == "data:image/png;base64"
        image = Image.open(io.BytesIO(base64.b64decode(encoded)))
        assert len(str(picture["alt"])) > 20
        for size, pixels in zip((picture["width"], picture["height"]), image.size, strict=True):
            assert int(str(size)) == pytest.approx(pixels * 96 / 150, abs=1)


def test_names_are_text(html: str) -> None:
    parsed = read(html)
    assert parsed.text("h1") == f"{SCRIPT} & 'co'"
    assert parsed.text("title").startswith(SCRIPT)
    assert 'the "data" <i>' in parsed.text("p")


def test_names_of_folders_and_files_are_text(run: Run, rows: Split, tmp_path: Path) -> None:
    assert run.folder is not None
    source = tmp_path / "<i>'x'.npz"
    np.savez(source, x=torch.as_tensor(rows.raw).numpy(), y=np.array([SCRIPT, "<b>"] * 20))
    out = tmp_path / "page.html"
    arguments = ("report", run.folder.path, "--data", source, "--particles", 2, "--out", out)
    assert succeed(*arguments).out == f"{out}\n"
    parsed = read(out.read_text(encoding="utf-8"))
    assert parsed.text("h1") == "<b>bold"
    assert f"data of {source}" in parsed.text("p")


def test_the_page_is_the_same_every_time(
    html: str, run: Run, rows: Split, untouched: None, pictures: None
) -> None:
    assert drawn(run, rows) == html


def test_a_run_on_another_device_has_a_page(run: Run, rows: Split) -> None:
    there = copy.deepcopy(run)
    with pretended(draws=True) as far:
        there.program.to(far)
        text = page(there, rows.to(far), train=rows.to(far), particles=3)
    here = page(run, rows, train=rows, particles=3)
    assert len(read(text).attributes("img")) == len(read(here).attributes("img"))
    near = re.search(r"The ELBO is -[\d.]+", here)
    assert near is not None
    assert near[0] in text


def test_another_seed_gives_another_page(run: Run, rows: Split) -> None:
    assert page(run, rows, particles=5, seed=2) != page(run, rows, particles=5, seed=3)


def test_the_numbers_are_those_of_the_evaluation(html: str, run: Run, rows: Split) -> None:
    text = read(html).text()
    found = run.evaluate(rows.batches(), particles=30)
    for row in found.quantities:
        assert row.label in text
        assert f"{row.mean.value:,.3f}" in text or f"{row.mean.value:.3g}" in text, row
    assert found.estimates is not None
    assert f"and {found.estimates.elbo.mean():.2f} on these 40" in text
    assert run.diagnose("active-units", rows).quantities[0].label in text
    assert dump(run.config) == read(html).text("pre")


def test_the_command_writes_into_the_run_and_chooses_rows(run: Run) -> None:
    assert run.folder is not None
    file = run.folder.path / "report.html"
    end = succeed("report", run.folder.path, "--particles", 2, "--rows", 11, "--split", "train")
    assert end.out == f"{file}\n"
    text = read(file.read_text(encoding="utf-8")).text()
    assert "11 rows: train data, chosen at random from 54." in text
    assert "there are no other rows to compare these with" in text


def test_some_rows_are_the_same_every_time_and_all_where_there_are_few(rows: Split) -> None:
    assert some(rows, 40) is rows
    assert torch.equal(torch.as_tensor(some(rows, 9).raw), torch.as_tensor(some(rows, 9).raw))
    assert not torch.equal(torch.as_tensor(some(rows, 9).raw), torch.as_tensor(some(rows, 9, seed=1).raw))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"posterior": "delta"}, "q(z|x) is a point, and has no density"),
        ({"prior": "categorical", "posterior": "categorical"}, "Map of the codes"),
        ({"prior": "sphere", "posterior": "power-sphere", "latent_dim": 3}, "largest variance"),
        ({"latent_dim": 1}, "of 1 are active"),
        ({"data": {"limit": 60, "validation": 0.0}}, "no rows were held out for validation"),
        ({"data": {"limit": 60, "binarize": "none"}}, "cross-entropies and no log-probabilities"),
    ],
    ids=str,
)
def test_every_kind_of_run_has_a_page(changes: Mapping[str, Any], said: str) -> None:
    run = trained(**changes)
    assert run.prepared is not None
    parsed = read(page(run, rows_of(run), is_likelihood=run.prepared.is_likelihood, particles=2))
    shown = parsed.text() + " ".join(str(picture["alt"]) for picture in parsed.attributes("img"))
    assert said in shown
    assert ("Map of the codes" in shown) == (run.config.latent_dim != 1)


def test_data_that_are_no_pictures_have_a_page(tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32))
    run = trained(likelihood="gaussian", data={"source": str(tmp_path / "table.npy"), "limit": None})
    parsed = read(page(run, rows_of(run, 8), particles=2))
    assert len(parsed.attributes("img")) >= 4


def test_a_run_whose_posterior_is_the_prior_has_a_page() -> None:
    run = trained()
    with torch.no_grad():
        for parameter in run.program.parameters():
            parameter.zero_()
    found = run.evaluate(rows_of(run).batches(), particles=30)
    (k,) = (row.mean.value for row in found.quantities if row.key == "pareto_k")
    assert k == -math.inf  # all weights are the same
    assert "minus infinity" in read(page(run, rows_of(run), particles=30)).text("td")


def test_a_value_that_is_not_finite_is_written_in_words() -> None:
    values = (math.nan, math.inf, -math.inf, -1234.0, 0.5)
    written = [_number(value) for value in values]
    assert written == ["not a number", "infinite", "minus infinity", "-1,234", "0.500"]


def test_a_short_training_took_some_time() -> None:
    run = trained()
    (line,) = run.history
    text = read(page(run, rows_of(run, 5), particles=2)).text("td")
    assert f"1 epochs, {line['seconds']:.2g} seconds" in text
    assert line["seconds"] > 0


def lines(*losses: float) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "validation_loss": loss, "train_loss": loss} for epoch, loss in enumerate(losses, 1)
    ]


@pytest.mark.parametrize(
    ("losses", "level", "said"),
    [
        ([100, 50, *[20.0] * 18], "good", "levelled off"),
        ([100, 50, *[20.0] * 16, 20.0, 19.19], "look", "0.81 nats of it in the last 10%"),
        ([100, 50, *[20.0] * 16, 20.0, 19.21], "good", "levelled off"),
        ([100, 50, *[20.0] * 17, 24.01], "look", "fallen by 4.01 nats since"),
        ([100, 50, *[20.0] * 17, 23.99], "good", "levelled off"),
        ([20.0] * 20, "warning", "never better than after the first epoch"),
        ([20.0] * 9, "open", "9 epochs with validation rows are too few"),
    ],
)
def test_training_was_long_enough(losses: list[float], level: str, said: str) -> None:
    found = verdicts.training(lines(*losses))
    assert found.level == level
    assert said in f"{found.answer} {found.meaning}"


def test_training_without_validation_is_not_judged() -> None:
    assert verdicts.training([{"epoch": 1, "train_loss": 3.0}] * 20).level == "open"


def test_a_gap_is_a_warning_where_it_is_certain_and_large() -> None:
    spread = torch.linspace(-1, 1, 2001).double()
    new = spread / spread.std()  # a standard deviation of 1, and a standard error of 0.022

    def level(gap: float, n: int = 2001) -> str:
        chosen = torch.arange(0, 2001, 2000 // (n - 1))
        return verdicts.generalisation(new[chosen] + gap, new[chosen]).level

    assert [level(gap) for gap in (-1, 0, 0.05, 0.19, 0.21)] == ["good", "good", "good", "good", "warning"]
    assert level(0.3, n=11) == "good"  # within two standard errors
    assert "beyond chance" in verdicts.generalisation(new, new).meaning
    assert "small beside" in verdicts.generalisation(new + 0.1, new).meaning
    assert verdicts.generalisation(None, new, reason="of this").answer == "It is not known: of this."


def test_collapse_is_a_warning_only_where_no_unit_is_active() -> None:
    def verdict(*variances: float) -> verdicts.Verdict:
        histogram = Histogram("variance", "variance", torch.tensor(variances), 0.01)
        return verdicts.collapse(Findings("active units", histograms=[histogram]))

    assert [verdict(*variances).level for variances in ([0, 0.01], [1, 0, 0], [1, 0], [1, 1])] == [
        *("warning", "look", "good", "good")
    ]
    assert verdict(1, 0, 0).answer.startswith("1 of 3 are active")
    assert "larger latent_dim" in verdict(1, 1).meaning
    assert "larger latent_dim" not in verdict(1, 0).meaning
    unknown = verdicts.collapse(Findings("active units", unavailable="two rows are needed"))
    assert (unknown.level, unknown.answer) == ("open", "It is not known: two rows are needed.")


@pytest.mark.parametrize(
    ("share", "level"), [(0.0, "good"), (0.001, "look"), (TOLERATED_SHARE, "look"), (0.051, "warning")]
)
def test_k_hat_is_judged_as_the_evaluation_does(share: float, level: str) -> None:
    assert verdicts.weights({"pareto_k_above": Mean(share)}, 100).level == level
    unknown = verdicts.weights({}, 100)
    assert unknown.level == "open"
    assert f"{FEWEST_DRAWS} draws or more" in unknown.answer


def test_codes_far_from_the_prior_are_worth_a_look_where_the_rows_show_it() -> None:
    def level(information: float, distance: float) -> str:
        numbers = {
            "mutual_information": information,
            "aggregate_kl": distance,
            "kl": information + distance,
            "log_n": math.log(1000),
        }
        found = [Quantity(key, key, Mean(value, 0.1)) for key, value in numbers.items()]
        return verdicts.coverage(Findings("aggregate posterior", found)).level

    assert [level(2, 0.99), level(2, 1.01), level(5.9, 0.1), level(5.92, 9)] == [
        *("good", "look", "good", "open")
    ]


def test_every_number_of_an_evaluation_is_explained(run: Run, rows: Split) -> None:
    findings = [
        run.evaluate(rows.batches(), particles=30),
        run.diagnose("active-units", rows),
        run.diagnose("aggregate", rows),
    ]
    assert {row.key for found in findings for row in found.quantities} <= set(verdicts.MEANINGS)


def luminance(colour: str) -> float:
    """As WCAG 2.2 defines it."""
    digits = colour * 2 if len(colour) == 3 else colour
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def schemes() -> Iterator[dict[str, str]]:
    """The colours of the page: light, dark and printed."""
    template = resources.files("pyrovae").joinpath("page.html").read_text("utf-8")
    for block in re.findall(r":root \{(.*?)\}", template, re.S):
        yield {
            name: digits if len(digits) == 6 else digits[0] * 2 + digits[1] * 2 + digits[2] * 2
            for name, digits in re.findall(r"--(\w+): #([0-9a-f]+);", block)
        }


def test_words_stand_out_from_what_is_behind_them() -> None:
    found = list(schemes())
    assert len(found) == 3
    for colours in found:
        for words in ("text", "quiet", "link", "good", "look", "warning", "open"):
            for behind in ("paper", "box"):
                darker, lighter = sorted(luminance(colours[name]) for name in (words, behind))
                assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (words, behind, colours)


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
def test_a_browser_shows_the_page_with_its_pictures_and_no_script(html: str, tmp_path: Path) -> None:
    file, picture = tmp_path / "page.html", tmp_path / "page.png"
    file.write_text(html, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [str(BROWSER), *options, f"--screenshot={picture}", "--window-size=1000,5000", file.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    shown = np.asarray(Image.open(picture).convert("RGB"))
    blue = [int(BLUE[i : i + 2], 16) for i in (1, 3, 5)]
    assert (shown == blue).all(-1).sum() > 50  # of figures: the page's own colours are others
