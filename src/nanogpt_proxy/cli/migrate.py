"""`migrate`: bring the database to this release without starting the proxy."""

from __future__ import annotations

import click

from nanogpt_proxy.cli.output import say


@click.command("migrate")
def migrate() -> None:
    """Bring the database to this release. `serve` does it too, when it is due."""
    import asyncio

    from nanogpt_proxy import settings
    from nanogpt_proxy.opening import open_store

    async def session() -> str:
        store = await open_store(settings.load())
        await store.close()
        if store.migrated:
            return f"the database is now at revision {store.revision}"
        return f"the database is at revision {store.revision} already"

    say(asyncio.run(session()))
