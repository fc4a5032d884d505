"""RPC methods about accounts and token accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.solana_node.account_json import ReadAccount, account_json
from sandbox.solana_node.errors import invalid_params
from sandbox.solana_node.params import Config, Params, commitment, pubkey, with_context
from sandbox.solana_node.token_layout import TOKEN_PROGRAMS, parse_holding, parse_mint, ui_token_amount

if TYPE_CHECKING:
    from collections.abc import Callable

    from solders.account import Account
    from solders.pubkey import Pubkey

    from sandbox.solana_node.clock import Commitment
    from sandbox.solana_node.state import NodeState

MULTIPLE_ACCOUNTS = 100


def _reader(node: NodeState, level: Commitment) -> ReadAccount:
    def read(address: Pubkey) -> Account | None:
        return node.chain.accounts.get(address, level)

    return read


def _shown(account: Account | None, config: Config, read: ReadAccount) -> dict[str, Any] | None:
    if account is None:
        return None
    return account_json(account, config.get("encoding"), config.get("dataSlice"), read)


def get_account_info(node: NodeState, params: Params) -> Any:
    """getAccountInfo(address, {encoding, dataSlice, commitment})."""
    address, config = params.pubkey(0), params.config(1)
    level = commitment(config)
    read = _reader(node, level)
    return with_context(node, level, _shown(read(address), config, read))


def get_multiple_accounts(node: NodeState, params: Params) -> Any:
    """getMultipleAccounts([address, ...], config): at most 100 keys."""
    addresses, config = params.required(0, list, "a sequence"), params.config(1)
    if len(addresses) > MULTIPLE_ACCOUNTS:
        raise invalid_params(f"Too many inputs provided; max {MULTIPLE_ACCOUNTS}")
    level = commitment(config)
    read = _reader(node, level)
    if config.get("encoding") is None:
        config = {**config, "encoding": "base64"}
    return with_context(node, level, [_shown(read(pubkey(text)), config, read) for text in addresses])


def get_balance(node: NodeState, params: Params) -> Any:
    """getBalance(address, config)."""
    address = params.pubkey(0)
    level = commitment(params.config(1))
    account = node.chain.accounts.get(address, level)
    return with_context(node, level, 0 if account is None else account.lamports)


def get_token_account_balance(node: NodeState, params: Params) -> Any:
    """getTokenAccountBalance(address, config)."""
    address = params.pubkey(0)
    level = commitment(params.config(1))
    read = _reader(node, level)
    account = read(address)
    if account is None:
        raise invalid_params("Invalid param: could not find account")
    holding = parse_holding(account)
    if holding is None:
        raise invalid_params("Invalid param: not a Token account")
    mint = parse_mint(read(holding.mint))
    if mint is None:
        raise invalid_params("Invalid param: could not find mint")
    return with_context(node, level, ui_token_amount(holding.amount, mint.decimals))


def get_token_supply(node: NodeState, params: Params) -> Any:
    """getTokenSupply(mint, config)."""
    address = params.pubkey(0)
    level = commitment(params.config(1))
    account = node.chain.accounts.get(address, level)
    if account is None:
        raise invalid_params("Invalid param: could not find account")
    mint = parse_mint(account)
    if mint is None:
        raise invalid_params("Invalid param: not a Token mint")
    return with_context(node, level, ui_token_amount(mint.supply, mint.decimals))


def get_token_accounts_by_owner(node: NodeState, params: Params) -> Any:
    """getTokenAccountsByOwner(owner, {mint} or {programId}, config)."""
    owner, config = params.pubkey(0), params.config(2)
    level = commitment(config)
    read = _reader(node, level)
    wanted = _token_filter(params.required(1, dict, "a map"), read)
    found = []
    for address in node.chain.accounts.token_accounts_of(owner):
        account = read(address)
        holding = parse_holding(account)
        if (
            account is not None
            and holding is not None
            and holding.owner == owner
            and wanted(account, holding.mint)
        ):
            found.append({"pubkey": str(address), "account": _shown(account, config, read)})
    return with_context(node, level, found)


def _token_filter(given: dict[str, str], read: ReadAccount) -> Callable[[Account, Pubkey], bool]:
    if set(given) == {"mint"}:
        mint = pubkey(given["mint"])
        if parse_mint(read(mint)) is None:
            raise invalid_params("Invalid param: could not find mint")
        return lambda _account, of_mint: of_mint == mint
    if set(given) == {"programId"}:
        program = pubkey(given["programId"])
        if program not in TOKEN_PROGRAMS:
            raise invalid_params("Invalid param: unrecognized Token program id")
        return lambda account, _mint: account.owner == program
    raise invalid_params("Invalid params: unknown token account filter, expected `mint` or `programId`.")


METHODS = {
    "getAccountInfo": get_account_info,
    "getMultipleAccounts": get_multiple_accounts,
    "getBalance": get_balance,
    "getTokenAccountBalance": get_token_account_balance,
    "getTokenSupply": get_token_supply,
    "getTokenAccountsByOwner": get_token_accounts_by_owner,
}
