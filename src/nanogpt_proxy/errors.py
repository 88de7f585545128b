"""What can go wrong, as a tree.

::

    ProxyError                   a sentence, and perhaps a hint what to do next
    ├── ConfigurationError       settings are wrong; holds every problem        exit 2
    ├── InvalidInput             a person typed something unusable              exit 2
    │   ├── InvalidEmail
    │   └── InvalidKey
    ├── AccountError             the account is not as the command needs it     exit 1
    │   ├── AccountExists
    │   ├── NoSuchAccount
    │   └── BoundOtherwise       it belongs to another user of Open WebUI
    ├── VaultError               a sealed key cannot be opened                  exit 1
    │   ├── WrongMasterKey       sealed by another master key
    │   ├── SealBroken           altered, cut short, or moved from another user
    │   └── OutdatedSeal         sealed by a master key that is no longer in use
    ├── StoreError               the database cannot be used                    exit 1
    │   └── StoreUnavailable     now, but perhaps later
    └── Refusal                  the gateway answers this instead of NanoGPT

A class exists only where a caller acts differently. Libraries' own exceptions are translated
where the library is used, so that nothing above needs to know which library it is.
"""

from __future__ import annotations

from collections.abc import Sequence


class ProxyError(Exception):
    """Base of all errors of ours: one sentence for a person, never a secret in it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigurationError(ProxyError):
    """The settings cannot be used. `problems` names each of them together with its mend."""

    exit_code = 2

    def __init__(self, problems: Sequence[str], *, hint: str | None = None) -> None:
        super().__init__("; ".join(problems), hint=hint)
        self.problems = tuple(problems)


class InvalidInput(ProxyError):
    """Something that a person typed cannot be used as it stands."""

    exit_code = 2


class InvalidEmail(InvalidInput):
    """Not an e-mail address in the sense of `models.canonical_email`."""


class InvalidKey(InvalidInput):
    """Not an API key in the sense of `models.clean_key`."""


class AccountError(ProxyError):
    """The account is not in the state that the action needs."""


class AccountExists(AccountError):
    """There is an account with this e-mail already."""


class NoSuchAccount(AccountError):
    """There is no account with this e-mail."""


class BoundOtherwise(AccountError):
    """The account is bound to another user of Open WebUI, or the user to another account."""


class VaultError(ProxyError):
    """A sealed key cannot be opened."""


class WrongMasterKey(VaultError):
    """The text was sealed by another master key than the one at hand."""


class SealBroken(VaultError):
    """The text was altered, cut short, or sealed for another user."""


class OutdatedSeal(VaultError):
    """Sealed by a master key that was replaced meanwhile: to be sealed anew, and written again."""


class StoreError(ProxyError):
    """The database cannot be used."""


class StoreUnavailable(StoreError):
    """The database does not answer now; the same call may work later."""


class Refusal(ProxyError):
    """An answer of our own on `/v1`, in place of NanoGPT's.

    `code` is stable and meant for programs, `message` is one sentence for a person. `kind` is the
    `type` of OpenAI's error object. `headers` go out with the answer, names in lower case.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        kind: str = "invalid_request_error",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.kind = kind
        self.headers = tuple(headers)
