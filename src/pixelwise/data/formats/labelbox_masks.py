"""The masks that Labelbox's exports only link to: from a folder, or fetched when the user says how.

Nothing is fetched unless the user names an environment variable that holds an API key. Then:

- only addresses ``https://*.labelbox.com`` are asked, and may send us on to ``storage.googleapis.com``;
- the key goes to labelbox.com alone, is never written down and is in no message;
- an answer may have 64 MB, and is kept in the cache under the hash of its address, so that a second run
  asks for nothing. Links to composite masks expire 30 days after the export.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from pixelwise.errors import DataError, UsageError
from pixelwise.io import atomic_write
from pixelwise.io.images import MAX_PIXELS

_SCHEMES = ("https",)
_HOSTS = ("labelbox.com",)
_STORES = ("storage.googleapis.com",)  # where Labelbox sends downloads on to, without the key
_MOST_BYTES = 64 << 20
_SECONDS = 30
_GIVE_UP = 5  # failures in a row


class LinkedMasks:
    """Finds masks by the id of their object or by their address.

    Parameters
    ----------
    mask_dir
        A folder with ``{feature id}.png``.
    cache
        Where fetched masks are kept.
    key_env
        The name of the environment variable with the API key; without it nothing is fetched.

    Raises
    ------
    UsageError
        A key without a cache, or a variable that is not set or holds no key.
    """

    def __init__(
        self, mask_dir: str | Path | None = None, cache: str | Path | None = None, key_env: str | None = None
    ) -> None:
        self.mask_dir = Path(mask_dir).expanduser() if mask_dir else None
        self.cache = Path(cache).expanduser() if cache else None
        self._key = _key(key_env) if key_env else None
        self._failures = 0
        self._last: tuple[str, np.ndarray] | None = None  # many objects share one composite mask
        if self._key and self.cache is None:
            raise UsageError("key_env needs a cache: the folder to keep the fetched masks in")
        if self.mask_dir and not self.mask_dir.is_dir():
            raise DataError(f"{self.mask_dir}: no such folder; mask_dir should hold {{feature id}}.png")

    def own(self, feature: str) -> np.ndarray | None:
        """H×W×3 uint8 of the mask of one object in ``mask_dir``, or None; DataError when it is damaged."""
        if self.mask_dir and re.fullmatch(r"[\w-]{1,100}", feature):
            file = self.mask_dir / f"{feature}.png"
            if file.is_file():
                return decode_picture(file.read_bytes(), str(file))
        return None

    def find(self, url: str, where: str) -> np.ndarray | None:
        """H×W×3 uint8 of what is behind a link, or None when it may not be fetched.

        Raises
        ------
        DataError
            It is damaged, too large, or was refused; the message names the place.
        """
        if self._last and self._last[0] == url:
            return self._last[1]
        stored = self._stored(url, where)
        if stored is None:
            return None
        picture = decode_picture(stored, where)
        self._last = (url, picture)
        return picture

    def _stored(self, url: str, where: str) -> bytes | None:
        if self.cache is None:
            return None
        file = self.cache / f"{hashlib.sha256(url.encode()).hexdigest()}.png"
        if file.is_file():
            return file.read_bytes()
        if self._key is None or self._failures >= _GIVE_UP:
            return None
        try:
            content = _fetch(url, self._key, where)
        except DataError:
            self._failures += 1
            raise
        self._failures = 0
        with atomic_write(file) as temporary:
            temporary.write_bytes(content)
        return content


def _key(variable: str) -> str:
    key = os.environ.get(variable, "")
    if not re.fullmatch(r"[!-~]+", key):
        raise UsageError(f"the environment variable {variable} should hold Labelbox's API key, found none")
    return key


class _Onwards(urllib.request.HTTPRedirectHandler):
    """Follows redirects to known hosts; headers that are not to travel stay behind by themselves."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check(newurl, _HOSTS + _STORES)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check(url: str, hosts: tuple[str, ...]) -> None:
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    known = any(host == name or host.endswith(f".{name}") for name in hosts)
    if parts.scheme not in _SCHEMES or not known:
        raise DataError(f"{_bare(url)}: masks are fetched from https://*.labelbox.com only")


def _bare(url: str) -> str:
    """An address without what may be a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"[:200]


def _fetch(url: str, key: str, where: str) -> bytes:
    try:
        _check(url, _HOSTS)
        request = urllib.request.Request(url)
        request.add_unredirected_header("Authorization", f"Bearer {key}")
        # No proxy of the environment gets to see the key, and no other scheme is known here.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Onwards())
        with opener.open(request, timeout=_SECONDS) as answer:
            content: bytes = answer.read(_MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        hint = {401: "the key was refused", 403: "the key was refused, or the link has expired"}
        reason = hint.get(error.code, "the link may have expired; export again")
        raise DataError(f"{where}: Labelbox answered {error.code} for its mask: {reason}") from None
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: its mask cannot be fetched ({type(error).__name__})") from None
    if len(content) > _MOST_BYTES:
        raise DataError(f"{where}: its mask has more than {_MOST_BYTES >> 20} MB")
    return content


def decode_base64(text: Any, where: str) -> np.ndarray:
    """H×W×3 uint8 of a picture in base64; DataError names the place."""
    try:
        content = base64.b64decode(str(text).partition("base64,")[2] or str(text), validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"{where}: the mask is not base64") from None
    return decode_picture(content, where)


def decode_picture(content: bytes, where: str) -> np.ndarray:
    """H×W×3 uint8 of an encoded mask; where only the transparency says what is on, that counts.

    Raises
    ------
    DataError
        Naming the place: no picture, damaged or too large.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(f"{where}: a mask of {picture.width}x{picture.height} pixels")
            pixels = np.array(picture.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: the mask is damaged ({error})") from None
    colours = pixels[..., :3]
    if not colours.any() and not pixels[..., 3].all():
        return np.repeat(pixels[..., 3:], 3, axis=2)
    return colours
