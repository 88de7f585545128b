"""A NanoGPT that runs on your machine: for tests, the demo and benchmarks.

It speaks the part of NanoGPT's API that the proxy relays, in NanoGPT's shapes, and misbehaves on
request: the model `standin/<scenario>[:<argument>…]`, the query `?scenario=…` or an order given
through its control endpoints choose how. `README.md` beside this file has the table.

Honest HTTP is aiohttp's, so that the proxy is not tested against its own ideas of HTTP. Where
a scenario must break HTTP, it writes raw bytes to the same connection.

::

    __main__   command line              server      connections, recording, dispatch
    access     keys and refusals         bodies      what was sent: hash, parts, JSON
    call       one request being served  routes      path → what NanoGPT would answer
    answers    answers as values         errors      NanoGPT's error shapes
    chat       chat and completions      anthropic   messages
    responses  stored replies            media       embeddings, images, audio
    catalogue  model lists               delivery    honest and raw sending
    scenarios/ what can go wrong         recorder    what was received, for tests to read
    control    /__standin/…              process     starts it from a test
    demo       `make demo`
"""
