"""Mutated images and weights: one line of ours, or a result of bounded size; nothing else.

``FUZZ_EXAMPLES=2000 pytest tests/fuzz/test_files.py`` tries more than the few of each kind.
"""

import io
import os
import warnings
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as save_safetensors
from torch import nn

from bamsearch.attention.photographs import is_wide, read_photograph
from bamsearch.errors import BamsearchError
from bamsearch.graph.checkpoints import load_all

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))

quick = settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)


def encoded(format: str, mode: str, **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(noise[:, :, 0].astype(np.float32) / 255)
    elif mode == "I":
        image = Image.fromarray(noise[:, :, 0].astype(np.int32))
    else:
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


IMAGES = {
    "png": encoded("PNG", "RGB"),
    "png-palette": encoded("PNG", "P"),
    "png-alpha": encoded("PNG", "LA"),
    "png-16": encoded("PNG", "I;16"),
    "jpeg": encoded("JPEG", "RGB"),
    "jpeg-progressive": encoded("JPEG", "CMYK", progressive=True),
    "jpeg-exif": encoded("JPEG", "L", exif=Image.Exif().tobytes()),
    "tiff": encoded("TIFF", "RGB"),
    "tiff-float": encoded("TIFF", "F"),
    "tiff-int": encoded("TIFF", "I"),
    "tiff-lzw": encoded("TIFF", "RGB", compression="tiff_lzw"),
    "tiff-deflate": encoded("TIFF", "I;16", compression="tiff_adobe_deflate"),
    "bmp": encoded("BMP", "RGB"),
    "bmp-1": encoded("BMP", "1"),
    "gif": encoded("GIF", "P"),
    "webp": encoded("WEBP", "RGBA"),
    "webp-lossless": encoded("WEBP", "RGB", lossless=True),
    "ppm": encoded("PPM", "RGB"),
    "pgm-16": b"P5 13 9 4095\n" + bytes(range(234)),
    "tga": encoded("TGA", "RGBA", rle=True),
    "jpeg2000": encoded("JPEG2000", "RGB"),
}


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def saved(content: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


STATE = network().state_dict()
WEIGHTS = {
    "pth": saved(STATE),
    "wrapped": saved({"model": {"state_dict": {f"module.{k}": v for k, v in STATE.items()}}}),
    "numpy": saved({"state_dict": STATE, "metric": np.float64(0.5)}),
    "legacy": saved(STATE, _use_new_zipfile_serialization=False),
    "safetensors": save_safetensors(dict(STATE)),
}

# Where and what: changed bytes, most of them near the start, where the headers are.
places = st.one_of(st.integers(0, 200), st.integers(0, 10**6))
edits = st.lists(
    st.tuples(
        places,
        st.one_of(st.sampled_from([b"\0", b"\xff", b"\x7f"]), st.binary(min_size=1, max_size=8)),
    ),
    max_size=6,
)
cuts = st.one_of(st.none(), places)


def mutated(whole: bytes, changes: list[tuple[int, bytes]], cut: int | None) -> bytes:
    content = bytearray(whole)
    for offset, new in changes:
        at = offset % len(content)
        content[at : at + len(new)] = new
    return bytes(content if cut is None else content[: cut % len(content)])


@pytest.mark.parametrize("kind", IMAGES)
def test_images(tmp_path_factory, kind):
    path = tmp_path_factory.mktemp("images") / "a.png"

    @quick
    @given(edits, cuts, st.sampled_from([None, "type", (0.0, 255.0)]))
    def reads(changes, cut, value_range):
        path.write_bytes(mutated(IMAGES[kind], changes, cut))
        is_wide(path)
        try:
            picture = read_photograph(path, value_range)
        except BamsearchError as error:
            check_line(error)
            return
        assert picture.mode == "RGB"
        assert picture.width * picture.height <= Image.MAX_IMAGE_PIXELS

    reads()


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights(tmp_path_factory, kind):
    suffix = ".safetensors" if kind == "safetensors" else ".pth"
    path = tmp_path_factory.mktemp("weights") / f"w{suffix}"

    @quick
    @given(edits, cuts)
    def loads(changes, cut):
        path.write_bytes(mutated(WEIGHTS[kind], changes, cut))
        check_weights(path)

    loads()


@pytest.mark.parametrize("kind", ["pth", "wrapped", "numpy"])
def test_pickles_inside(tmp_path_factory, kind):
    """The pickle of an archive is mutated alone, with checksums that are right again."""
    path = tmp_path_factory.mktemp("pickles") / "w.pth"

    @quick
    @given(edits, cuts)
    def loads(changes, cut):
        with (
            zipfile.ZipFile(io.BytesIO(WEIGHTS[kind])) as whole,
            zipfile.ZipFile(path, "w") as written,
        ):
            for name in whole.namelist():
                content = whole.read(name)
                if name.endswith("data.pkl"):
                    content = mutated(content, changes, cut)
                written.writestr(name, content)
        check_weights(path)

    loads()


def check_line(error: BamsearchError) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 600


def check_weights(path) -> None:
    module = network()
    with warnings.catch_warnings(action="error"):
        try:
            load_all(module, path, "net")
        except BamsearchError as error:
            check_line(error)
            return
    assert all(value.isfinite().all() for value in module.state_dict().values())
