import io
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from bamsearch.attention import pictures
from bamsearch.attention.pictures import (
    LEAST_SPAN,
    MAX_NETWORKS,
    Heat,
    SheetColumn,
    contact_sheet,
    pale,
    resize_map,
    scale_of,
)

EDGE = 28  # pixels between the sheet's edge and the first panel


def a_map(row: int, column: int, height: int = 8, width: int = 8) -> np.ndarray:
    """Low but for one cell."""
    values = np.full((height, width), 0.2, np.float32)
    values[row, column] = 0.9
    return values


def a_heat(values: np.ndarray) -> Heat:
    return Heat("4×8×8", "r16 d4", np.array([0.1, 0.9, 0.5, 0.3], np.float32), values, values)


def a_column(label: str = "net", size=(64, 64), colour="white", **heats) -> SheetColumn:
    return SheetColumn(label, "resnet18", "", Image.new("RGB", size, colour), heats)


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


@pytest.mark.parametrize(("cells", "size"), [((7, 7), (224, 224)), ((5, 8), (128, 80))])
def test_a_map_is_spread_as_torch_interpolates(cells, size):
    values = torch.rand(cells)
    wanted = F.interpolate(values[None, None], size[::-1], mode="bilinear", align_corners=False)
    spreaded = torch.from_numpy(resize_map(values.numpy(), size).copy())
    torch.testing.assert_close(spreaded, wanted[0, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", [(0, 0), (2, 5), (7, 7)])
def test_a_cell_lights_its_own_part(cell):
    over = resize_map(a_map(*cell), (64, 64))
    row, column = np.unravel_index(over.argmax(), over.shape)
    assert (row // 8, column // 8) == cell


def test_one_scale_holds_all_maps_and_is_not_too_narrow():
    low, high = scale_of([np.array([0.3, 0.4]), np.array([0.1, 0.2])])
    assert (low, high) == pytest.approx((0.1, 0.4))
    low, high = scale_of([np.full((2, 2), 0.5)])
    assert (low, high) == pytest.approx((0.5 - LEAST_SPAN / 2, 0.5 + LEAST_SPAN / 2))


def test_pale_has_no_colour_and_keeps_light_and_dark():
    picture = Image.new("RGB", (2, 1), "red")
    picture.putpixel((1, 0), (255, 255, 255))
    grey = pale(picture)
    assert (grey.mode, grey.getpixel((1, 0))) == ("L", 255)
    assert 40 < grey.getpixel((0, 0)) < 255


@pytest.mark.parametrize("cell", [(1, 6), (6, 1), (3, 3)])
def test_the_sheet_lights_the_right_part_of_the_photograph(cell):
    sheet = opened(contact_sheet("a.jpg", [a_column(colour="black", a=a_heat(a_map(*cell)))], "a"))
    plain = opened(contact_sheet("a.jpg", [a_column(colour="black", a=a_heat(a_map(7, 0)))], "a"))
    # viridis ends in yellow: much more red and green than blue; the first group's panels alone
    lit = (sheet[..., 0] - sheet[..., 2] > 60) & (sheet[..., 1] - sheet[..., 2] > 60)
    panel = sheet[:, EDGE : EDGE + 320]
    rows, columns = np.nonzero(lit[:, EDGE : EDGE + 320])
    assert rows.size > 50
    top = np.nonzero((plain[:, EDGE : EDGE + 320] != 255).all(2).all(1))[0]
    top = top[top > top[0] + 330].min()  # below the photograph: the first full row of the map
    assert panel.shape[1] == 320
    assert (int((rows.mean() - top) / 40), int(columns.mean() / 40)) == cell


def test_the_same_maps_give_the_same_bytes_without_a_date():
    columns = [a_column(a=a_heat(a_map(1, 2)))]
    first, second = (contact_sheet("a.jpg", columns, ["a"]) for _ in range(2))
    assert first == second
    assert not Image.open(io.BytesIO(first)).info.keys() & {"Software", "date", "Creation Time"}


def test_other_settings_of_the_user_change_nothing():
    import matplotlib

    columns = [a_column(a=a_heat(a_map(1, 2)))]
    plain = contact_sheet("a.jpg", columns, ["a"])
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "savefig.dpi": 20}):
        assert contact_sheet("a.jpg", columns, ["a"]) == plain
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("count", [1, 2, MAX_NETWORKS])
def test_sheets_are_not_too_wide_and_nothing_touches_the_edge(count):
    long = "a-very-long-name-of-a-design-" * 4
    heats = {site: a_heat(a_map(1, 2)) for site in ("layer1", "layer2." * 20)}
    columns = [
        SheetColumn(f"{long}{n}", long * 2, long * 3, Image.new("RGB", (64, 48), "blue"), heats)
        for n in range(count)
    ]
    sheet = opened(contact_sheet("photo" * 40, columns, list(heats)))
    assert sheet.shape[1] <= 2500
    for edge in (sheet[:8], sheet[-8:], sheet[:, :8], sheet[:, -8:]):
        assert (edge == 255).all()


def test_an_empty_cell_where_a_network_has_no_bam():
    columns = [a_column("one", a=a_heat(a_map(1, 2))), a_column("two", b=a_heat(a_map(1, 2)))]
    sheet = opened(contact_sheet("a.jpg", columns, ["a", "b"]))
    empty = (sheet == 245).all(2)  # matplotlib's 0.96
    half = sheet.shape[0] // 2
    assert empty[:half].sum() > 1000
    assert empty[half:].sum() > 1000


@pytest.mark.parametrize("size", [(640, 64), (64, 640), (1, 1)])
def test_photographs_of_any_shape(size):
    sheet = opened(contact_sheet("a.jpg", [a_column(size=size, a=a_heat(a_map(1, 2)))], ["a"]))
    assert sheet.shape[0] < 3000


def test_many_sites_of_a_tall_photograph_fit_into_one_picture(monkeypatch):
    monkeypatch.setattr(pictures, "_MOST_HEIGHT", 3000)
    heats = {f"s{number}": a_heat(a_map(1, 2)) for number in range(8)}
    column = a_column(size=(30, 300), **heats)  # a panel would be 640 high
    sheet = Image.open(io.BytesIO(contact_sheet("a", [column], list(heats))))
    assert sheet.height < 5000  # nine of 640 would be more


def test_names_are_not_formulas():
    name = "$x^2 a_b$c$ 写真 \\frac{"
    contact_sheet(name, [a_column(name, **{name: a_heat(a_map(1, 2))})], [name])


QUIET = """
import logging, sys
from PIL import Image
import numpy as np
from bamsearch.attention.pictures import SheetColumn, Heat
from bamsearch.attention.pictures import contact_sheet
assert "matplotlib" not in sys.modules
values = np.zeros((2, 2), np.float32)
heat = Heat("", "", np.zeros(3, np.float32), values, values)
contact_sheet("写真", [SheetColumn("a", "", "", Image.new("RGB", (4, 4)), {"b": heat})], ["b"])
assert not {"torch", "matplotlib.pyplot", "tkinter"} & {*sys.modules}
assert logging.getLogger("matplotlib").level == 0
"""


def test_it_draws_without_a_display_a_folder_for_settings_or_a_word():
    env = os.environ | {"MPLCONFIGDIR": "/dev/null/no", "MPLBACKEND": "TkAgg"}
    env.pop("DISPLAY", None)
    result = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, env=env)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["caf\udce9.png", "a\x00\x1b[31m\nb", "\ud800", "$x$", "x" * 1000])
def test_a_sheet_shows_any_name(name):
    heat = a_heat(a_map(1, 1))
    column = SheetColumn(name, name, name, Image.new("RGB", (64, 64), "white"), {name: heat})
    assert opened(contact_sheet(name, [column], [name])).shape[2] == 3
