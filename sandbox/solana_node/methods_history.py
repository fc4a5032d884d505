"""RPC methods about transactions that have landed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.solana_node.clock import BLOCKHASH_BLOCKS
from sandbox.solana_node.errors import invalid_params
from sandbox.solana_node.params import Params, confirmed_or_more, signature, with_context
from sandbox.solana_node.transaction_json import transaction_json

if TYPE_CHECKING:
    from sandbox.solana_node.records import Landed
    from sandbox.solana_node.state import NodeState

SIGNATURE_STATUSES = 256
SIGNATURES_FOR_ADDRESS = 1000


def get_signature_statuses(node: NodeState, params: Params) -> Any:
    """getSignatureStatuses([signature, ...], {searchTransactionHistory}): at most 256.

    Without the search only the last 150 blocks are known, as in a node's status cache.
    """
    signatures = params.required(0, list, "a sequence")
    if len(signatures) > SIGNATURE_STATUSES:
        raise invalid_params(f"Too many inputs provided; max {SIGNATURE_STATUSES}")
    everything = bool(params.config(1).get("searchTransactionHistory"))
    oldest = 0 if everything else node.clock.slot() - BLOCKHASH_BLOCKS
    statuses = []
    for text in signatures:
        landed = node.chain.landed.get(signature(text))
        known = landed is not None and landed.slot >= oldest
        statuses.append(_status(node, landed) if landed is not None and known else None)
    return with_context(node, "processed", statuses)


def _status(node: NodeState, landed: Landed) -> dict[str, Any]:
    reached = node.chain.commitment_of(landed)
    return {
        "slot": landed.slot,
        "confirmations": None if reached == "finalized" else node.clock.slot() - landed.slot,
        "err": landed.err,
        "status": {"Ok": None} if landed.err is None else {"Err": landed.err},
        "confirmationStatus": reached,
    }


def get_signatures_for_address(node: NodeState, params: Params) -> Any:
    """getSignaturesForAddress(address, {limit, before, until, commitment}): newest first."""
    address, config = params.pubkey(0), params.config(1)
    level = confirmed_or_more(config)
    limit = config.get("limit")
    limit = SIGNATURES_FOR_ADDRESS if limit is None else limit
    if not isinstance(limit, int) or not 1 <= limit <= SIGNATURES_FOR_ADDRESS:
        raise invalid_params(f"Invalid limit; max {SIGNATURES_FOR_ADDRESS}")
    newest_first = [
        landed
        for landed in reversed(node.chain.by_address.get(address, []))
        if node.chain.reached(landed, level)
    ]
    before, until = config.get("before"), config.get("until")
    if before is not None:
        marker = node.chain.landed.get(signature(before))
        if marker is None:
            return []
        newest_first = [landed for landed in newest_first if landed.sequence < marker.sequence]
    if until is not None:
        last = node.chain.landed.get(signature(until))
        newest_first = [landed for landed in newest_first if last is None or landed.sequence > last.sequence]
    return [
        {
            "signature": landed.signature,
            "slot": landed.slot,
            "err": landed.err,
            "memo": landed.memo,
            "blockTime": landed.block_time,
            "confirmationStatus": node.chain.commitment_of(landed),
        }
        for landed in newest_first[:limit]
    ]


def get_transaction(node: NodeState, params: Params) -> Any:
    """getTransaction(signature, {encoding, commitment, maxSupportedTransactionVersion})."""
    wanted, config = params.signature(0), params.config(1)
    level = confirmed_or_more(config)
    landed = node.chain.landed.get(wanted)
    if landed is None or not node.chain.reached(landed, level):
        return None
    return transaction_json(
        landed, config.get("encoding") or "json", config.get("maxSupportedTransactionVersion")
    )


METHODS = {
    "getSignatureStatuses": get_signature_statuses,
    "getSignaturesForAddress": get_signatures_for_address,
    "getTransaction": get_transaction,
}
