"""One HTTP request for one file: the facts its host reports, its bytes from an offset on, and what went wrong.

Names of headers and their meaning: RFC 9110 (sections 8.8, 13.1.5, 14). `Refused` and `Broken` are for files.py,
which turns them into a sentence for the user.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

READ_TIMEOUT = 20.0  # seconds without a byte before the connection is closed
CONNECT_TIMEOUT = 10.0
MOST_REDIRECTS = 10
_NOT_FOR_HEAD = (403, 405, 501)  # from hosts that answer GET only


class Refused(Exception):
    """This address does not serve the file; retrying won't help. Says what happened there and what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.advice = advice


class Broken(Refused):
    """The attempt failed, but a retry may succeed."""


class Changed(Broken):
    """The bytes so far are not from the file on the host: the next attempt starts over."""


@dataclass(frozen=True)
class Facts:
    """What a host reports about a file."""

    size: int | None = None  # bytes
    etag: str | None = None  # as sent, with its quotes
    modified: str | None = None  # Last-Modified, as sent
    checksums: Mapping[str, str] = field(default_factory=dict)  # "md5", "sha1" or "sha256" -> lower-case hex

    @property
    def validator(self) -> str | None:
        """For If-Range: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


def make_client() -> httpx.Client:
    """Does not follow redirects: `_send` does, and takes care of the headers."""
    timeout = httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
    return httpx.Client(timeout=timeout, headers={"Accept-Encoding": "identity", "User-Agent": "gpt_demo"})


def host_of(url: str) -> str:
    """The host, and the port if given."""
    try:
        return httpx.URL(url).netloc.decode("ascii") or url
    except (httpx.InvalidURL, UnicodeDecodeError):
        return url


def look_up(client: httpx.Client, url: str, headers: Mapping[str, str]) -> Facts:
    """Request the file's facts without its bytes. Raises Refused or Broken."""
    with _send(client, "HEAD", url, headers) as response:
        if response.status_code not in _NOT_FOR_HEAD:
            _check_answer(response, url)
            if (facts := _facts(response)).size != 0:  # some report 0 because HEAD has no body
                return facts
    with _send(client, "GET", url, {**headers, "Range": "bytes=0-0"}) as response:
        if response.status_code == 416:  # an empty file
            return Facts(size=_range_total(response))
        _check_answer(response, url)
        return _facts(response)


@dataclass(frozen=True)
class Body:
    """A response whose bytes begin at offset `start` of the file."""

    start: int
    facts: Facts
    chunks: Iterator[bytes]


@contextmanager
def open_body(
    client: httpx.Client, url: str, headers: Mapping[str, str], start: int, validator: str | None
) -> Iterator[Body]:
    """The file's bytes from `start` on, or from 0 if the host ignores the range or `validator` no longer matches.

    Raises Refused or Broken, also while the bytes are read.
    """
    wanted = {"Range": f"bytes={start}-"} if start else {}
    if start and validator:
        wanted["If-Range"] = validator
    with _send(client, "GET", url, {**headers, **wanted}) as response:
        if response.status_code == 416:
            raise Changed(f"{host_of(url)} has no bytes after the first {start:,}", "Try again.")
        _check_answer(response, url)
        facts = _facts(response)
        begins = _range_start(response) if response.status_code == 206 else 0
        if begins not in (0, start):
            raise Changed(f"{host_of(url)} sent a different range than requested", "Try again.")
        if facts.size is None and response.headers.get("Transfer-Encoding", "").lower() != "chunked":
            raise Refused(f"{host_of(url)} does not report the file's length", "Choose another source.")
        yield Body(begins, facts, _chunks(response, url, sniff=begins == 0))


def _chunks(response: httpx.Response, url: str, sniff: bool) -> Iterator[bytes]:
    try:
        for chunk in response.iter_raw():
            if sniff and chunk[:200].lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
                raise _html(url)
            sniff = False
            yield chunk
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise _broken(error, url) from error


