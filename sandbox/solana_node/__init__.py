"""A Solana node on one machine: LiteSVM with the real token programs behind HTTP JSON-RPC."""

from sandbox.solana_node.builders import WRAPPED_SOL, Mint, keypair
from sandbox.solana_node.clock import CommitmentDelays
from sandbox.solana_node.faults import Fault, RateLimitAnswer
from sandbox.solana_node.ledger import ConservationError
from sandbox.solana_node.limits import RateLimits
from sandbox.solana_node.node import SolanaNode

__all__ = [
    "WRAPPED_SOL",
    "CommitmentDelays",
    "ConservationError",
    "Fault",
    "Mint",
    "RateLimitAnswer",
    "RateLimits",
    "SolanaNode",
    "keypair",
]
