"""The clients that people use, on the local node: solana-py's AsyncClient, and httpx with many calls."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from typing import TYPE_CHECKING

import httpx
import pytest
from solana.exceptions import SolanaRpcException
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed
from solana.rpc.core import RPCException
from solana.rpc.models import TokenAccountOpts, TxOpts
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction
from solders.transaction_status import (
    InstructionErrorCustom,
    TransactionConfirmationStatus,
    TransactionErrorInstructionError,
)

from sandbox.solana_node import Mint, SolanaNode
from sandbox.solana_node.builders import close_token_account, transfer_tokens
from sandbox.solana_node.client import RpcClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from solders.pubkey import Pubkey

SOL = 10**9
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def node() -> Iterator[SolanaNode]:
    with SolanaNode() as running:
        yield running
        running.ledger.check()


@pytest.fixture(scope="module")
def usdc(node: SolanaNode) -> Mint:
    return node.build.create_mint()


def client(node: SolanaNode) -> AsyncClient:
    return AsyncClient(node.url, commitment=Confirmed, timeout=5, max_transport_retries=0)


def payment(source: Keypair, to: Pubkey, blockhash: Hash) -> VersionedTransaction:
    move = transfer(TransferParams(from_pubkey=source.pubkey(), to_pubkey=to, lamports=SOL))
    return VersionedTransaction(MessageV0.try_compile(source.pubkey(), [move], [], blockhash), [source])


async def test_solana_py_sweeps_a_wallet_and_reads_it_back(node: SolanaNode, usdc: Mint) -> None:
    alice, bob = Keypair(), Keypair().pubkey()
    node.build.airdrop(alice.pubkey(), SOL)
    node.build.pay_tokens(alice.pubkey(), usdc, 5_000_000)
    node.build.create_ata(bob, usdc)
    source, destination = usdc.ata(alice.pubkey()), usdc.ata(bob)
    async with client(node) as rpc:
        assert (await rpc.get_balance(alice.pubkey())).value == SOL
        assert (await rpc.get_account_info(usdc.address)).value.owner == usdc.program
        assert (await rpc.get_token_supply(usdc.address)).value.amount == "5000000"
        assert (await rpc.get_token_account_balance(source)).value.ui_amount_string == "5"
        owned = await rpc.get_token_accounts_by_owner(alice.pubkey(), TokenAccountOpts(mint=usdc.address))
        assert [entry.pubkey for entry in owned.value] == [source]
        parsed = await rpc.get_token_accounts_by_owner_json_parsed(
            alice.pubkey(), TokenAccountOpts(program_id=usdc.program)
        )
        assert parsed.value[0].account.data.parsed["info"]["tokenAmount"]["amount"] == "5000000"

        latest = (await rpc.get_latest_blockhash()).value
        instructions = [
            transfer_tokens(usdc, source, destination, alice.pubkey(), 5_000_000),
            close_token_account(usdc, source, alice.pubkey(), bob),
        ]
        message = MessageV0.try_compile(alice.pubkey(), instructions, [], latest.blockhash)
        sent = (await rpc.send_transaction(VersionedTransaction(message, [alice]))).value
        confirmed = await rpc.confirm_transaction(
            sent, last_valid_block_height=latest.last_valid_block_height
        )
        assert confirmed.value[0].confirmation_status == TransactionConfirmationStatus.Finalized
        (status,) = (await rpc.get_signature_statuses([sent], search_transaction_history=True)).value
        assert (status.err, status.confirmations) == (None, None)
        history = (await rpc.get_signatures_for_address(source, limit=2)).value
        assert history[0].signature == sent
        for encoding in ("jsonParsed", "json", "base64"):
            told = await rpc.get_transaction(sent, encoding=encoding, max_supported_transaction_version=0)
            assert told.value.transaction.meta.fee == 5_000
        told = await rpc.get_transaction(sent, encoding="jsonParsed", max_supported_transaction_version=0)
        kinds = [
            json.loads(ix.to_json())["parsed"]["type"]
            for ix in told.value.transaction.transaction.message.instructions
        ]
        assert kinds == ["transferChecked", "closeAccount"]
        assert told.value.transaction.meta.post_token_balances[0].ui_token_amount.amount == "5000000"
        assert (await rpc.get_account_info(source)).value is None
        many = await rpc.get_multiple_accounts([source, destination])
        assert many.value[0] is None
        assert many.value[1].lamports == 2_039_280


async def test_solana_py_understands_the_facts_about_the_cluster(node: SolanaNode) -> None:
    alice = Keypair()
    async with client(node) as rpc:
        assert await rpc.is_connected()
        dropped = (await rpc.request_airdrop(alice.pubkey(), SOL)).value
        assert (await rpc.get_signature_statuses([dropped])).value[0] is not None
        assert (await rpc.get_slot()).value == node.clock.slot()
        assert (await rpc.get_block_height()).value == node.clock.height(node.clock.slot())
        assert (await rpc.get_epoch_info()).value.absolute_slot == node.clock.slot()
        assert (await rpc.get_version()).value.solana_core
        assert (await rpc.get_genesis_hash()).value
        assert (await rpc.get_minimum_balance_for_rent_exemption(165)).value == 2_039_280
        blockhash = (await rpc.get_latest_blockhash()).value.blockhash
        transaction = payment(alice, Keypair().pubkey(), blockhash)
        assert (await rpc.get_fee_for_message(transaction.message)).value == 5_000
        simulated = (await rpc.simulate_transaction(transaction, sig_verify=True)).value
        assert isinstance(simulated.err, TransactionErrorInstructionError)
        assert simulated.err.err == InstructionErrorCustom(1)
        assert simulated.units_consumed == 150


async def test_solana_py_gets_a_nodes_errors_typed(node: SolanaNode) -> None:
    alice = Keypair()
    node.build.airdrop(alice.pubkey(), 5 * SOL)
    async with client(node) as rpc:
        blockhash = (await rpc.get_latest_blockhash()).value.blockhash
        transaction = payment(alice, Keypair().pubkey(), blockhash)
        await rpc.send_transaction(transaction)
        with pytest.raises(RPCException, match="already been processed"):
            await rpc.send_transaction(transaction, opts=TxOpts(preflight_commitment=Confirmed))
        with pytest.raises(RPCException, match="could not find account"):
            await rpc.get_token_account_balance(Keypair().pubkey())
        node.state.slots_behind = 7
        try:
            with pytest.raises(RPCException, match="Node is behind by 7 slots"):
                await rpc.send_transaction(payment(alice, Keypair().pubkey(), blockhash))
        finally:
            node.state.slots_behind = 0
        node.faults.add("rate_limited", method="getBalance")
        with pytest.raises(SolanaRpcException) as limited:
            await rpc.get_balance(alice.pubkey())
        cause = limited.value.__cause__
        assert (cause.response.status_code, cause.response.headers["Retry-After"]) == (429, "1")
        node.faults.add("lost_response", method="getBalance")
        with pytest.raises(SolanaRpcException):
            await rpc.get_balance(alice.pubkey())


async def test_solana_pys_own_retry_meets_already_processed(node: SolanaNode) -> None:
    alice, bob = Keypair(), Keypair().pubkey()
    node.build.airdrop(alice.pubkey(), 5 * SOL)
    async with AsyncClient(node.url, commitment=Confirmed) as rpc:  # one silent retry is its default
        transaction = payment(alice, bob, (await rpc.get_latest_blockhash()).value.blockhash)
        node.faults.add("lost_response", method="sendTransaction")
        with pytest.raises(RPCException, match="already been processed"):
            await rpc.send_transaction(transaction)
        assert (await rpc.get_balance(bob)).value == SOL


async def test_many_transactions_at_once_each_land_once(node: SolanaNode) -> None:
    wallets = [Keypair() for _ in range(50)]
    for wallet in wallets:
        node.build.airdrop(wallet.pubkey(), 2 * SOL)
    receiver = Keypair().pubkey()
    signer = RpcClient(node.url)
    blockhash = Hash.from_string(signer.blockhash())
    limits = httpx.Limits(max_connections=16)
    async with httpx.AsyncClient(base_url=node.url, limits=limits) as http:

        async def send(wallet: Keypair) -> dict:
            wire = payment(wallet, receiver, blockhash)
            call = signer.request("sendTransaction", b64encode(bytes(wire)).decode(), {"encoding": "base64"})
            return (await http.post("/", json=call)).json()

        answers = await asyncio.gather(*(send(wallet) for wallet in wallets for _copy in range(2)))
    signer.http.close()
    assert sum("result" in answer for answer in answers) == 50
    assert sum(answer.get("error", {}).get("code") == -32002 for answer in answers) == 50
    assert node.ledger.lamports_of(receiver) == 50 * SOL
    assert len(node.ledger.credits(receiver)) == 50
