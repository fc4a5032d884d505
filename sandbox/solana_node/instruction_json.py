"""Instructions as jsonParsed shows them (agave `transaction-status/src/parse_*.rs`).

System, token, associated-token-account and memo instructions are parsed; any other program, and what the
tables below do not have, appears as a node shows what it cannot parse: program id, accounts, base58 data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from solders.pubkey import Pubkey
from spl.token.constants import ASSOCIATED_TOKEN_PROGRAM_ID

from sandbox.solana_node.accounts import SYSTEM_PROGRAM
from sandbox.solana_node.base58 import b58encode
from sandbox.solana_node.records import MEMO_PROGRAMS, InvokedInstruction
from sandbox.solana_node.token_layout import TOKEN_PROGRAMS, ui_token_amount

if TYPE_CHECKING:
    from collections.abc import Callable

Parsed = tuple[str, dict[str, Any]]


def instruction_json(ix: InvokedInstruction, keys: tuple[Pubkey, ...]) -> dict[str, Any]:
    """Return an instruction parsed, or partly decoded where no parser knows it."""
    program = keys[ix.program_index]
    accounts = [str(keys[index]) for index in ix.accounts]
    if program in MEMO_PROGRAMS:
        return _parsed("spl-memo", program, ix.data.decode(errors="replace"), ix)
    for name, programs, parse in _PARSERS:
        if program in programs:
            try:
                kind, info = parse(ix.data, accounts)
            except (IndexError, LookupError):
                break
            return _parsed(name, program, {"type": kind, "info": info}, ix)
    return {
        "programId": str(program),
        "accounts": accounts,
        "data": b58encode(ix.data),
        "stackHeight": ix.stack_height,
    }


def _parsed(name: str, program: Pubkey, parsed: Any, ix: InvokedInstruction) -> dict[str, Any]:
    return {"program": name, "programId": str(program), "parsed": parsed, "stackHeight": ix.stack_height}


def _u64(data: bytes, at: int) -> int:
    if len(data) < at + 8:
        raise IndexError("short instruction data")
    return int.from_bytes(data[at : at + 8], "little")


def _key(data: bytes, at: int) -> str:
    if len(data) < at + 32:
        raise IndexError("short instruction data")
    return str(Pubkey.from_bytes(data[at : at + 32]))


def _optional_key(data: bytes, at: int) -> str | None:
    return _key(data, at + 1) if data[at] else None


def _system(data: bytes, accounts: list[str]) -> Parsed:
    kind = int.from_bytes(data[:4], "little")
    if kind == 0:
        return "createAccount", {
            "source": accounts[0],
            "newAccount": accounts[1],
            "lamports": _u64(data, 4),
            "space": _u64(data, 12),
            "owner": _key(data, 20),
        }
    if kind == 1:
        return "assign", {"account": accounts[0], "owner": _key(data, 4)}
    if kind == 2:
        return "transfer", {"source": accounts[0], "destination": accounts[1], "lamports": _u64(data, 4)}
    if kind == 8:
        return "allocate", {"account": accounts[0], "space": _u64(data, 4)}
    raise LookupError(kind)


def _associated_token(data: bytes, accounts: list[str]) -> Parsed:
    kind = {0: "create", 1: "createIdempotent"}[data[0] if data else 0]
    fields = ("source", "account", "wallet", "mint", "systemProgram", "tokenProgram")
    return kind, {field: accounts[index] for index, field in enumerate(fields)}


def _amount(data: bytes) -> dict[str, Any]:
    return {"amount": str(_u64(data, 1))}


def _checked_amount(data: bytes) -> dict[str, Any]:
    return {"tokenAmount": ui_token_amount(_u64(data, 1), data[9])}


def _owner_of_account(data: bytes) -> dict[str, Any]:
    return {"owner": _key(data, 1)}


def _mint_settings(data: bytes) -> dict[str, Any]:
    settings: dict[str, Any] = {"decimals": data[1], "mintAuthority": _key(data, 2)}
    freezer = _optional_key(data, 34)
    return settings | ({"freezeAuthority": freezer} if freezer else {})


def _nothing(_data: bytes) -> dict[str, Any]:
    return {}


# tag -> type, names of the accounts in order, what the data says, who signs ("" for nobody)
_TOKEN: dict[int, tuple[str, tuple[str, ...], Callable[[bytes], dict[str, Any]], str]] = {
    0: ("initializeMint", ("mint", "rentSysvar"), _mint_settings, ""),
    1: ("initializeAccount", ("account", "mint", "owner", "rentSysvar"), _nothing, ""),
    3: ("transfer", ("source", "destination"), _amount, "authority"),
    4: ("approve", ("source", "delegate"), _amount, "owner"),
    5: ("revoke", ("source",), _nothing, "owner"),
    7: ("mintTo", ("mint", "account"), _amount, "mintAuthority"),
    8: ("burn", ("account", "mint"), _amount, "authority"),
    9: ("closeAccount", ("account", "destination"), _nothing, "owner"),
    10: ("freezeAccount", ("account", "mint"), _nothing, "freezeAuthority"),
    11: ("thawAccount", ("account", "mint"), _nothing, "freezeAuthority"),
    12: ("transferChecked", ("source", "mint", "destination"), _checked_amount, "authority"),
    13: ("approveChecked", ("source", "mint", "delegate"), _checked_amount, "owner"),
    14: ("mintToChecked", ("mint", "account"), _checked_amount, "mintAuthority"),
    15: ("burnChecked", ("account", "mint"), _checked_amount, "authority"),
    17: ("syncNative", ("account",), _nothing, ""),
    18: ("initializeAccount3", ("account", "mint"), _owner_of_account, ""),
    20: ("initializeMint2", ("mint",), _mint_settings, ""),
    21: ("getAccountDataSize", ("mint",), _nothing, ""),
    22: ("initializeImmutableOwner", ("account",), _nothing, ""),
    25: (
        "initializeMintCloseAuthority",
        ("mint",),
        lambda data: {"newAuthority": _optional_key(data, 1)},
        "",
    ),
}
_AUTHORITY_TYPES = ("mintTokens", "freezeAccount", "accountOwner", "closeAccount")
_TRANSFER_FEE_EXTENSION, _SET_AUTHORITY = 26, 6


def _token(data: bytes, accounts: list[str]) -> Parsed:
    tag = data[0]
    if tag == _SET_AUTHORITY:
        kind = _AUTHORITY_TYPES[data[1]]
        owned = "mint" if data[1] < 2 else "account"
        info = {owned: accounts[0], "authorityType": kind, "newAuthority": _optional_key(data, 2)}
        return "setAuthority", info | _signers(accounts, 1, "authority")
    if tag == _TRANSFER_FEE_EXTENSION:
        return _transfer_fee(data[1:], accounts)
    kind, names, from_data, authority = _TOKEN[tag]
    info = {name: accounts[index] for index, name in enumerate(names)} | from_data(data)
    return kind, info | (_signers(accounts, len(names), authority) if authority else {})


def _transfer_fee(data: bytes, accounts: list[str]) -> Parsed:
    if data[0] == 4:
        return "harvestWithheldTokensToMint", {"mint": accounts[0], "sourceAccounts": accounts[1:]}
    if data[0] != 1:
        raise LookupError(data[0])
    info = {
        "source": accounts[0],
        "mint": accounts[1],
        "destination": accounts[2],
        "tokenAmount": ui_token_amount(_u64(data, 1), data[9]),
        "feeAmount": ui_token_amount(_u64(data, 10), data[9]),
    }
    return "transferCheckedWithFee", info | _signers(accounts, 3, "authority")


def _signers(accounts: list[str], at: int, name: str) -> dict[str, Any]:
    if len(accounts) > at + 1:
        multisig = f"multisig{name[0].upper()}{name[1:]}"
        return {multisig: accounts[at], "signers": accounts[at + 1 :]}
    return {name: accounts[at]}


_PARSERS: tuple[tuple[str, tuple[Pubkey, ...], Callable[[bytes, list[str]], Parsed]], ...] = (
    ("system", (SYSTEM_PROGRAM,), _system),
    ("spl-token", TOKEN_PROGRAMS, _token),
    ("spl-associated-token-account", (ASSOCIATED_TOKEN_PROGRAM_ID,), _associated_token),
)
