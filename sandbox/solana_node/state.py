"""What one node consists of; RPC methods and the control API work on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox.solana_node.builders import Builders, keypair
from sandbox.solana_node.chain import Chain
from sandbox.solana_node.faults import Faults
from sandbox.solana_node.limits import Calls, RateLimits

if TYPE_CHECKING:
    from solders.keypair import Keypair

    from sandbox.solana_node.clock import SlotClock


@dataclass
class NodeState:
    """The chain and everything that stands between it and a client.

    `latency` is seconds added to every HTTP request, `prioritization_fee` what recent blocks paid (micro-
    lamports per compute unit), `slots_behind` makes the node unhealthy.
    """

    clock: SlotClock
    faucet: Keypair = field(default_factory=lambda: keypair("faucet"))
    faults: Faults = field(default_factory=Faults)
    limits: RateLimits = field(default_factory=RateLimits)
    calls: Calls = field(default_factory=Calls)
    latency: float = 0.0
    prioritization_fee: int = 0
    slots_behind: int = 0
    chain: Chain = field(init=False)
    build: Builders = field(init=False)

    def __post_init__(self) -> None:
        self.chain = Chain(self.clock, faucet=self.faucet)
        self.build = Builders(self.chain, self.faucet)
