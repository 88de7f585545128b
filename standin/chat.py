"""`/chat/completions` and `/completions`."""

from __future__ import annotations

from standin.answers import DONE, Answer, data_event, json_answer, sse_answer
from standin.call import Call
from standin.recorder import Json

CREATED = 1_772_346_068


def _id(call: Call) -> str:
    return f"chatcmpl_standin_{call.record.number}"


def tokens(text: str) -> int:
    return max(1, len(text) // 4)


def usage(call: Call) -> Json:
    prompt, completion = tokens(str(call.json.get("messages", ""))), tokens(call.text)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        "input_tokens": prompt,
    }


def pricing(call: Call) -> Json:
    counted = usage(call)
    return {
        "amount": 0.000021,
        "currency": "USD",
        "cost": 0.000021,
        "paymentSource": "USD",
        "inputTokens": counted["prompt_tokens"],
        "outputTokens": counted["completion_tokens"],
        "requestId": call.record.request_id,
        "remainingBalance": 12.3,
    }


def _message(call: Call) -> tuple[Json, str]:
    message: Json = {"role": "assistant", "content": call.text}
    if call.order.name == "reasoning":
        message["reasoning"] = "Let me think."
    if call.order.name == "tools":
        function = {"name": "weather", "arguments": '{"city":"Köln"}'}
        tool = {"id": "call_1", "type": "function", "function": function}
        return {**message, "content": None, "tool_calls": [tool]}, "tool_calls"
    return message, "stop"


def chat(call: Call) -> Answer:
    """A chat completion, streamed if asked."""
    if call.stream:
        return _chat_stream(call)
    message, reason = _message(call)
    return json_answer(
        {
            "id": _id(call),
            "object": "chat.completion",
            "created": CREATED,
            "model": call.model,
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": usage(call),
            "x_nanogpt_pricing": pricing(call),
            **call.extra(),
        }
    )


def chunk(call: Call, delta: Json, reason: str | None = None, **more: object) -> bytes:
    """One event of a chat stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    head = {"id": _id(call), "object": "chat.completion.chunk", "created": CREATED}
    return data_event({**head, "model": call.model, "choices": [choice], **more})


def _chat_stream(call: Call) -> Answer:
    events = [chunk(call, {"role": "assistant", "content": ""})]
    reason = "stop"
    if call.order.name == "reasoning":
        events += [chunk(call, {"reasoning": word}) for word in ("Let ", "me ", "think.")]
    if call.order.name == "tools":
        reason = "tool_calls"
        tool = {"index": 0, "id": "call_1", "type": "function"}
        for part in ({"name": "weather", "arguments": ""}, {"arguments": '{"city":"Köln"}'}):
            events.append(chunk(call, {"tool_calls": [{**tool, "function": part}]}))
    else:
        events += [chunk(call, {"content": delta}) for delta in call.deltas]
    options = call.json.get("stream_options") or {}
    more: Json = {"usage": usage(call)} if options.get("include_usage") is True else {}
    # NanoGPT puts usage on the finish event, not into an event without choices as OpenAI does.
    events.append(chunk(call, {}, reason, **more, x_nanogpt_pricing=pricing(call)))
    return sse_answer([*events, DONE], ending=2)


def completions(call: Call) -> Answer:
    """A text completion, streamed if asked."""
    head = {"id": _id(call), "object": "text_completion", "created": CREATED, "model": call.model}
    bill = {"x_nanogpt_pricing": pricing(call)}

    def choice(text: str, reason: str | None) -> list[Json]:
        return [{"index": 0, "text": text, "logprobs": None, "finish_reason": reason}]

    if not call.stream:
        whole = {**head, "choices": choice(call.text, "stop"), "usage": usage(call)}
        return json_answer({**whole, **bill, **call.extra()})
    events = [data_event({**head, "choices": choice(delta, None)}) for delta in call.deltas]
    events.append(data_event({**head, "choices": choice("", "stop"), **bill}))
    return sse_answer([*events, DONE], ending=2)
