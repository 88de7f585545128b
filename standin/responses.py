"""`/responses`: streamed or whole, and kept for the account that asked."""

from __future__ import annotations

from collections import OrderedDict

from standin.answers import DONE, Answer, data_event, json_answer, sse_answer
from standin.call import Call
from standin.chat import CREATED, pricing, tokens
from standin.errors import Problem
from standin.recorder import Json

_KEPT = 1000


class Shelf:
    """Stored replies, each readable with the key that made it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[str, Json]] = OrderedDict()

    def put(self, key: str, reply: Json) -> None:
        self._kept[reply["id"]] = (key, reply)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def get(self, key: str, name: str) -> Json:
        owner, reply = self._kept.get(name, ("", {}))
        if not reply or owner != key:
            raise Problem(404, "response_not_found", f"Response {name} not found.")
        return reply

    def drop(self, key: str, name: str) -> None:
        self.get(key, name)
        del self._kept[name]


class Responses:
    """The three calls of the route, around one shelf."""

    def __init__(self) -> None:
        self._shelf = Shelf()

    def create(self, call: Call) -> Answer:
        reply = _reply(call, "completed")
        if call.json.get("store") is not False:
            self._shelf.put(call.key, reply)
        if call.json.get("background") is True:
            return json_answer(_reply(call, "queued", done=False), status=202)
        if call.stream:
            return _stream(call, reply)
        return json_answer({**reply, **call.extra()})

    def read(self, call: Call) -> Answer:
        return json_answer({**self._shelf.get(call.key, _name(call)), **call.extra()})

    def delete(self, call: Call) -> Answer:
        self._shelf.drop(call.key, _name(call))
        return json_answer({"id": _name(call), "object": "response", "deleted": True})


def _name(call: Call) -> str:
    return call.record.path.rsplit("/", 1)[-1]


def _item(call: Call, status: str, text: str | None) -> Json:
    part: Json = {"type": "output_text", "text": text, "annotations": []}
    return {
        "id": f"msg_standin_{call.record.number}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [] if text is None else [part],
    }


def _reply(call: Call, status: str, *, done: bool = True) -> Json:
    entered, left = tokens(str(call.json.get("input", ""))), tokens(call.text)
    usage = {
        "input_tokens": entered,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": left,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": entered + left,
    }
    return {
        "id": f"resp_standin_{call.record.number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "model": call.model,
        "output": [_item(call, "completed", call.text)] if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "usage": usage if done else None,
        "x_nanogpt_pricing": pricing(call),
    }


def _stream(call: Call, reply: Json) -> Answer:
    events: list[bytes] = []

    def add(kind: str, **fields: object) -> None:
        events.append(data_event({"type": kind, "sequence_number": len(events), **fields}))

    place: Json = {"item_id": f"msg_standin_{call.record.number}", "output_index": 0}
    inner: Json = {**place, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": []}
    started = _reply(call, "in_progress", done=False)
    add("response.created", response=started)
    add("response.in_progress", response=started)
    add("response.output_item.added", output_index=0, item=_item(call, "in_progress", None))
    add("response.content_part.added", **inner, part=empty)
    for delta in call.deltas:
        add("response.output_text.delta", **inner, delta=delta, logprobs=[])
    add("response.output_text.done", **inner, text=call.text, logprobs=[])
    add("response.content_part.done", **inner, part={**empty, "text": call.text})
    add("response.output_item.done", output_index=0, item=_item(call, "completed", call.text))
    add("response.completed", response=reply)
    return sse_answer([*events, DONE], ending=2)
