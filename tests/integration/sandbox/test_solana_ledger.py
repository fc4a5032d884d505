"""The referee: conservation over any sequence, and that it notices when something is wrong."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from solders.account import Account
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction
from spl.token import instructions as spl
from spl.token import models

from sandbox.solana_node import ConservationError, Mint, SolanaNode, keypair
from sandbox.solana_node.builders import close_token_account, transfer_tokens
from sandbox.solana_node.chain import Fate
from sandbox.solana_node.client import RpcClient
from sandbox.solana_node.token_layout import parse_holding

if TYPE_CHECKING:
    from solders.instruction import Instruction

SOL = 10**9
RECEIVER = keypair("receiver")


def test_movements_tell_who_got_what_and_what_it_cost() -> None:
    with SolanaNode() as node, RpcClient(node.url) as rpc:
        usdc = node.build.create_mint()
        alice, bob = Keypair(), Keypair()
        node.build.airdrop(alice.pubkey(), SOL)
        node.build.pay_tokens(alice.pubkey(), usdc, 700)
        node.build.create_ata(bob.pubkey(), usdc)
        start = len(node.ledger.entries)
        source, destination = usdc.ata(alice.pubkey()), usdc.ata(bob.pubkey())
        sweep = rpc.send(
            rpc.sign(
                [
                    transfer_tokens(usdc, source, destination, alice.pubkey(), 700),
                    close_token_account(usdc, source, alice.pubkey(), alice.pubkey()),
                ],
                [alice],
            )
        )
        failed = transfer(
            TransferParams(from_pubkey=alice.pubkey(), to_pubkey=bob.pubkey(), lamports=9 * SOL)
        )
        rpc.send(rpc.sign([failed], [alice]), skipPreflight=True)
        moved = node.ledger.movements(since=start)
        assert (moved.transactions, moved.failed, moved.fees) == (2, 1, 10_000)
        assert moved.lamports == {str(alice.pubkey()): 2_039_280 - 10_000, str(source): -2_039_280}
        assert moved.tokens == {
            (str(usdc.address), str(alice.pubkey())): -700,
            (str(usdc.address), str(bob.pubkey())): 700,
        }
        assert node.ledger.credits(bob.pubkey(), usdc.address) == [(sweep, 700)]
        assert node.ledger.lamports_of(alice.pubkey()) == SOL + 2_039_280 - 10_000
        entry = node.ledger.entries[-1]
        assert (entry.err, entry.fee_payer) == ({"InstructionError": [0, {"Custom": 1}]}, str(alice.pubkey()))
        node.ledger.check()


def node_with_a_holder() -> tuple[SolanaNode, Mint, Pubkey]:
    node = SolanaNode()
    mint = node.build.create_mint()
    owner = Keypair().pubkey()
    node.build.pay_tokens(owner, mint, 500)
    node.ledger.check()
    return node, mint, owner


def test_lamports_from_nowhere_are_noticed() -> None:
    node, _mint, owner = node_with_a_holder()
    stranger = Keypair().pubkey()
    for address in (owner, stranger):
        wealth = Account(SOL, b"", Pubkey.default(), executable=False, rent_epoch=0)
        node.chain.svm.set_account(address, wealth)
        node.build.airdrop(address, 1)
    with pytest.raises(ConservationError) as error:
        node.ledger.check()
    assert f"{owner} had {SOL} lamports, by the ledger 0" in str(error.value)
    assert f"{stranger} had {SOL} lamports from nowhere" in str(error.value)
    node.close()


def test_vanished_lamports_and_tokens_are_noticed() -> None:
    node, mint, owner = node_with_a_holder()
    account = node.chain.svm.get_account(mint.ata(owner))
    assert account is not None
    data = bytearray(account.data)
    data[64] ^= 1  # the amount: 500 -> 501
    forged = Account(account.lamports - 1, bytes(data), account.owner, executable=False, rent_epoch=0)
    node.chain.svm.set_account(mint.ata(owner), forged)
    with pytest.raises(ConservationError) as error:
        node.ledger.check()
    assert f"{mint.ata(owner)}: holds 2039279 lamports, by the ledger 2039280" in str(error.value)
    assert f"{mint.address}: minted 500, supply 500, held 501" in str(error.value)
    node.close()


def test_a_transaction_that_creates_money_or_moves_it_in_failure_is_noticed() -> None:
    node, mint, owner = node_with_a_holder()
    landed = node.build.pay_tokens(owner, mint, 20)
    more = tuple(dataclasses.replace(balance, amount=balance.amount + 1) for balance in landed.post_tokens)
    richer = (landed.post_balances[0] + 1, *landed.post_balances[1:])
    for forged, problem in (
        (dataclasses.replace(landed, post_tokens=more), "minted"),
        (dataclasses.replace(landed, post_balances=richer), "fee 5000"),
        (dataclasses.replace(landed, err="SanitizeFailure"), "failed, but moved"),
    ):
        fresh = type(node.ledger)(node.chain.svm)
        for entry in list(node.chain.landed.values())[:-1]:
            fresh.record(entry)
        fresh.record(forged)
        with pytest.raises(ConservationError, match=problem):
            fresh.check()
    node.close()


WALLETS = [keypair(f"wallet {number}") for number in range(3)]
amounts = st.integers(min_value=0, max_value=3 * SOL)
token_amounts = st.integers(min_value=0, max_value=10**7)
wallets = st.sampled_from(WALLETS)
mint_numbers = st.integers(min_value=0, max_value=2)
fates = st.sampled_from(
    [
        Fate(),
        Fate(),
        Fate(),
        Fate(dropped=True),
        Fate(held=True),
        Fate(err={"InstructionError": [0, {"Custom": 9}]}),
    ]
)


class AnySequence(RuleBasedStateMachine):
    """Payments, sweeps, burns, closes, freezes, wrapped SOL and failures in any order lose nothing."""

    @initialize()
    def a_chain_with_three_mints(self) -> None:
        self.node = SolanaNode()
        build = self.node.build
        self.payer = Keypair()
        build.airdrop(self.payer.pubkey(), 100 * SOL)
        self.mints = [
            build.create_mint(freezable=True),
            build.create_mint(token_2022=True, freezable=True),
            build.create_mint(token_2022=True, transfer_fee=(250, 30_000)),
        ]
        for wallet in (*WALLETS, RECEIVER):
            build.airdrop(wallet.pubkey(), 5 * SOL)
            for mint in self.mints:
                build.pay_tokens(wallet.pubkey(), mint, 10**8)

    def send(self, instructions: list[Instruction], owner: Keypair, fate: Fate) -> None:
        self.node.advance_slots(1)
        blockhash = Hash.from_string(self.node.clock.latest_blockhash()[0])
        message = Message.new_with_blockhash(instructions, self.payer.pubkey(), blockhash)
        signing = message.account_keys[: message.header.num_required_signatures]
        signers = [signer for signer in (self.payer, owner) if signer.pubkey() in signing]
        self.node.chain.accept(VersionedTransaction(message, signers), fate)

    def state_of(self, mint: Mint, owner: Keypair) -> str | None:
        holding = parse_holding(self.node.chain.svm.get_account(mint.ata(owner.pubkey())))
        return holding and holding.state

    @rule(source=wallets, to=wallets, lamports=amounts, fate=fates)
    def pay_sol(self, source: Keypair, to: Keypair, lamports: int, fate: Fate) -> None:
        params = TransferParams(from_pubkey=source.pubkey(), to_pubkey=to.pubkey(), lamports=lamports)
        self.send([transfer(params)], source, fate)

    @rule(source=wallets, number=mint_numbers, amount=token_amounts, fate=fates)
    def sweep(self, source: Keypair, number: int, amount: int, fate: Fate) -> None:
        mint = self.mints[number]
        own, destination = mint.ata(source.pubkey()), mint.ata(RECEIVER.pubkey())
        move = transfer_tokens(mint, own, destination, source.pubkey(), amount)
        close = close_token_account(mint, own, source.pubkey(), self.payer.pubkey())
        self.send([move, close] if amount % 2 else [move], source, fate)

    @rule(to=wallets, number=mint_numbers, amount=token_amounts)
    def pay_tokens(self, to: Keypair, number: int, amount: int) -> None:
        mint = self.mints[number]
        if self.state_of(mint, to) == "frozen":
            with pytest.raises(RuntimeError, match=r"Custom.*17"):  # TokenError::AccountFrozen
                self.node.build.pay_tokens(to.pubkey(), mint, amount)
        else:
            self.node.build.pay_tokens(to.pubkey(), mint, amount)

    @rule(owner=wallets, number=mint_numbers, amount=token_amounts, fate=fates)
    def burn(self, owner: Keypair, number: int, amount: int, fate: Fate) -> None:
        mint = self.mints[number]
        params = models.BurnParams(
            program_id=mint.program,
            account=mint.ata(owner.pubkey()),
            mint=mint.address,
            owner=owner.pubkey(),
            amount=amount,
            signers=[],
        )
        self.send([spl.burn(params)], owner, fate)

    @rule(number=mint_numbers)
    def harvest_withheld_fees(self, number: int) -> None:
        mint = self.mints[number]
        params = models.HarvestWithheldTokensToMintParams(
            program_id=mint.program, mint=mint.address, sources=[mint.ata(RECEIVER.pubkey())]
        )
        self.send([spl.harvest_withheld_tokens_to_mint(params)], RECEIVER, Fate())

    @rule(owner=wallets, number=st.integers(min_value=0, max_value=1), thaw=st.booleans())
    def freeze(self, *, owner: Keypair, number: int, thaw: bool) -> None:
        mint = self.mints[number]
        act = self.node.build.thaw if thaw else self.node.build.freeze
        if self.state_of(mint, owner) == ("frozen" if thaw else "initialized"):
            act(mint, mint.ata(owner.pubkey()))
        else:
            with pytest.raises(RuntimeError, match="InstructionError"):
                act(mint, mint.ata(owner.pubkey()))

    @rule(owner=wallets, lamports=st.integers(min_value=0, max_value=SOL))
    def wrap(self, owner: Keypair, lamports: int) -> None:
        self.node.build.wrap_sol(owner.pubkey(), lamports)

    @rule()
    def release(self) -> None:
        self.node.release_held()

    @rule(slots=st.sampled_from([1, 100, 200]))
    def wait(self, slots: int) -> None:
        self.node.advance_slots(slots)

    @invariant()
    def everything_is_conserved(self) -> None:
        if hasattr(self, "node"):
            self.node.ledger.check()

    def teardown(self) -> None:
        if hasattr(self, "node"):
            self.node.close()


AnySequence.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnySequence = AnySequence.TestCase
