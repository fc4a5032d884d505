"""The local node's clock: commitments that take time, block times that tests choose, real time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from solders.keypair import Keypair
from solders.system_program import TransferParams, transfer

from sandbox.solana_node import CommitmentDelays, SolanaNode, keypair
from sandbox.solana_node.client import RpcCallError, RpcClient

if TYPE_CHECKING:
    from solders.instruction import Instruction
    from solders.pubkey import Pubkey

SOL = 10**9
ALICE = keypair("alice")


def pay(to: Pubkey, lamports: int = SOL) -> Instruction:
    return transfer(TransferParams(from_pubkey=ALICE.pubkey(), to_pubkey=to, lamports=lamports))


def balances(rpc: RpcClient, address: Pubkey) -> tuple[int, ...]:
    return tuple(
        rpc.value("getBalance", str(address), {"commitment": level})
        for level in ("processed", "confirmed", "finalized")
    )


def reached(rpc: RpcClient, signature: str) -> str | None:
    (status,) = rpc.value("getSignatureStatuses", [signature])
    return status and status["confirmationStatus"]


def test_a_transaction_is_processed_then_confirmed_then_finalized() -> None:
    with (
        SolanaNode(delays=CommitmentDelays(confirmed=0.8, finalized=12.8)) as node,
        RpcClient(node.url) as rpc,
    ):
        node.build.airdrop(ALICE.pubkey(), 5 * SOL)
        node.advance_seconds(20)
        bob = Keypair().pubkey()
        signature = rpc.send(rpc.sign([pay(bob)], [ALICE]), preflightCommitment="processed")
        assert reached(rpc, signature) == "processed"
        assert balances(rpc, bob) == (SOL, 0, 0)
        assert rpc.value("getBalance", str(bob)) == 0, "a node's default is finalized"
        assert rpc.call("getTransaction", signature, {"commitment": "confirmed"}) is None
        assert rpc.call("getSignaturesForAddress", str(bob), {"commitment": "confirmed"}) == []
        node.advance_slots(2)
        assert reached(rpc, signature) == "confirmed"
        assert balances(rpc, bob) == (SOL, SOL, 0)
        assert rpc.call("getTransaction", signature) is None
        assert rpc.call("getTransaction", signature, {"commitment": "confirmed"})["meta"]["fee"] == 5_000
        node.advance_slots(30)
        assert reached(rpc, signature) == "finalized"
        assert balances(rpc, bob) == (SOL, SOL, SOL)
        (entry,) = rpc.call("getSignaturesForAddress", str(bob))
        assert (entry["signature"], entry["confirmationStatus"]) == (signature, "finalized")
        node.ledger.check()


def test_a_later_write_does_not_hide_an_earlier_one_from_an_older_view() -> None:
    with SolanaNode(delays=CommitmentDelays(confirmed=1, finalized=2)) as node, RpcClient(node.url) as rpc:
        bob = Keypair().pubkey()
        for lamports in (SOL, 2 * SOL, 3 * SOL):
            node.build.airdrop(bob, lamports)
            node.advance_seconds(0.9)
        assert balances(rpc, bob) == (6 * SOL, 3 * SOL, SOL)
        node.set_delays(confirmed=50, finalized=100)
        assert balances(rpc, bob) == (6 * SOL,) * 3, "what has landed counts as finalized when delays change"


def test_token_accounts_appear_at_their_commitment() -> None:
    with SolanaNode() as node, RpcClient(node.url) as rpc:
        mint = node.build.create_mint()
        node.set_delays(confirmed=1, finalized=2)
        owner = Keypair().pubkey()
        node.build.create_ata(owner, mint)

        def found(level: str) -> int:
            wanted, config = {"mint": str(mint.address)}, {"encoding": "base64", "commitment": level}
            return len(rpc.value("getTokenAccountsByOwner", str(owner), wanted, config))

        assert (found("processed"), found("confirmed")) == (1, 0)
        node.advance_seconds(1)
        assert (found("confirmed"), found("finalized")) == (1, 0)


def test_preflight_runs_on_the_state_of_its_commitment() -> None:
    with SolanaNode(delays=CommitmentDelays(confirmed=1, finalized=13)) as node, RpcClient(node.url) as rpc:
        node.advance_seconds(20)
        node.build.airdrop(ALICE.pubkey(), 5 * SOL)
        transaction = rpc.sign([pay(Keypair().pubkey())], [ALICE], blockhash=rpc.blockhash("finalized"))
        with pytest.raises(RpcCallError, match="no record of a prior credit"):
            rpc.send(transaction, preflightCommitment="confirmed")
        fresh = rpc.sign([pay(Keypair().pubkey())], [ALICE], blockhash=rpc.blockhash("processed"))
        with pytest.raises(RpcCallError, match="Blockhash not found"):
            rpc.send(fresh)  # at the default, finalized, a fresh blockhash is not known yet
        assert rpc.send(transaction, preflightCommitment="processed") == str(transaction.signatures[0])
        assert rpc.value("getBalance", str(ALICE.pubkey()), {"commitment": "processed"}) == 4 * SOL - 5_000


def test_landing_itself_may_take_time() -> None:
    with SolanaNode() as node, RpcClient(node.url) as rpc:
        node.build.airdrop(ALICE.pubkey(), 5 * SOL)
        node.set_delays(processed=0.8)
        signature = rpc.send(rpc.sign([pay(Keypair().pubkey())], [ALICE]))
        slot = rpc.call("getSlot")
        assert reached(rpc, signature) is None
        node.advance_slots(200)
        (status,) = rpc.value("getSignatureStatuses", [signature], {"searchTransactionHistory": True})
        assert status["slot"] == slot + 2, "it lands when it is due, not when somebody looks"


def test_block_times_are_what_the_test_sets() -> None:
    with SolanaNode(unix_time=1_700_000_000) as node, RpcClient(node.url) as rpc:
        wallet = Keypair().pubkey()
        node.build.airdrop(wallet, SOL)
        node.set_unix_time(1_700_003_600)
        node.build.airdrop(wallet, SOL)
        node.advance_slots(5)
        node.build.airdrop(wallet, SOL)
        node.set_unix_time(1_600_000_000)
        node.build.airdrop(wallet, SOL)
        times = [entry["blockTime"] for entry in rpc.call("getSignaturesForAddress", str(wallet))]
        assert times == [1_600_000_000, 1_700_003_602, 1_700_003_600, 1_700_000_000]
        signature = rpc.call("getSignaturesForAddress", str(wallet))[1]["signature"]
        assert rpc.call("getTransaction", signature)["blockTime"] == 1_700_003_602


def test_a_real_clock_moves_by_itself() -> None:
    delays = CommitmentDelays(confirmed=0.15, finalized=0.3)
    with SolanaNode(clock="real", slot_seconds=0.02, delays=delays) as node, RpcClient(node.url) as rpc:
        slot, (blockhash, now) = (
            rpc.call("getSlot", {"commitment": "processed"}),
            (rpc.blockhash(), time.time()),
        )
        signature = node.build.airdrop(ALICE.pubkey(), SOL).signature
        seen = [reached(rpc, signature)]
        deadline = time.monotonic() + 5
        while seen[-1] != "finalized" and time.monotonic() < deadline:
            time.sleep(0.01)
            if (level := reached(rpc, signature)) != seen[-1]:
                seen.append(level)
        assert seen == ["processed", "confirmed", "finalized"]
        assert rpc.call("getSlot", {"commitment": "processed"}) >= slot + 15
        assert rpc.blockhash() != blockhash
        assert abs(node.clock.unix_time - time.time()) < 1
        assert abs(rpc.call("getTransaction", signature)["blockTime"] - now) <= 2


def test_delays_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="confirmed <= finalized"):
        CommitmentDelays(confirmed=2, finalized=1)
