"""What a client reads from the local node: accounts, tokens, cluster facts, errors, batches."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import httpx
import pytest
from solders.keypair import Keypair
from solders.message import Message
from solders.system_program import TransferParams, transfer
from spl.token.constants import ASSOCIATED_TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID

from sandbox.solana_node import WRAPPED_SOL, Mint, SolanaNode, keypair
from sandbox.solana_node.client import RpcCallError, RpcClient
from sandbox.solana_node.clock import GENESIS_SLOT, SKIPPED_SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from solders.pubkey import Pubkey

SOL = 10**9
ALICE, BOB = keypair("alice"), keypair("bob")


@pytest.fixture(scope="module")
def node() -> Iterator[SolanaNode]:
    with SolanaNode(unix_time=1_800_000_000) as running:
        running.build.airdrop(ALICE.pubkey(), 5 * SOL)
        yield running
        running.ledger.check()


@pytest.fixture(scope="module")
def rpc(node: SolanaNode) -> Iterator[RpcClient]:
    with RpcClient(node.url) as client:
        yield client


@pytest.fixture(scope="module")
def usdc(node: SolanaNode) -> Mint:
    return node.build.create_mint(decimals=6, freezable=True)


def error_of(rpc: RpcClient, method: str, *params: object) -> dict:
    with pytest.raises(RpcCallError) as failure:
        rpc.call(method, *params)
    return failure.value.error


def test_a_wallet_reads_as_a_system_account_in_every_encoding(rpc: RpcClient) -> None:
    address = str(ALICE.pubkey())
    for encoding, data in (
        ("base64", ["", "base64"]),
        ("base58", ["", "base58"]),
        ("jsonParsed", ["", "base64"]),
    ):
        account = rpc.value("getAccountInfo", address, {"encoding": encoding})
        assert account == {
            "lamports": 5 * SOL,
            "data": data,
            "owner": "11111111111111111111111111111111",
            "executable": False,
            "rentEpoch": 2**64 - 1,
            "space": 0,
        }
    assert rpc.value("getAccountInfo", address)["data"] == ""
    assert rpc.value("getBalance", address) == 5 * SOL
    assert rpc.value("getBalance", str(Keypair().pubkey())) == 0
    assert rpc.value("getAccountInfo", str(Keypair().pubkey())) is None


def test_a_token_account_reads_parsed_and_raw(node: SolanaNode, rpc: RpcClient, usdc: Mint) -> None:
    owner = Keypair().pubkey()
    node.build.pay_tokens(owner, usdc, 1_500_000)
    ata = str(usdc.ata(owner))
    parsed = rpc.value("getAccountInfo", ata, {"encoding": "jsonParsed"})
    assert parsed["data"]["program"] == "spl-token"
    assert parsed["data"]["space"] == 165
    assert parsed["data"]["parsed"] == {
        "type": "account",
        "info": {
            "isNative": False,
            "mint": str(usdc.address),
            "owner": str(owner),
            "state": "initialized",
            "tokenAmount": {
                "amount": "1500000",
                "decimals": 6,
                "uiAmount": 1.5,
                "uiAmountString": "1.5",
            },
        },
    }
    raw = base64.b64decode(rpc.value("getAccountInfo", ata, {"encoding": "base64"})["data"][0])
    assert raw[:32] == bytes(usdc.address)
    assert int.from_bytes(raw[64:72], "little") == 1_500_000
    sliced = {"encoding": "base64", "dataSlice": {"offset": 64, "length": 8}}
    assert base64.b64decode(rpc.value("getAccountInfo", ata, sliced)["data"][0]) == raw[64:72]
    assert "less than 128 bytes" in error_of(rpc, "getAccountInfo", ata)["message"]


def test_a_mint_with_extensions_reads_parsed(node: SolanaNode, rpc: RpcClient) -> None:
    closer = keypair("closer")
    mint = node.build.create_mint(
        token_2022=True, freezable=True, transfer_fee=(150, 9_000), close_authority=closer
    )
    data = rpc.value("getAccountInfo", str(mint.address), {"encoding": "jsonParsed"})["data"]
    assert data["program"] == "spl-token-2022"
    info = data["parsed"]["info"]
    assert (info["supply"], info["decimals"], info["freezeAuthority"]) == (
        "0",
        6,
        str(node.state.faucet.pubkey()),
    )
    states = {entry["extension"]: entry["state"] for entry in info["extensions"]}
    assert states["transferFeeConfig"]["newerTransferFee"]["transferFeeBasisPoints"] == 150
    assert states["transferFeeConfig"]["newerTransferFee"]["maximumFee"] == 9_000
    assert states["mintCloseAuthority"] == {"closeAuthority": str(closer.pubkey())}


def test_a_transfer_fee_is_withheld_from_what_arrives(node: SolanaNode, rpc: RpcClient) -> None:
    mint = node.build.create_mint(token_2022=True, transfer_fee=(100, 5_000))
    owner = Keypair().pubkey()
    node.build.pay_tokens(owner, mint, 100_000)
    assert rpc.value("getTokenAccountBalance", str(mint.ata(owner)))["amount"] == "99000"
    parsed = rpc.value("getAccountInfo", str(mint.ata(owner)), {"encoding": "jsonParsed"})["data"]["parsed"]
    assert {"extension": "transferFeeAmount", "state": {"withheldAmount": 1_000}} in parsed["info"][
        "extensions"
    ]
    assert rpc.value("getTokenSupply", str(mint.address))["amount"] == "100000"


def test_a_mint_is_closed_by_its_close_authority_when_nobody_holds_it(
    node: SolanaNode, rpc: RpcClient
) -> None:
    closer = keypair("mint closer")
    mint = node.build.create_mint(token_2022=True, close_authority=closer)
    rent = rpc.value("getBalance", str(mint.address))
    destination = Keypair().pubkey()
    node.build.close_mint(mint, destination)
    assert rpc.value("getAccountInfo", str(mint.address), {"encoding": "base64"}) is None
    assert rpc.value("getBalance", str(destination)) == rent


def test_freezing_and_wrapped_sol_show_in_the_account(node: SolanaNode, rpc: RpcClient, usdc: Mint) -> None:
    owner = Keypair().pubkey()
    account = node.build.create_ata(owner, usdc)

    def info(address: Pubkey) -> dict:
        return rpc.value("getAccountInfo", str(address), {"encoding": "jsonParsed"})["data"]["parsed"]["info"]

    node.build.freeze(usdc, account)
    assert info(account)["state"] == "frozen"
    with pytest.raises(RuntimeError, match=r"Custom.*17"):  # TokenError::AccountFrozen
        node.build.pay_tokens(owner, usdc, 1)
    node.build.thaw(usdc, account)
    assert info(account)["state"] == "initialized"
    wrapped = info(node.build.wrap_sol(owner, 3_000))
    assert wrapped["isNative"] is True
    assert (wrapped["mint"], wrapped["tokenAmount"]["amount"]) == (str(WRAPPED_SOL.address), "3000")


def test_many_accounts_are_read_in_order_a_hundred_at_a_time(node: SolanaNode, rpc: RpcClient) -> None:
    wallets = [Keypair().pubkey() for _ in range(99)]
    node.build.airdrop(wallets[7], SOL)
    keys = [str(key) for key in [*wallets, ALICE.pubkey()]]
    read = rpc.value("getMultipleAccounts", keys)
    assert [at for at, account in enumerate(read) if account] == [7, 99]
    assert read[7]["lamports"] == SOL
    assert error_of(rpc, "getMultipleAccounts", [*keys, keys[0]]) == {
        "code": -32602,
        "message": "Too many inputs provided; max 100",
    }


def test_token_accounts_by_owner_finds_the_associated_and_the_others(
    node: SolanaNode, rpc: RpcClient, usdc: Mint
) -> None:
    owner = Keypair()
    t22 = node.build.create_mint(token_2022=True)
    ata, extra, other = (
        node.build.create_ata(owner.pubkey(), usdc),
        node.build.create_token_account(owner.pubkey(), usdc),
        node.build.create_ata(owner.pubkey(), t22),
    )

    def found(**wanted: str) -> set[str]:
        entries = rpc.value("getTokenAccountsByOwner", str(owner.pubkey()), wanted, {"encoding": "base64"})
        return {entry["pubkey"] for entry in entries}

    assert found(mint=str(usdc.address)) == {str(ata), str(extra)}
    assert found(programId=str(TOKEN_PROGRAM_ID)) == {str(ata), str(extra)}
    assert found(programId=str(TOKEN_2022_PROGRAM_ID)) == {str(other)}
    node.build.close_account(usdc, extra, owner, BOB.pubkey())
    assert found(mint=str(usdc.address)) == {str(ata)}
    wanted = {"programId": str(ASSOCIATED_TOKEN_PROGRAM_ID)}
    assert (
        "unrecognized Token program"
        in error_of(rpc, "getTokenAccountsByOwner", str(owner.pubkey()), wanted)["message"]
    )
    nothing = {"mint": str(Keypair().pubkey())}
    assert (
        "could not find mint"
        in error_of(rpc, "getTokenAccountsByOwner", str(owner.pubkey()), nothing)["message"]
    )


def test_balances_of_what_is_no_token_account_are_a_nodes_errors(rpc: RpcClient, usdc: Mint) -> None:
    missing = error_of(rpc, "getTokenAccountBalance", str(Keypair().pubkey()))
    assert missing == {"code": -32602, "message": "Invalid param: could not find account"}
    assert (
        error_of(rpc, "getTokenAccountBalance", str(ALICE.pubkey()))["message"]
        == "Invalid param: not a Token account"
    )
    assert (
        error_of(rpc, "getTokenAccountBalance", str(usdc.address))["message"]
        == "Invalid param: not a Token account"
    )


def test_slots_heights_and_epochs_belong_together(node: SolanaNode, rpc: RpcClient) -> None:
    slot = rpc.call("getSlot")
    assert slot >= GENESIS_SLOT
    assert rpc.call("getBlockHeight") == slot - SKIPPED_SLOTS
    epoch = rpc.call("getEpochInfo")
    assert (epoch["absoluteSlot"], epoch["blockHeight"]) == (slot, slot - SKIPPED_SLOTS)
    assert epoch["epoch"] * epoch["slotsInEpoch"] + epoch["slotIndex"] == slot
    node.advance_slots(5)
    assert rpc.call("getSlot") == slot + 5
    assert rpc.call("getBlockTime", slot + 5) == 1_800_000_000 + int((slot + 5 - GENESIS_SLOT) * 0.4)


def test_a_blockhash_is_valid_for_150_blocks_and_no_longer(node: SolanaNode, rpc: RpcClient) -> None:
    answer = rpc.value("getLatestBlockhash")
    assert answer["lastValidBlockHeight"] == rpc.call("getBlockHeight") + 150
    node.advance_slots(150)
    assert rpc.value("isBlockhashValid", answer["blockhash"]) is True
    assert rpc.call("getBlockHeight") == answer["lastValidBlockHeight"]
    node.advance_slots(1)
    assert rpc.value("isBlockhashValid", answer["blockhash"]) is False
    assert rpc.blockhash() != answer["blockhash"]


def test_fees_and_rent_come_from_the_chain(node: SolanaNode, rpc: RpcClient) -> None:
    from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
    from solders.hash import Hash

    assert rpc.call("getMinimumBalanceForRentExemption", 0) == 890_880
    assert rpc.call("getMinimumBalanceForRentExemption", 165) == 2_039_280
    node.state.prioritization_fee = 700
    fees = rpc.call("getRecentPrioritizationFees", [str(ALICE.pubkey())])
    assert 1 <= len(fees) <= 150
    assert fees[-1] == {"slot": rpc.call("getSlot"), "prioritizationFee": 700}
    assert len(rpc.call("getRecentPrioritizationFees")) == len(fees)

    move = transfer(TransferParams(from_pubkey=ALICE.pubkey(), to_pubkey=BOB.pubkey(), lamports=SOL))
    budget = [set_compute_unit_limit(1_000), set_compute_unit_price(2_000_000)]

    def fee(instructions: list, blockhash: str) -> int | None:
        message = Message.new_with_blockhash(instructions, ALICE.pubkey(), Hash.from_string(blockhash))
        return rpc.value("getFeeForMessage", base64.b64encode(bytes(message)).decode())

    assert fee([move], rpc.blockhash()) == 5_000
    assert fee([*budget, move], rpc.blockhash()) == 5_000 + 2_000
    assert fee([move], str(Hash.new_unique())) is None


def test_a_node_that_is_behind_says_so(node: SolanaNode, rpc: RpcClient) -> None:
    assert rpc.call("getHealth") == "ok"
    assert set(rpc.call("getVersion")) == {"solana-core", "feature-set"}
    node.state.slots_behind = 42
    try:
        assert error_of(rpc, "getHealth") == {
            "code": -32005,
            "message": "Node is behind by 42 slots",
            "data": {"numSlotsBehind": 42},
        }
    finally:
        node.state.slots_behind = 0


def test_a_batch_is_answered_item_by_item(rpc: RpcClient) -> None:
    calls = [
        rpc.request("getBalance", str(ALICE.pubkey())),
        rpc.request("noSuchMethod"),
        rpc.request("getBalance", "not a key"),
        rpc.request("getSlot"),
    ]
    answers = rpc.post(calls).json()
    assert [answer["id"] for answer in answers] == [call["id"] for call in calls]
    assert answers[0]["result"]["value"] == 5 * SOL
    assert answers[1]["error"] == {"code": -32601, "message": "Method not found"}
    assert answers[2]["error"]["code"] == -32602
    assert answers[3]["result"] == rpc.call("getSlot")
    assert rpc.post([]).json()["error"]["code"] == -32600


def test_what_is_no_json_rpc_is_refused(node: SolanaNode, rpc: RpcClient) -> None:
    header = {"Content-Type": "application/json"}
    assert rpc.http.post(node.url, content=b"{", headers=header).json()["error"]["code"] == -32700
    assert rpc.http.post(node.url, content=b"{}").status_code == 415
    assert rpc.http.get(node.url).status_code == 405
    assert rpc.post({"jsonrpc": "2.0", "id": 1}).json()["error"]["code"] == -32600
    assert error_of(rpc, "getBalance")["message"] == "`params` should have at least 1 argument(s)"
    assert error_of(rpc, "getBalance", str(ALICE.pubkey()), {"commitment": "soon"})["code"] == -32602
    ahead = {"minContextSlot": rpc.call("getSlot") + 9}
    late = error_of(rpc, "getBalance", str(ALICE.pubkey()), ahead)
    assert (late["code"], late["data"]) == (-32016, {"contextSlot": rpc.call("getSlot")})
    assert httpx.get(f"{node.url}health").text == "ok"


def test_calls_are_counted_by_method_and_request(node: SolanaNode, rpc: RpcClient) -> None:
    node.calls.reset()
    rpc.call("getSlot")
    rpc.post([rpc.request("getSlot"), rpc.request("getHealth")])
    assert (node.calls["getSlot"], node.calls["getHealth"], node.calls["getBalance"]) == (2, 1, 0)
    assert (node.calls.total, node.calls.requests) == (3, 2)
