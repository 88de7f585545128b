"""`import` and `export`: bring users in from a file, write them into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanogpt_proxy.cli.output import hint, say, table
from nanogpt_proxy.cli.secret_input import read_secret
from nanogpt_proxy.cli.session import with_store
from nanogpt_proxy.errors import AccountError, ProxyError
from nanogpt_proxy.models import Secret, is_usual_key, key_hint

if TYPE_CHECKING:
    from nanogpt_proxy.moving.entries import Entry, Source
    from nanogpt_proxy.moving.importing import Planned
    from nanogpt_proxy.store import Store
    from nanogpt_proxy.vault import Vault

_HOW_TO_READ = "Read the passphrase from this file; `-` is standard input."


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Write. Without it, only show what would be done.")
@click.option("--replace", is_flag=True, help="Change users who exist; else they stay as they are.")
@click.option(
    "--old-secret-file", help="Read the old DB_ENCRYPTION_KEY from this file; `-` is stdin."
)
@click.option("--passphrase-file", help=_HOW_TO_READ)
def import_users(
    file: Path, yes: bool, replace: bool, old_secret_file: str | None, passphrase_file: str | None
) -> None:
    """Bring users in: keys.db of an earlier nanogpt-proxy, JSON, CSV, or an export of this one.

    All of them or none. What a file needs to be opened is asked for without showing it, or read
    from stdin when that is no terminal; OLD_DB_ENCRYPTION_KEY may hold the old secret.
    """
    from nanogpt_proxy.moving.entries import checked
    from nanogpt_proxy.moving.files import recognise

    source = recognise(file)
    entries = checked(source.rows(_secret_of(source, old_secret_file, passphrase_file)))
    for entry in entries:
        if entry.key is not None and not is_usual_key(entry.key):
            hint(f"the key of {entry.email} does not look like a NanoGPT key (sk-nano-…)")
    plan = _carried_out(entries, replace=replace, write=yes)
    _tell(plan, written=yes)


def _secret_of(
    source: Source, old_secret_file: str | None, passphrase_file: str | None
) -> Secret | None:
    if source.asks_for is None:
        return None
    from nanogpt_proxy import settings
    from nanogpt_proxy.moving.seed import SeedFile

    if not isinstance(source, SeedFile):
        return read_secret(source.asks_for, passphrase_file)
    kept = settings.load().old_db_encryption_key if old_secret_file is None else None
    return kept or read_secret(source.asks_for, old_secret_file)


def _carried_out(entries: Sequence[Entry], *, replace: bool, write: bool) -> Sequence[Planned]:
    from nanogpt_proxy.moving.importing import Import

    async def work(store: Store, vault: Vault) -> Sequence[Planned]:
        bringing = Import(store, vault)
        plan = await bringing.plan(entries, replace=replace)
        if write:
            await bringing.carry_out(plan)
        return plan

    try:
        return with_store(work)
    except AccountError as failure:
        mend = "nothing was written; run import again"
        raise AccountError(failure.message, hint=mend) from None


def _tell(plan: Sequence[Planned], *, written: bool) -> None:
    from nanogpt_proxy.moving.importing import Fate

    if plan:
        say(table(("E-MAIL", "KEY", "WHAT"), [_row(each) for each in plan]))
    count = {fate: sum(each.fate is fate for each in plan) for fate in Fate}
    done = ("added", "replaced", "kept") if written else ("to add", "to replace", "to keep")
    say(", ".join(f"{n} {word}" for n, word in zip(count.values(), done, strict=True)))
    if not written:
        hint("nothing was written: --yes does it")
        if count[Fate.KEEP]:
            hint("users who exist stay as they are; --replace takes what the file says of them")


def _row(planned: Planned) -> tuple[str, str, str]:
    entry = planned.entry
    key = "-" if entry.key is None else f"…{key_hint(entry.key)}"
    return entry.email, key, f"{planned.fate}{', disabled' if entry.disabled else ''}"


@click.command("export")
@click.option("--with-keys", is_flag=True, help="Also the keys, sealed under a passphrase.")
@click.option("--passphrase-file", help=_HOW_TO_READ)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write a new file that only you may read."
)
def export_users(with_keys: bool, passphrase_file: str | None, output: Path | None) -> None:
    """Write all users as JSON, without keys or with keys sealed under a passphrase.

    The passphrase is asked for twice without showing it, or read from stdin when that is no
    terminal. `import` reads the file back.
    """
    from datetime import UTC, datetime

    from nanogpt_proxy.moving.exported import export

    if passphrase_file is not None and not with_keys:
        raise click.UsageError("--passphrase-file is for --with-keys")
    secret = read_secret("Passphrase", passphrase_file, twice=True) if with_keys else None
    text = with_store(lambda store, vault: export(store, vault, secret, datetime.now(UTC)))
    if output is None:
        say(text)
    else:
        _write(output, text)


def _write(path: Path, text: str) -> None:
    from nanogpt_proxy.private_files import create_private

    if not path.parent.is_dir():
        raise ProxyError(f"{path} cannot be written: there is no such folder")
    try:
        created = create_private(path, text)
    except OSError as failure:
        raise ProxyError(f"{path} cannot be written: {failure.strerror}") from None
    if not created:
        raise ProxyError(f"{path} is there already", hint="name a file that does not exist")
    say(f"wrote {path}")
