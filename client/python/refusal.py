"""What Stead says when it refuses a call, read with the public `google.rpc` types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

Detail = TypeVar("Detail", bound=Message)


@dataclass(frozen=True)
class Refusal:
    """One refused call. Decide by `code` and `reason`; `message` is for people and may change."""

    code: grpc.StatusCode
    message: str
    domain: str
    reason: str
    # Facts that belong to the reason, such as `current_etag` of ETAG_MISMATCH.
    metadata: Mapping[str, str]
    # Every broken rule by the path of its field, such as `requests[1].product.sku`.
    violations: Mapping[str, str]
    # What has to change first, by its type, such as QUANTITY_INSUFFICIENT.
    preconditions: Mapping[str, str]
    # The name of what is not there, such as `products/{uuid}`.
    resource_name: str | None
    # How long to wait before the next try. None: trying again changes nothing.
    retry_delay: timedelta | None
    # The call's name in the service's logs and traces.
    trace_id: str | None

    @classmethod
    def of(cls, error: grpc.RpcError) -> Refusal:
        """Reads the error of a call; a fault of the connection, which nobody explained, has an empty reason."""
        status = rpc_status.from_call(error) or status_pb2.Status()
        info = _detail(status, error_details_pb2.ErrorInfo) or error_details_pb2.ErrorInfo()
        fields = _detail(status, error_details_pb2.BadRequest)
        states = _detail(status, error_details_pb2.PreconditionFailure)
        resource = _detail(status, error_details_pb2.ResourceInfo)
        retry = _detail(status, error_details_pb2.RetryInfo)
        return cls(
            code=error.code(),
            message=error.details() or "",
            domain=info.domain,
            reason=info.reason,
            metadata=dict(info.metadata),
            violations={fault.field: fault.description for fault in fields.field_violations} if fields else {},
            preconditions={fault.type: fault.description for fault in states.violations} if states else {},
            resource_name=resource.resource_name if resource else None,
            retry_delay=retry.retry_delay.ToTimedelta() if retry else None,
            trace_id=dict(error.trailing_metadata() or ()).get("stead-trace-id"),
        )


def _detail(status: status_pb2.Status, kind: type[Detail]) -> Detail | None:
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            return detail
    return None
