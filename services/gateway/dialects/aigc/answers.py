"""Answers as google.api.HttpBody."""

from __future__ import annotations

from google.api import httpbody_pb2
from google.protobuf.message import Message

from services.gateway.json_writer import write_json

JSON = "application/json"


def answer(message: Message) -> httpbody_pb2.HttpBody:
    """Return a message as a JSON body."""
    return httpbody_pb2.HttpBody(content_type=JSON, data=write_json(message))


def written(data: bytes) -> httpbody_pb2.HttpBody:
    """Return a JSON body that was written before."""
    return httpbody_pb2.HttpBody(content_type=JSON, data=data)
