"""A channel to Stead: credential and deadline on every call, a key on every write, and repeats where they are safe.

The stubs on top of it are the generated ones.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc

DEADLINE_SECONDS = 10.0
SERVICE_CONFIG = Path(__file__).resolve().parents[2] / "proto" / "service_config.json"


def connect(endpoint: str, key: str | None, deadline_seconds: float = DEADLINE_SECONDS) -> grpc.Channel:
    """A channel to `https://host:port`, or to `http://host:port` in development.

    The key may be a session's token; without one the calls are a stranger's, who may sign in.
    """
    address = urlsplit(endpoint)
    options = [("grpc.service_config", SERVICE_CONFIG.read_text(encoding="utf-8"))]
    match address.scheme:
        case "https":
            channel = grpc.secure_channel(address.netloc, grpc.ssl_channel_credentials(), options)
        case "http":
            channel = grpc.insecure_channel(address.netloc, options)
        case _:
            raise ValueError(f"{endpoint!r} is no endpoint: write http://host:port or https://host:port")
    return grpc.intercept_channel(channel, _Signed(key, deadline_seconds))


def keyed(request: Any) -> Any:
    """A write with a `request_id`, drawn when the caller chose none: gRPC sends it again, and it happens once."""
    descriptor = getattr(request, "DESCRIPTOR", None)
    if descriptor is None or "request_id" not in descriptor.fields_by_name or request.request_id:
        return request
    copy = type(request)()
    copy.CopyFrom(request)
    copy.request_id = str(uuid.uuid4())
    return copy


@dataclass(frozen=True)
class _Details(grpc.ClientCallDetails):
    """What gRPC knows of a call before it is sent; its own class has no constructor."""

    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...]
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Signed(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the credential, and the deadline and the key of a write where the caller set none."""

    def __init__(self, key: str | None, deadline_seconds: float) -> None:
        self._credential = () if key is None else (("authorization", f"Bearer {key}"),)
        self._deadline_seconds = deadline_seconds

    def _send(self, continuation: Any, details: grpc.ClientCallDetails, request: Any) -> Any:
        signed = _Details(
            method=details.method,
            timeout=self._deadline_seconds if details.timeout is None else details.timeout,
            metadata=(*(details.metadata or ()), *self._credential),
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
            compression=details.compression,
        )
        return continuation(signed, keyed(request))

    intercept_unary_unary = _send
    intercept_unary_stream = _send
    intercept_stream_unary = _send
    intercept_stream_stream = _send
