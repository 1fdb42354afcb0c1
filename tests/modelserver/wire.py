"""The APIs that agents speak: what a request asks, how an answer looks, whole or as server-sent events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from tests.modelserver.script import Reply, Tool

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["APIS", "Api", "Chat", "Gemini", "Messages", "Responses"]

Json = dict[str, Any]
TOKENS_IN, TOKENS_OUT = 100, 20


class Api(Protocol):
    """One of the APIs."""

    def turn(self, body: Json) -> int:
        """Return how many calls of tools the conversation holds."""

    def tools(self, body: Json) -> list[Tool]:
        """Return the tools that are offered."""

    def whole(self, answer: Reply, body: Json, turn: int) -> Json:
        """Return an answer in one piece."""

    def stream(self, answer: Reply, body: Json, turn: int) -> Iterator[bytes]:
        """Yield an answer as server-sent events."""


def _data(value: object, event: str | None = None) -> bytes:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()


class Chat:
    """OpenAI chat completions."""

    def turn(self, body: Json) -> int:
        return sum(bool(message.get("tool_calls")) for message in body.get("messages", ()))

    def tools(self, body: Json) -> list[Tool]:
        functions = [tool.get("function", {}) for tool in body.get("tools") or ()]
        return [Tool(each["name"], each.get("parameters") or {}) for each in functions]

    def whole(self, answer: Reply, body: Json, turn: int) -> Json:
        choice = {"index": 0, "finish_reason": self._why(answer), "message": self._message(answer, turn)}
        return self._frame("chat.completion", body, choice) | {"usage": self._usage()}

    def stream(self, answer: Reply, body: Json, turn: int) -> Iterator[bytes]:
        message = self._message(answer, turn)
        for at, call in enumerate(message.get("tool_calls", ())):
            call["index"] = at
        for delta, why in ((message, None), ({}, self._why(answer))):
            choice = {"index": 0, "delta": delta, "finish_reason": why}
            yield _data(self._frame("chat.completion.chunk", body, choice))
        yield _data(self._frame("chat.completion.chunk", body, None) | {"usage": self._usage()})
        yield _data("[DONE]")

    def _message(self, answer: Reply, turn: int) -> Json:
        message: Json = {"role": "assistant", "content": answer.text}
        if answer.tool:
            function = {"name": answer.tool, "arguments": answer.arguments_json}
            message["tool_calls"] = [{"id": f"call_{turn}", "type": "function", "function": function}]
        return message

    def _frame(self, kind: str, body: Json, choice: Json | None) -> Json:
        choices = [] if choice is None else [choice]
        return {"id": "chat-1", "object": kind, "created": 1, "model": body.get("model", "fake"), "choices": choices}

    def _why(self, answer: Reply) -> str:
        return "tool_calls" if answer.tool else "stop"

    def _usage(self) -> Json:
        return {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT, "total_tokens": TOKENS_IN + TOKENS_OUT}


class Responses:
    """OpenAI responses."""

    def turn(self, body: Json) -> int:
        items = body.get("input")
        if not isinstance(items, list):
            return 0
        return sum(str(item.get("type", "")).endswith("_call") for item in items)

    def tools(self, body: Json) -> list[Tool]:
        return [Tool(tool["name"], tool.get("parameters") or {}) for tool in body.get("tools") or () if "name" in tool]

    def whole(self, answer: Reply, body: Json, turn: int) -> Json:
        usage = {
            "input_tokens": TOKENS_IN,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": TOKENS_OUT,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": TOKENS_IN + TOKENS_OUT,
        }
        frame = {"id": f"resp_{turn}", "object": "response", "created_at": 1, "model": body.get("model", "fake")}
        return {**frame, "status": "completed", "output": [self._item(answer, turn)], "usage": usage}

    def stream(self, answer: Reply, body: Json, turn: int) -> Iterator[bytes]:
        done = self.whole(answer, body, turn)
        begun = {**done, "status": "in_progress", "output": [], "usage": None}
        item = done["output"][0]
        for kind, rest in (
            ("response.created", {"response": begun}),
            ("response.output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress"}}),
            ("response.output_item.done", {"output_index": 0, "item": item}),
            ("response.completed", {"response": done}),
        ):
            yield _data({"type": kind, **rest}, kind)

    def _item(self, answer: Reply, turn: int) -> Json:
        if answer.tool:
            call = {"call_id": f"call_{turn}", "name": answer.tool, "arguments": answer.arguments_json}
            return {"type": "function_call", "id": f"fc_{turn}", "status": "completed", **call}
        content = [{"type": "output_text", "text": answer.text, "annotations": []}]
        return {
            "type": "message",
            "id": f"msg_{turn}",
            "status": "completed",
            "role": "assistant",
            "content": content,
        }


class Messages:
    """Anthropic messages."""

    def turn(self, body: Json) -> int:
        parts = [part for message in body.get("messages", ()) for part in message.get("content") or ()]
        return sum(isinstance(part, dict) and part.get("type") == "tool_use" for part in parts)

    def tools(self, body: Json) -> list[Tool]:
        return [
            Tool(tool["name"], tool.get("input_schema") or {}) for tool in body.get("tools") or () if "name" in tool
        ]

    def whole(self, answer: Reply, body: Json, turn: int) -> Json:
        return self._frame(body, turn) | {
            "content": [self._block(answer, turn)],
            "stop_reason": "tool_use" if answer.tool else "end_turn",
            "usage": {"input_tokens": TOKENS_IN, "output_tokens": TOKENS_OUT},
        }

    def stream(self, answer: Reply, body: Json, turn: int) -> Iterator[bytes]:
        block = self._block(answer, turn)
        empty: Json = {**block, "input": {}} if answer.tool else {**block, "text": ""}
        delta = (
            {"type": "input_json_delta", "partial_json": answer.arguments_json}
            if answer.tool
            else {"type": "text_delta", "text": answer.text}
        )
        why = "tool_use" if answer.tool else "end_turn"
        for kind, rest in (
            ("message_start", {"message": self._frame(body, turn) | {"content": [], "usage": self._usage(0)}}),
            ("content_block_start", {"index": 0, "content_block": empty}),
            ("content_block_delta", {"index": 0, "delta": delta}),
            ("content_block_stop", {"index": 0}),
            ("message_delta", {"delta": {"stop_reason": why, "stop_sequence": None}, "usage": self._usage(TOKENS_OUT)}),
            ("message_stop", {}),
        ):
            yield _data({"type": kind, **rest}, kind)

    def _frame(self, body: Json, turn: int) -> Json:
        frame = {"id": f"msg_{turn}", "type": "message", "role": "assistant", "model": body.get("model", "fake")}
        return {**frame, "stop_reason": None, "stop_sequence": None}

    def _usage(self, out: int) -> Json:
        return {"input_tokens": TOKENS_IN, "output_tokens": out}

    def _block(self, answer: Reply, turn: int) -> Json:
        if answer.tool:
            return {"type": "tool_use", "id": f"toolu_{turn}", "name": answer.tool, "input": answer.arguments}
        return {"type": "text", "text": answer.text}


class Gemini:
    """Google Gemini."""

    def turn(self, body: Json) -> int:
        return sum(
            "functionCall" in part for content in body.get("contents", ()) for part in content.get("parts") or ()
        )

    def tools(self, body: Json) -> list[Tool]:
        declared = [each for tool in body.get("tools") or () for each in tool.get("functionDeclarations", ())]
        return [
            Tool(each["name"], each.get("parametersJsonSchema") or each.get("parameters") or {}) for each in declared
        ]

    def whole(self, answer: Reply, body: Json, turn: int) -> Json:
        del body, turn
        part = (
            {"functionCall": {"name": answer.tool, "args": answer.arguments}} if answer.tool else {"text": answer.text}
        )
        candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
        usage = {"promptTokenCount": TOKENS_IN, "candidatesTokenCount": TOKENS_OUT}
        return {"candidates": [candidate], "usageMetadata": usage | {"totalTokenCount": TOKENS_IN + TOKENS_OUT}}

    def stream(self, answer: Reply, body: Json, turn: int) -> Iterator[bytes]:
        yield _data(self.whole(answer, body, turn))


APIS: dict[str, Api] = {
    "/chat/completions": Chat(),
    "/responses": Responses(),
    "/messages": Messages(),
    ":generateContent": Gemini(),
    ":streamGenerateContent": Gemini(),
}
"""By how the path of a request ends."""
