"""Sending to the local node, what it answers, and what its history tells afterwards."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from sandbox.solana_node import Mint, SolanaNode, keypair
from sandbox.solana_node.base58 import b58decode, b58encode
from sandbox.solana_node.builders import close_token_account, transfer_tokens
from sandbox.solana_node.client import RpcCallError, RpcClient
from sandbox.solana_node.records import MEMO_PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator


SOL = 10**9
RENT_FLOOR = 890_880


@pytest.fixture(scope="module")
def node() -> Iterator[SolanaNode]:
    with SolanaNode() as running:
        yield running
        running.ledger.check()


@pytest.fixture(scope="module")
def rpc(node: SolanaNode) -> Iterator[RpcClient]:
    with RpcClient(node.url) as client:
        yield client


@pytest.fixture(scope="module")
def usdc(node: SolanaNode) -> Mint:
    return node.build.create_mint(decimals=6)


@pytest.fixture
def alice(node: SolanaNode) -> Keypair:
    wallet = Keypair()
    node.build.airdrop(wallet.pubkey(), 5 * SOL)
    return wallet


def pay(source: Keypair, to: Pubkey, lamports: int) -> Instruction:
    return transfer(TransferParams(from_pubkey=source.pubkey(), to_pubkey=to, lamports=lamports))


def refusal(rpc: RpcClient, transaction: VersionedTransaction, **config: Any) -> dict:
    with pytest.raises(RpcCallError) as failure:
        rpc.send(transaction, **config)
    return failure.value.error


def status(rpc: RpcClient, signature: str) -> dict | None:
    return rpc.value("getSignatureStatuses", [signature], {"searchTransactionHistory": True})[0]


def test_a_transfer_lands_under_the_signature_known_before(rpc: RpcClient, alice: Keypair) -> None:
    bob = Keypair().pubkey()
    transaction = rpc.sign([pay(alice, bob, SOL)], [alice])
    assert rpc.send(transaction) == str(transaction.signatures[0])
    assert rpc.value("getBalance", str(bob)) == SOL
    assert rpc.value("getBalance", str(alice.pubkey())) == 4 * SOL - 5_000
    assert status(rpc, str(transaction.signatures[0])) == {
        "slot": rpc.call("getSlot"),
        "confirmations": None,
        "err": None,
        "status": {"Ok": None},
        "confirmationStatus": "finalized",
    }


def test_base58_is_the_default_encoding_of_a_sent_transaction(rpc: RpcClient, alice: Keypair) -> None:
    transaction = rpc.sign([pay(alice, Keypair().pubkey(), SOL)], [alice], v0=True)
    assert rpc.call("sendTransaction", b58encode(bytes(transaction))) == str(transaction.signatures[0])
    assert b58decode(b58encode(b"\0\0" + bytes(transaction))) == b"\0\0" + bytes(transaction)


def test_the_same_bytes_again_are_already_processed(node: SolanaNode, rpc: RpcClient, alice: Keypair) -> None:
    bob = Keypair().pubkey()
    transaction = rpc.sign([pay(alice, bob, SOL)], [alice])
    rpc.send(transaction)
    error = refusal(rpc, transaction)
    assert (error["code"], error["data"]["err"]) == (-32002, "AlreadyProcessed")
    assert error["message"] == "Transaction simulation failed: This transaction has already been processed"
    assert rpc.send(transaction, skipPreflight=True) == str(transaction.signatures[0])
    assert node.chain.discarded[-1].reason == "AlreadyProcessed"
    assert rpc.value("getBalance", str(bob)) == SOL
    node.advance_slots(151)
    assert refusal(rpc, transaction)["data"]["err"] == "BlockhashNotFound"


def test_preflight_names_the_failing_instruction_and_costs_nothing(rpc: RpcClient, alice: Keypair) -> None:
    before = rpc.value("getBalance", str(alice.pubkey()))
    bad = [pay(alice, Keypair().pubkey(), SOL), pay(alice, Keypair().pubkey(), 50 * SOL)]
    error = refusal(rpc, rpc.sign(bad, [alice]), maxRetries=3)
    assert error["code"] == -32002
    assert error["message"].endswith("Error processing Instruction 1: custom program error: 0x1")
    assert error["data"]["err"] == {"InstructionError": [1, {"Custom": 1}]}
    assert any("insufficient lamports" in line for line in error["data"]["logs"])
    assert error["data"]["unitsConsumed"] > 0
    assert rpc.value("getBalance", str(alice.pubkey())) == before


def test_without_preflight_the_failure_lands_and_costs_the_fee(rpc: RpcClient, alice: Keypair) -> None:
    bob = Keypair().pubkey()
    signature = rpc.send(rpc.sign([pay(alice, bob, 50 * SOL)], [alice]), skipPreflight=True)
    landed = status(rpc, signature)
    assert landed is not None
    assert landed["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert landed["status"] == {"Err": landed["err"]}
    assert rpc.value("getBalance", str(alice.pubkey())) == 5 * SOL - 5_000
    assert rpc.value("getBalance", str(bob)) == 0
    assert rpc.call("getTransaction", signature)["meta"]["err"] == landed["err"]


def test_a_drain_leaves_nothing_or_the_rent_floor(rpc: RpcClient, alice: Keypair) -> None:
    everything, bob = 5 * SOL - 5_000, Keypair().pubkey()
    error = refusal(rpc, rpc.sign([pay(alice, bob, everything - 1)], [alice]))
    assert error["data"]["err"] == {"InsufficientFundsForRent": {"account_index": 0}}
    assert "insufficient funds for rent" in error["message"]
    rpc.send(rpc.sign([pay(alice, bob, everything - RENT_FLOOR)], [alice]))
    own_fee = refusal(rpc, rpc.sign([pay(alice, bob, RENT_FLOOR - 5_000)], [alice]))
    assert own_fee["data"]["err"] == {"InsufficientFundsForRent": {"account_index": 0}}, (
        "the fee breaks the floor"
    )
    payer = Keypair()
    rpc.call("requestAirdrop", str(payer.pubkey()), SOL)
    rpc.send(rpc.sign([pay(alice, bob, RENT_FLOOR)], [payer, alice]))
    assert rpc.value("getAccountInfo", str(alice.pubkey())) is None


def test_nobody_pays_from_an_account_that_does_not_exist(rpc: RpcClient) -> None:
    nobody = Keypair()
    error = refusal(rpc, rpc.sign([pay(nobody, Keypair().pubkey(), 1)], [nobody]))
    assert error["data"]["err"] == "AccountNotFound"
    assert error["message"].startswith("Transaction simulation failed: Attempt to debit an account")
    signature = rpc.send(rpc.sign([pay(nobody, Keypair().pubkey(), 2)], [nobody]), skipPreflight=True)
    assert status(rpc, signature) is None


def test_an_expired_or_foreign_blockhash_never_lands(
    node: SolanaNode, rpc: RpcClient, alice: Keypair
) -> None:
    bob = Keypair().pubkey()
    old = rpc.sign([pay(alice, bob, SOL)], [alice])
    node.advance_slots(151)
    foreign = rpc.sign([pay(alice, bob, SOL)], [alice], blockhash=str(Hash.new_unique()))
    for transaction in (old, foreign):
        error = refusal(rpc, transaction)
        assert (error["code"], error["data"]["err"]) == (-32002, "BlockhashNotFound")
        assert error["message"] == "Transaction simulation failed: Blockhash not found"
        signature = rpc.send(transaction, skipPreflight=True)
        assert status(rpc, signature) is None
    assert rpc.value("getBalance", str(bob)) == 0


def test_a_bad_signature_is_refused_or_never_lands(rpc: RpcClient, alice: Keypair) -> None:
    good = rpc.sign([pay(alice, Keypair().pubkey(), SOL)], [alice])
    forged = VersionedTransaction.populate(good.message, [Signature.new_unique()])
    assert refusal(rpc, forged) == {"code": -32003, "message": "Transaction signature verification failure"}
    assert status(rpc, rpc.send(forged, skipPreflight=True)) is None


def test_bytes_that_are_no_transaction_are_invalid_params(rpc: RpcClient) -> None:
    for wire, config in (
        ("!!!", {"encoding": "base64"}),
        (base64.b64encode(b"nothing").decode(), {"encoding": "base64"}),
        (base64.b64encode(bytes(1300)).decode(), {"encoding": "base64"}),
        ("0OIl", {}),
        ("", {"encoding": "hex"}),
    ):
        with pytest.raises(RpcCallError) as failure:
            rpc.call("sendTransaction", wire, config)
        assert failure.value.error["code"] == -32602


def test_simulation_has_no_effect_and_needs_no_signature(rpc: RpcClient, alice: Keypair) -> None:
    bob = Keypair().pubkey()
    signed = rpc.sign([pay(alice, bob, SOL)], [alice], blockhash=str(Hash.new_unique()))
    unsigned = VersionedTransaction.populate(signed.message, [Signature.default()])
    wire = base64.b64encode(bytes(unsigned)).decode()
    config = {"encoding": "base64", "replaceRecentBlockhash": True}
    wanted = {"accounts": {"encoding": "base64", "addresses": [str(bob)]}}
    value = rpc.value("simulateTransaction", wire, config | wanted)
    assert value["err"] is None
    assert value["unitsConsumed"] == 150
    assert value["accounts"][0]["lamports"] == SOL
    assert value["replacementBlockhash"]["blockhash"] == rpc.blockhash()
    assert rpc.value("getBalance", str(bob)) == 0
    assert rpc.value("simulateTransaction", wire, {"encoding": "base64"})["err"] == "BlockhashNotFound"
    with pytest.raises(RpcCallError, match="signature verification"):
        rpc.call("simulateTransaction", wire, {"encoding": "base64", "sigVerify": True})


def test_a_token_sweep_is_told_in_full(node: SolanaNode, rpc: RpcClient, usdc: Mint, alice: Keypair) -> None:
    receiver = keypair("receiver").pubkey()
    source, destination = usdc.ata(alice.pubkey()), node.build.create_ata(receiver, usdc)
    node.build.pay_tokens(alice.pubkey(), usdc, 2_500_000)
    memo = Instruction(MEMO_PROGRAMS[0], b"invoice 7", [])
    instructions = [
        transfer_tokens(usdc, source, destination, alice.pubkey(), 2_500_000),
        close_token_account(usdc, source, alice.pubkey(), receiver),
        memo,
    ]
    signature = rpc.send(rpc.sign(instructions, [alice]))
    told = rpc.call(
        "getTransaction", signature, {"encoding": "jsonParsed", "maxSupportedTransactionVersion": 0}
    )
    assert (told["version"], told["slot"]) == ("legacy", rpc.call("getSlot"))
    message, meta = told["transaction"]["message"], told["meta"]
    keys = [key["pubkey"] for key in message["accountKeys"]]
    assert keys[0] == str(alice.pubkey())
    assert (message["accountKeys"][0]["signer"], message["accountKeys"][0]["writable"]) == (True, True)
    sent, closed, noted = message["instructions"]
    assert sent["parsed"] == {
        "type": "transferChecked",
        "info": {
            "source": str(source),
            "mint": str(usdc.address),
            "destination": str(destination),
            "authority": str(alice.pubkey()),
            "tokenAmount": {"amount": "2500000", "decimals": 6, "uiAmount": 2.5, "uiAmountString": "2.5"},
        },
    }
    assert closed["parsed"] == {
        "type": "closeAccount",
        "info": {"account": str(source), "destination": str(receiver), "owner": str(alice.pubkey())},
    }
    assert (noted["program"], noted["parsed"]) == ("spl-memo", "invoice 7")

    at = keys.index(str(source))
    assert (meta["preBalances"][at], meta["postBalances"][at]) == (2_039_280, 0)
    assert sum(meta["preBalances"]) - sum(meta["postBalances"]) == meta["fee"] == 5_000
    before = {entry["owner"]: entry["uiTokenAmount"]["amount"] for entry in meta["preTokenBalances"]}
    after = {entry["owner"]: entry["uiTokenAmount"]["amount"] for entry in meta["postTokenBalances"]}
    assert (before, after) == (
        {str(alice.pubkey()): "2500000", str(receiver): "0"},
        {str(receiver): "2500000"},
    )
    assert any("success" in line for line in meta["logMessages"])

    raw = rpc.call("getTransaction", signature, {"encoding": "json"})
    assert "version" not in raw
    compiled = raw["transaction"]["message"]
    assert compiled["header"]["numRequiredSignatures"] == 1
    assert b58decode(compiled["instructions"][2]["data"]) == b"invoice 7"
    assert raw["meta"]["loadedAddresses"] == {"writable": [], "readonly": []}
    wire, encoding = rpc.call("getTransaction", signature, {"encoding": "base64"})["transaction"]
    assert (encoding, str(VersionedTransaction.from_bytes(base64.b64decode(wire)).signatures[0])) == (
        "base64",
        signature,
    )
    assert rpc.call("getSignaturesForAddress", str(source), {"limit": 1})[0]["memo"] == "[9] invoice 7"


def test_the_calls_inside_a_program_are_told(node: SolanaNode, rpc: RpcClient, usdc: Mint) -> None:
    owner = Keypair().pubkey()
    node.build.create_ata(owner, usdc)
    signature = rpc.call("getSignaturesForAddress", str(owner))[0]["signature"]
    told = rpc.call("getTransaction", signature, {"encoding": "jsonParsed"})
    outer = told["transaction"]["message"]["instructions"][0]
    assert outer["parsed"]["type"] == "createIdempotent"
    assert outer["parsed"]["info"]["wallet"] == str(owner)
    (group,) = told["meta"]["innerInstructions"]
    assert group["index"] == 0
    assert [ix["parsed"]["type"] for ix in group["instructions"]] == [
        "getAccountDataSize",
        "createAccount",
        "initializeImmutableOwner",
        "initializeAccount3",
    ]
    created = group["instructions"][1]["parsed"]["info"]
    assert (created["newAccount"], created["lamports"], created["space"]) == (
        str(usdc.ata(owner)),
        2_039_280,
        165,
    )


def test_version_0_must_be_asked_for(rpc: RpcClient, alice: Keypair) -> None:
    signature = rpc.send(rpc.sign([pay(alice, Keypair().pubkey(), SOL)], [alice], v0=True))
    with pytest.raises(RpcCallError) as failure:
        rpc.call("getTransaction", signature, {"encoding": "jsonParsed"})
    assert failure.value.error["code"] == -32015
    told = rpc.call("getTransaction", signature, {"maxSupportedTransactionVersion": 0})
    assert told["version"] == 0
    assert told["transaction"]["message"]["addressTableLookups"] == []
    assert rpc.call("getTransaction", str(Signature.new_unique())) is None


def test_keys_from_a_lookup_table_are_keys_like_the_others(
    node: SolanaNode, rpc: RpcClient, alice: Keypair
) -> None:
    program = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
    table, bob = Keypair().pubkey(), Keypair().pubkey()
    header = struct.pack("<IQQBB32sH", 1, 2**64 - 1, 0, 0, 1, bytes(alice.pubkey()), 0)
    node.build.set_account(table, SOL, data=header + bytes(bob), owner=program)
    message = MessageV0.try_compile(
        alice.pubkey(),
        [pay(alice, bob, SOL)],
        [AddressLookupTableAccount(table, [bob])],
        Hash.from_string(rpc.blockhash()),
    )
    assert bob not in message.account_keys
    signature = rpc.send(VersionedTransaction(message, [alice]))
    assert rpc.value("getBalance", str(bob)) == SOL
    config = {"maxSupportedTransactionVersion": 0, "encoding": "jsonParsed"}
    told = rpc.call("getTransaction", signature, config)
    (from_table,) = [
        key for key in told["transaction"]["message"]["accountKeys"] if key["source"] == "lookupTable"
    ]
    assert (from_table["pubkey"], from_table["writable"], from_table["signer"]) == (str(bob), True, False)
    raw = rpc.call("getTransaction", signature, config | {"encoding": "json"})
    assert raw["meta"]["loadedAddresses"] == {"writable": [str(bob)], "readonly": []}
    assert rpc.call("getSignaturesForAddress", str(bob))[0]["signature"] == signature


def test_history_is_paged_newest_first_for_every_key(node: SolanaNode, rpc: RpcClient) -> None:
    wallet = Keypair().pubkey()
    sent = [node.build.airdrop(wallet, SOL + at).signature for at in range(5)][::-1]

    def history(**config: Any) -> list[str]:
        return [entry["signature"] for entry in rpc.call("getSignaturesForAddress", str(wallet), config)]

    assert history() == sent
    assert history(limit=2) == sent[:2]
    assert history(before=sent[1], limit=2) == sent[2:4]
    assert history(until=sent[3]) == sent[:3]
    assert history(before=sent[0], until=sent[4]) == sent[1:4]
    assert history(before=str(Signature.new_unique())) == []
    newest = rpc.call("getSignaturesForAddress", str(wallet), {"limit": 1})[0]
    assert set(newest) == {"signature", "slot", "err", "memo", "blockTime", "confirmationStatus"}
    for config in ({"limit": 1001}, {"limit": 0}, {"commitment": "processed"}):
        with pytest.raises(RpcCallError) as failure:
            rpc.call("getSignaturesForAddress", str(wallet), config)
        assert failure.value.error["code"] == -32602


def test_statuses_come_256_at_a_time_and_old_ones_only_when_searched(
    node: SolanaNode, rpc: RpcClient
) -> None:
    signature = node.build.airdrop(Keypair().pubkey(), SOL).signature
    unknown = str(Signature.new_unique())
    statuses = rpc.value("getSignatureStatuses", [signature, unknown])
    assert [one and one["err"] for one in statuses] == [None, None]
    assert statuses[0]["confirmationStatus"] == "finalized"
    assert statuses[1] is None
    with pytest.raises(RpcCallError, match="max 256"):
        rpc.call("getSignatureStatuses", [unknown] * 257)
    node.advance_slots(151)
    assert rpc.value("getSignatureStatuses", [signature]) == [None]
    assert status(rpc, signature) == statuses[0]


def test_an_airdrop_is_a_transfer_in_the_history(rpc: RpcClient) -> None:
    wallet = str(Keypair().pubkey())
    signatures = {rpc.call("requestAirdrop", wallet, SOL) for _ in range(2)}
    assert len(signatures) == 2
    assert rpc.value("getBalance", wallet) == 2 * SOL
    assert {entry["signature"] for entry in rpc.call("getSignaturesForAddress", wallet)} == signatures
