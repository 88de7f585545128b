"""`rotate-key`: change the encryption key while the proxy serves."""

from __future__ import annotations

import click

from nanogpt_proxy.cli.output import hint, say


@click.command("rotate-key")
def rotate_key() -> None:
    """Change the encryption key: all API keys are sealed anew.

    Running proxies go on. If it is cut short, run it again: it goes on from there.
    """
    import asyncio

    from nanogpt_proxy import settings
    from nanogpt_proxy.rotation import rotate
    from nanogpt_proxy.vault.master_keys import KEY_FILE

    chosen = settings.load()
    done = asyncio.run(rotate(chosen))
    if not done.changed:
        say(f"all API keys are sealed by the encryption key {done.key_id} already")
    else:
        say(f"sealed {done.renewed} API keys anew; the encryption key is now {done.key_id}")
    if done.from_file:
        path = chosen.data_dir / KEY_FILE
        hint(f"back up {path} now: the key that it held before opens this database no more")
    else:
        hint("remove DB_ENCRYPTION_KEY_PREVIOUS now, and restart the proxy")
