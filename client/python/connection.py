"""A channel to Stead: the credential and a deadline on every call, and reads that are tried again.

The stubs on top of it are the generated ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf.descriptor_pb2 import MethodOptions
from stead.v1 import audit_service_pb2, auth_service_pb2, product_service_pb2, tenant_service_pb2, user_service_pb2

DEADLINE_SECONDS = 10.0
CONTRACT = (audit_service_pb2, auth_service_pb2, product_service_pb2, tenant_service_pb2, user_service_pb2)


def connect(endpoint: str, key: str | None, deadline_seconds: float = DEADLINE_SECONDS) -> grpc.Channel:
    """A channel to `https://host:port`, or to `http://host:port` in development.

    The key may be a session's token; without one the calls are a stranger's, who may sign in.
    """
    address = urlsplit(endpoint)
    options = [("grpc.service_config", json.dumps(_service_config()))]
    match address.scheme:
        case "https":
            channel = grpc.secure_channel(address.netloc, grpc.ssl_channel_credentials(), options)
        case "http":
            channel = grpc.insecure_channel(address.netloc, options)
        case _:
            raise ValueError(f"{endpoint!r} is no endpoint: write http://host:port or https://host:port")
    return grpc.intercept_channel(channel, _Signed(key, deadline_seconds))


def _service_config() -> dict[str, Any]:
    """Tells gRPC to try reads again while the service is UNAVAILABLE.

    A write may be tried again as well when it has a `request_id`; gRPC does not see that, so it is left to the caller.
    """
    reads = [
        {"service": service.full_name, "method": method.name}
        for file in CONTRACT
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    ]
    again = {
        "maxAttempts": 5,
        "initialBackoff": "0.2s",
        "maxBackoff": "5s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {"methodConfig": [{"name": reads, "retryPolicy": again}]}


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
    """Adds the credential, and the deadline where the caller set none."""

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
        return continuation(signed, request)

    intercept_unary_unary = _send
    intercept_unary_stream = _send
    intercept_stream_unary = _send
    intercept_stream_stream = _send
