"""Requests to a provider, with patience.

What is tried again: whatever failed for the moment (no connection, 5xx, "too many requests"), after
pauses that double up to 30 s or as long as the provider's `Retry-After` asks, until it has failed for
`patience_seconds`. A queue that is full is waited for apart from that, as long as a task may take.

What never is: a request that makes something that is paid for, once it may have arrived. An answer that
did not come, or a gateway's "no answer", leaves open whether it did.

The key goes to the provider's API and nowhere else: not to the URLs that it names, not into an error.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from prometheus_client import Counter

from maquette.runtime.errors import FailedPrecondition, Internal, MaquetteError
from maquette.runtime.remote.addresses import Resolve, leads_inside, pin, resolve
from maquette.runtime.remote.answers import Gone, Refusal, Reply
from maquette.runtime.remote.patience import USUAL_TURNS, Patience, Setback, Turns, retry_after
from maquette.runtime.settings import ProviderSettings

if TYPE_CHECKING:
    # Imported where it is used only: most nodes ask no provider.
    import httpx

Tell = Callable[[str], None]
"""Hears a sentence for people while something is waited for."""
Arrived = Callable[[Reply], None]
"""Hears of an answer at the moment it is there."""

_REQUESTS = Counter(
    "maquette_provider_requests_total",
    "Requests to a remote provider's API.",
    ("provider", "method", "status"),
)
_CONNECT_SECONDS = 15.0
_LAST_WORD_SECONDS = 15.0
_DOWNLOAD_SECONDS = 900.0
_MAX_ANSWER = 4 << 20
_MAX_TEXT = 500
_MAX_REDIRECTS = 3
_CHUNK = 1 << 18
# Here a gateway speaks that had no answer: the provider may have taken the request.
_UNTOLD = frozenset({504, 520, 524})


class Upstream:
    """One provider's API."""

    def __init__(
        self,
        title: str,
        key_variable: str,
        settings: ProviderSettings,
        base_url: str,
        key: str,
        headers: Mapping[str, str],
        *,
        turns: Turns = USUAL_TURNS,
        ask: Resolve = resolve,
    ) -> None:
        """Talk to ``base_url``; ``headers`` hold the ``key``, which the operator set as ``key_variable``."""
        self.title = title
        self.settings = settings
        self._variable = key_variable
        self._base = base_url.rstrip("/")
        self._key = key
        self._headers = dict(headers)
        self._turns = turns
        self._ask = ask
        self._tls: ssl.SSLContext | None = None
        self._client: httpx.AsyncClient | None = None
        self._place = asyncio.Condition()

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    # -- requests to the API

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        form: Mapping[str, Any] | None = None,
        paid: bool = False,
        queue_full: Callable[[str], bool] = lambda text: False,
        arrived: Arrived = lambda reply: None,
        into: Path | None = None,
        tell: Tell = lambda text: None,
    ) -> Reply:
        """Send a request until it is answered for good; a body of bytes is JSON that was written already.

        ``into`` takes the body of the answer. ``queue_full`` tells from the text of a 429 whether a task must
        end first. What is paid for goes on to its answer, which ``arrived`` hears, for some seconds after the
        caller was cancelled. Raises :class:`Refusal`, FailedPrecondition (MODEL_NOT_AVAILABLE) where key or
        credits are refused, and Internal (PROCESSING_FAILED) when patience is over.
        """
        patience = Patience(self.title, self.settings, self._turns)
        while True:
            exchange = self._exchange(method, path, body, form, paid, queue_full, into)
            found = await (_to_its_end(exchange, arrived) if paid else exchange)
            if isinstance(found, Reply):
                return found
            pause = patience.pause(found)
            tell(f"{self.title}: {found.text}; trying again")
            if found.queue:
                await self._wait_for_place(pause)
            else:
                await asyncio.sleep(pause)

    async def place_freed(self) -> None:
        """Note that a task of ours has ended: the queue has room again."""
        async with self._place:
            self._place.notify()

    async def _wait_for_place(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds), self._place:
                await self._place.wait()
        except TimeoutError:
            return

    async def _exchange(
        self,
        method: str,
        path: str,
        body: Any,
        form: Mapping[str, Any] | None,
        paid: bool,
        queue_full: Callable[[str], bool],
        into: Path | None,
    ) -> Reply | Setback:
        import httpx

        headers, content = dict(self._headers), None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
        client = await self._open(keep=not paid)
        try:
            async with asyncio.timeout(self.settings.request_seconds):
                request = client.build_request(
                    method, self._base + path, headers=headers, content=content, **(form or {})
                )
                response = await client.send(request, stream=True)
                try:
                    return await self._read(response, paid, queue_full, into)
                finally:
                    await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            # Nothing was sent yet: even what is paid for may be tried again.
            return Setback(f"no connection ({type(error).__name__})")
        except (httpx.TransportError, httpx.DecodingError, TimeoutError) as error:
            if paid:
                raise self._uncertain(type(error).__name__) from None
            return Setback(f"no answer ({type(error).__name__})")
        finally:
            if paid:
                await client.aclose()

    async def _read(
        self, response: httpx.Response, paid: bool, queue_full: Callable[[str], bool], into: Path | None
    ) -> Reply | Setback:
        status = response.status_code
        _REQUESTS.labels(self.title, response.request.method, str(status)).inc()
        if 200 <= status < 300:
            if into is None:
                return Reply(status, response.headers, await _bounded(response, _MAX_ANSWER))
            await _save(response, into, self.settings.max_download_mib)
            return Reply(status, response.headers, b"")
        text = self._text_of(await _bounded(response, _MAX_ANSWER))
        asked = retry_after(response.headers)
        if status == 429:
            return Setback(f"HTTP 429 {text}".strip(), asked, queue_full(text))
        if status >= 500:
            if paid and status in _UNTOLD:
                raise self._uncertain(f"HTTP {status}")
            return Setback(f"HTTP {status}", asked)
        if status == 401:
            raise self._unusable(f"{self.title} refuses the key (HTTP 401); check {self._variable}")
        if status == 402:
            raise self._unusable(f"the {self.title} account has no credits left (HTTP 402)")
        if status == 403:
            raise self._unusable(f"{self.title} does not allow this to the key (HTTP 403): {text}")
        raise Refusal(status, text)

    def _unusable(self, text: str) -> MaquetteError:
        return FailedPrecondition(text, reason="MODEL_NOT_AVAILABLE")

    def _uncertain(self, why: str) -> MaquetteError:
        return Internal(
            f"{self.title} did not tell whether it took the task ({why}); "
            "it is not sent again, because it may be paid for already",
            reason="PROCESSING_FAILED",
        )

    def _text_of(self, body: bytes) -> str:
        """Return what an error's body says, harmless."""
        try:
            found = json.loads(body)
        except ValueError:
            return ""
        if isinstance(found, dict):
            found = found.get("message") or found.get("error") or found.get("error_code") or found.get("code")
        if isinstance(found, dict):
            found = found.get("message")
        return self.clean(found) if isinstance(found, str) else ""

    def clean(self, text: str) -> str:
        """Return a provider's text as it may be shown: short, printable, and without the key."""
        if self._key:
            text = text.replace(self._key, "…")
        return "".join(c if c.isprintable() else " " for c in text)[:_MAX_TEXT].strip()

    # -- files

    async def download(self, url: str, target: Path, *, tell: Tell = lambda text: None) -> None:
        """Write what a URL of the provider leads to into a new file, without the key.

        Raises :class:`Gone` for a URL that has expired, Internal (PROCESSING_FAILED) for one that leads
        inside, for a file that is too large, and when patience is over.
        """
        patience = Patience(self.title, self.settings, self._turns)
        while (setback := await self._fetch(url, target)) is not None:
            pause = patience.pause(setback)
            tell(f"{self.title}: {setback.text}; trying again")
            await asyncio.sleep(pause)

    async def _fetch(self, url: str, target: Path) -> Setback | None:
        import httpx

        try:
            async with asyncio.timeout(_DOWNLOAD_SECONDS):
                inside = await leads_inside(self._base, self._ask)
                for _ in range(_MAX_REDIRECTS + 1):
                    place = await pin(url, inside=inside, ask=self._ask)
                    async with self._new_client() as client:
                        request = client.build_request(
                            "GET",
                            place.url,
                            headers={"Host": place.host},
                            extensions={"sni_hostname": place.name},
                        )
                        response = await client.send(request, stream=True)
                        try:
                            if not response.is_redirect:
                                return await self._take(response, target)
                            url = urljoin(url, response.headers.get("location", ""))
                        finally:
                            await response.aclose()
                raise Internal("a URL of the provider leads on and on", reason="PROCESSING_FAILED")
        except (httpx.TransportError, httpx.DecodingError, TimeoutError, OSError) as error:
            return Setback(f"a file did not come ({type(error).__name__})")

    async def _take(self, response: httpx.Response, target: Path) -> Setback | None:
        status = response.status_code
        if 200 <= status < 300:
            await _save(response, target, self.settings.max_download_mib)
            return None
        if status == 429 or status >= 500:
            return Setback(f"a file did not come (HTTP {status})", retry_after(response.headers))
        raise Gone(f"HTTP {status}")

    # -- connections

    async def _open(self, *, keep: bool) -> httpx.AsyncClient:
        """Return a client; one that is not kept has a connection of its own.

        A connection that lay idle may be closed at the moment it is used, and then a request that is paid
        for would have to be given up for nothing.
        """
        import httpx

        if self._tls is None:
            self._tls = await asyncio.to_thread(httpx.create_ssl_context)
        if not keep:
            return self._new_client()
        if self._client is None:
            self._client = self._new_client()
        return self._client

    def _new_client(self) -> httpx.AsyncClient:
        import httpx

        return httpx.AsyncClient(
            verify=self._tls if self._tls is not None else True,
            # A proxy of the environment would dial in our place, wherever a URL leads.
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(self.settings.request_seconds, connect=_CONNECT_SECONDS),
        )


async def _to_its_end(exchange: Coroutine[Any, Any, Reply | Setback], arrived: Arrived) -> Reply | Setback:
    """Await an exchange; a caller that is cancelled meanwhile leaves only when the answer was heard."""

    async def heard() -> Reply | Setback:
        found = await exchange
        if isinstance(found, Reply):
            arrived(found)
        return found

    task = asyncio.create_task(heard())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,), timeout=_LAST_WORD_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def _bounded(response: httpx.Response, most: int) -> bytes:
    parts = bytearray()
    async for chunk in response.aiter_bytes(_CHUNK):
        parts += chunk
        if len(parts) > most:
            raise Internal("the provider's answer is too long", reason="PROCESSING_FAILED")
    return bytes(parts)


async def _save(response: httpx.Response, target: Path, most_mib: int) -> None:
    left = most_mib << 20
    with target.open("wb") as file:
        async for chunk in _chunks(response):
            left -= len(chunk)
            if left < 0:
                raise Internal(
                    f"the provider's file is larger than {most_mib} MiB", reason="PROCESSING_FAILED"
                )
            file.write(chunk)


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    async for chunk in response.aiter_bytes(_CHUNK):
        yield chunk
