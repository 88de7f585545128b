"""`/messages` and `/messages/count_tokens`: Anthropic's shapes, as NanoGPT gives them."""

from __future__ import annotations

from standin.answers import Answer, json_answer, named_event, sse_answer
from standin.call import Call
from standin.chat import pricing, tokens
from standin.recorder import Json


def _message(call: Call) -> Json:
    return {
        "id": f"msg_standin_{call.record.number}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": _input(call), "output_tokens": 1},
    }


def _input(call: Call) -> int:
    return tokens(str(call.json.get("messages", "")))


def messages(call: Call) -> Answer:
    """A message, as named events if asked."""
    if call.stream:
        return _stream(call)
    said = {
        **_message(call),
        "content": [{"type": "text", "text": call.text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": _input(call), "output_tokens": tokens(call.text)},
        "x_nanogpt_pricing": pricing(call),
    }
    return json_answer({**said, **call.extra()})


def _stream(call: Call) -> Answer:
    def event(name: str, **fields: object) -> bytes:
        return named_event(name, {"type": name, **fields})

    events = [
        event("message_start", message=_message(call)),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": delta})
            for delta in call.deltas
        ),
        event("content_block_stop", index=0),
        event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": tokens(call.text)},
        ),
        event("message_stop"),
    ]
    return sse_answer(events, ending=3)


def count_tokens(call: Call) -> Answer:
    """How long a message would be."""
    return json_answer({"input_tokens": _input(call), **call.extra()})
