"""Generates the client from the contract: `python generate.py DIRECTORY`, then put the directory on PYTHONPATH.

Only `stead/v1` is generated. What it imports from `google.api`, `google.rpc` and `google.type` is in
googleapis-common-protos: generated a second time, it would not load beside that package.
"""

from __future__ import annotations

import importlib.resources
import sys
from pathlib import Path

import google.type.money_pb2
from grpc_tools import protoc

CONTRACT = Path(__file__).resolve().parents[2] / "proto"


def generate(directory: Path) -> None:
    """Writes messages (`_pb2`), their types for editors and checkers (`.pyi`) and stubs (`_pb2_grpc`)."""
    directory.mkdir(parents=True, exist_ok=True)
    public = Path(google.type.money_pb2.__file__).parents[2]
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    imports = [f"--proto_path={path}" for path in (CONTRACT, public, well_known)]
    outputs = [f"--{kind}_out={directory}" for kind in ("python", "pyi", "grpc_python")]
    protos = sorted(str(path) for path in (CONTRACT / "stead").rglob("*.proto"))
    if protoc.main(["protoc", *imports, *outputs, *protos]) != 0:
        sys.exit("generate.py: protoc found faults in the contract; its words stand above")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python generate.py DIRECTORY")
    generate(Path(sys.argv[1]))
