"""The data plane: one request, hop by hop.

::

    client ──▶ server ──▶ exchange ──▶ upstream ──▶ NanoGPT
                             │
              routes · identity · directory · limits · headers · json_body

`server` turns bytes into requests, `exchange` owns the story of one request and reads from top to
bottom, `upstream` turns an answer's bytes into events. `routes`, `identity`, `headers`,
`json_body` and `endings` are pure: they decide, and neither wait nor write.
"""
