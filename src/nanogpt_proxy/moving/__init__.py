"""Users come in from files and go out into files.

`files` tells what a file is; `seed`, `lists` and `exported` read each kind; `entries` is what all
of them give; `importing` writes it into the store.
"""
