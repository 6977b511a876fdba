"""Pages that show texts in a browser: text made safe, one look, and a server for this machine.

Nothing is fetched from anywhere else: no telemetry, no fonts, no scripts of others; the browser
is told to refuse them, too. Nothing can be uploaded.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from html import escape
from pathlib import Path
from typing import Any

from augment.base.command import UsageError

CSS = Path(__file__).with_name("page.css")
LOCAL = ("127.0.0.1", "localhost", "::1")
ONLY_FROM_HERE = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def marked(text: str, marks: Iterable[tuple[int, int, str, str]]) -> str:
    """Escape a text for HTML, with tags around some spans.

    Args:
        text: of any origin.
        marks: `(start, end, opening, closing)`: spans in order that do not overlap, and HTML.
    """
    pieces, done = [], 0
    for start, end, opening, closing in marks:
        pieces += [escape(text[done:start]), opening, escape(text[start:end]), closing]
        done = end
    return "".join([*pieces, escape(text[done:])])


def import_gradio() -> Any:
    """Import Gradio with its telemetry turned off.

    Raises:
        UsageError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise UsageError(
            "a page needs Gradio: in the project's folder, "
            "pip install -e '.[ui]' -c constraints.txt"
        ) from error
    return gradio


def serve(page: Any, host: str | None, port: int | None) -> None:
    """Serve a page made with Gradio's Blocks until Ctrl-C, and print its address.

    Args:
        page: the Blocks.
        host: an address of this machine; this machine alone, 127.0.0.1, by default, or what
            `GRADIO_SERVER_NAME` says, as on a Space.
        port: the first free one from 7860 on by default.
    """
    gradio = import_gradio()
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    host = host or os.environ.get("GRADIO_SERVER_NAME") or LOCAL[0]
    guards = [Middleware(Guard)]
    if host in LOCAL:  # or a page elsewhere could read this one under a name that it points here
        guards.append(Middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"]))
    try:
        _, address, _ = page.queue(api_open=False).launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            footer_links=[],
            ssr_mode=False,
            enable_monitoring=False,
            pwa=False,
            mcp_server=False,
            app_kwargs={"middleware": guards},
            theme=_theme(gradio),
            css=CSS.read_text("utf-8"),
        )
    except OSError as error:
        raise UsageError(f"--host {host} --port {port}: {error}; choose another port") from error
    print(f"{address} (Ctrl-C ends it)", flush=True)
    page.block_thread()


def _theme(gradio: Any) -> Any:
    """Take the fonts of the machine, and colours dark enough to be read."""
    theme = gradio.themes.Default(
        primary_hue="blue",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return theme.set(
        color_accent="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_text_color="white",
        body_text_color_subdued="*neutral_600",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        input_placeholder_color="*neutral_500",
    )


class Guard:
    """Refuses uploads, and tells the browser to load nothing from elsewhere."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", ONLY_FROM_HERE.encode())
                message["headers"] = [*message.get("headers", ()), policy]
            await send(message)

        if scope["type"] == "http" and scope["path"].rstrip("/").endswith("/upload"):
            await guarded({"type": "http.response.start", "status": 403})
            await guarded({"type": "http.response.body", "body": b"no uploads"})
        else:
            await self.app(scope, receive, guarded)
