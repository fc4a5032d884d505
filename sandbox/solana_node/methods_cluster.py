"""RPC methods about the cluster: blockhashes, slots, fees, rent, health."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from solders.hash import Hash

from sandbox.solana_node.clock import BLOCKHASH_BLOCKS, GENESIS_SLOT, SLOTS_PER_EPOCH
from sandbox.solana_node.errors import NODE_UNHEALTHY, RpcError, invalid_params
from sandbox.solana_node.params import API_VERSION, Params, commitment, with_context

if TYPE_CHECKING:
    from sandbox.solana_node.state import NodeState

_FEATURE_SET = 3_640_012_085
_LOCKED_ACCOUNTS = 128
GENESIS_HASH = str(Hash(hashlib.sha256(b"solana_node genesis").digest()))


def get_latest_blockhash(node: NodeState, params: Params) -> Any:
    """getLatestBlockhash({commitment})."""
    level = commitment(params.config(0))
    blockhash, last_valid = node.clock.latest_blockhash(level)
    return with_context(node, level, {"blockhash": blockhash, "lastValidBlockHeight": last_valid})


def is_blockhash_valid(node: NodeState, params: Params) -> Any:
    """isBlockhashValid(blockhash, {commitment})."""
    blockhash = params.required(0, str, "a string")
    level = commitment(params.config(1))
    return with_context(node, level, node.clock.blockhash_known(blockhash, level))


def get_slot(node: NodeState, params: Params) -> Any:
    """getSlot({commitment})."""
    return node.clock.slot(commitment(params.config(0)))


def get_block_height(node: NodeState, params: Params) -> Any:
    """getBlockHeight({commitment})."""
    return node.clock.height(node.clock.slot(commitment(params.config(0))))


def get_block_time(node: NodeState, params: Params) -> Any:
    """getBlockTime(slot)."""
    slot = params.required(0, int, "u64")
    if not GENESIS_SLOT <= slot <= node.clock.slot():
        raise RpcError(-32004, f"Block not available for slot {slot}")
    return node.clock.unix_at((slot - GENESIS_SLOT) * node.clock.slot_seconds)


def get_epoch_info(node: NodeState, params: Params) -> Any:
    """getEpochInfo({commitment})."""
    slot = node.clock.slot(commitment(params.config(0)))
    return {
        "absoluteSlot": slot,
        "blockHeight": node.clock.height(slot),
        "epoch": slot // SLOTS_PER_EPOCH,
        "slotIndex": slot % SLOTS_PER_EPOCH,
        "slotsInEpoch": SLOTS_PER_EPOCH,
        "transactionCount": len(node.chain.landed),
    }


def get_health(node: NodeState, _params: Params) -> Any:
    """GetHealth."""
    check_health(node)
    return "ok"


def check_health(node: NodeState) -> None:
    """Raise the error of a node that is behind the cluster."""
    if node.slots_behind:
        behind = node.slots_behind
        raise RpcError(NODE_UNHEALTHY, f"Node is behind by {behind} slots", {"numSlotsBehind": behind})


def get_version(_node: NodeState, _params: Params) -> Any:
    """GetVersion."""
    return {"solana-core": API_VERSION, "feature-set": _FEATURE_SET}


def get_genesis_hash(_node: NodeState, _params: Params) -> Any:
    """getGenesisHash: none of the public clusters', so a client can tell a sandbox from them."""
    return GENESIS_HASH


def get_minimum_balance_for_rent_exemption(node: NodeState, params: Params) -> Any:
    """getMinimumBalanceForRentExemption(bytes)."""
    return node.chain.svm.minimum_balance_for_rent_exemption(params.required(0, int, "usize"))


def get_recent_prioritization_fees(node: NodeState, params: Params) -> Any:
    """getRecentPrioritizationFees([address, ...]): one entry for each of the last 150 slots."""
    addresses = params.required(0, list, "a sequence") if params.given(0) else []
    if len(addresses) > _LOCKED_ACCOUNTS:
        raise invalid_params(f"Too many inputs provided; max {_LOCKED_ACCOUNTS}")
    slot = node.clock.slot()
    return [
        {"slot": at, "prioritizationFee": node.prioritization_fee}
        for at in range(max(GENESIS_SLOT, slot - BLOCKHASH_BLOCKS + 1), slot + 1)
    ]


METHODS = {
    "getLatestBlockhash": get_latest_blockhash,
    "isBlockhashValid": is_blockhash_valid,
    "getSlot": get_slot,
    "getBlockHeight": get_block_height,
    "getBlockTime": get_block_time,
    "getEpochInfo": get_epoch_info,
    "getHealth": get_health,
    "getVersion": get_version,
    "getGenesisHash": get_genesis_hash,
    "getMinimumBalanceForRentExemption": get_minimum_balance_for_rent_exemption,
    "getRecentPrioritizationFees": get_recent_prioritization_fees,
}