@contextmanager
def _send(client: httpx.Client, method: str, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
    """The response after all redirects. `headers` except Range and If-Range are sent to the host of `url` only."""
    try:
        request = client.build_request(method, url, headers=dict(headers))
    except (httpx.InvalidURL, ValueError) as error:
        raise Refused(f"{url} is not a valid address ({error})", "Correct it.") from error
    home = _origin(request.url)
    for _ in range(MOST_REDIRECTS + 1):
        try:
            response = client.send(request, stream=True)
        except httpx.UnsupportedProtocol as error:
            raise Refused(f"{request.url} is not an http or https address", "Correct it.") from error
        except httpx.HTTPError as error:
            raise _broken(error, str(request.url)) from error
        if response.next_request is None:
            try:
                yield response
            finally:
                response.close()
            return
        response.close()
        request = response.next_request
        if _origin(request.url) != home:
            for name in headers.keys() - {"Range", "If-Range"}:
                request.headers.pop(name, None)
    raise Refused(f"{host_of(url)} redirects in a loop", "Choose another source.")


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _check_answer(response: httpx.Response, url: str) -> None:
    """Raises Refused unless this is a file, Broken if the host has failed."""
    status, host = response.status_code, host_of(url)
    said = f"{host} answered {status} {response.reason_phrase}".strip()
    if status >= 500:
        raise Broken(said, "The host has a problem: try again later.")
    if status in (401, 403):
        raise Refused(said, "Access is denied: check the address and your access rights.")
    if status == 429:
        raise Refused(said, "Too many requests: try again later.")
    if status not in (200, 206):
        raise Refused(said, "Check the address, or choose another source.")
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise _html(url)
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(f"{host} sends the file compressed", "Choose another source.")


def _html(url: str) -> Refused:
    return Refused(
        f"{host_of(url)} sent an HTML page instead of the file",
        "There may be a login page or proxy in between: open the address in a browser to see it.",
    )


def _broken(error: Exception, url: str) -> Broken:
    """The sentence for a failed connection, from the underlying system error."""
    host, again = host_of(url), "Check the network and try again."
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return Broken(f"the host {host} was not found", again)
        if isinstance(cause, ConnectionRefusedError):
            return Broken(f"{host} refused the connection", again)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Broken(f"the certificate of {host} is not trusted ({cause.verify_message})", again)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return Broken(f"{host} did not answer in time", again)
    return Broken(f"the connection to {host} was lost", again)


def _facts(response: httpx.Response) -> Facts:
    headers = response.headers
    size = _range_total(response) if response.status_code == 206 else _number(headers.get("Content-Length"))
    return Facts(size, headers.get("ETag"), headers.get("Last-Modified"), _checksums(response))


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else None


def _range_total(response: httpx.Response) -> int | None:
    """The file's length in "bytes 5-9/10", None in "bytes 5-9/*"."""
    return _number(response.headers.get("Content-Range", "").rpartition("/")[2])


def _range_start(response: httpx.Response) -> int | None:
    match = re.match(r"bytes ([0-9]{1,18})-", response.headers.get("Content-Range", ""))
    return int(match.group(1)) if match else None


def _checksums(response: httpx.Response) -> dict[str, str]:
    """The host's checksums of the whole file. Content-MD5 of a partial response may be that of the part.

    An ETag that looks like a checksum is used as one if there is no other.
    """
    headers, found = response.headers, {}
    whole = "" if response.status_code == 206 else headers.get("Content-MD5", "")
    for text in (whole, headers.get("x-ms-blob-content-md5", "")):
        if digest := _from_base64(text):
            found["md5"] = digest
    sha1 = headers.get("x-bz-content-sha1", "").lower()
    if re.fullmatch(r"[0-9a-f]{40}", sha1):  # not "none", not "unverified:..."
        found["sha1"] = sha1
    etag = headers.get("ETag", "").strip('"').lower()  # a weak one keeps its W/
    if not found and re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{64}", etag):
        found["md5" if len(etag) == 32 else "sha256"] = etag
    return found


def _from_base64(text: str) -> str | None:
    """The hex of an MD5 in base64, None for anything else."""
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return digest.hex() if len(digest) == 16 else None
