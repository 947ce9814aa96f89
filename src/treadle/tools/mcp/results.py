"""What a server answers to a call, as a tool's result: words for the model, everything else as blobs."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from treadle.ports.store import Blobs
from treadle.ports.tool import ToolResult
from treadle.tools.mcp.offers import clean

_DATA_CHARACTERS = 64_000
"""Of structured content that is recorded beside the words; what is longer is in the words only."""


async def result_of(answer: Mapping[str, Any], blobs: Blobs | None) -> ToolResult:
    """The result of a call, from the answer as it came over the wire."""
    parts = [await _part(content, blobs) for content in answer.get("content") or ()]
    data = answer.get("structuredContent")
    told = "\n".join(part for part in parts if part)
    as_json = json.dumps(data, ensure_ascii=False) if data is not None else ""
    is_error = answer.get("isError") is True
    text = told or as_json or ("It did not work, and the server does not say why." if is_error else "Done.")
    return ToolResult(text, is_error=is_error, data=data if 0 < len(as_json) <= _DATA_CHARACTERS else None)


async def _part(content: Mapping[str, Any], blobs: Blobs | None) -> str:
    kind = content.get("type")
    if kind == "text":
        return str(content.get("text", ""))
    if kind in ("image", "audio"):
        return await _kept(str(kind), content.get("mimeType"), content.get("data"), blobs)
    if kind == "resource_link":
        named = clean(str(content.get("title") or content.get("name") or ""), 200)
        about = clean(str(content.get("description") or ""), 400)
        parts = [f"resource {clean(str(content.get('uri')), 500)}", named, about]
        return f"[{': '.join(part for part in parts if part)}]"
    resource = content.get("resource") or {}
    where = f"resource {clean(str(resource.get('uri', '')), 500)}"
    if "text" in resource:
        return f"[{where}]\n{resource['text']}"
    return await _kept(where, resource.get("mimeType"), resource.get("blob"), blobs)


async def _kept(what: str, media_type: Any, data: Any, blobs: Blobs | None) -> str:
    shown = f"{what} of type {clean(str(media_type or 'unknown'), 80)}"
    try:
        raw = base64.b64decode(str(data or ""), validate=True)
    except (binascii.Error, ValueError):
        return f"[{shown} that cannot be read]"
    if blobs is None:
        return f"[{shown}, {len(raw)} bytes, not kept]"
    return f"[{shown}, {len(raw)} bytes, kept as blob {await blobs.put_blob(raw)}]"
