"""What the local node can do wrong on request, each fault once and then no more; and its rate limits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from solders.keypair import Keypair
from solders.system_program import TransferParams, transfer

from sandbox.solana_node import RateLimitAnswer, SolanaNode
from sandbox.solana_node.client import RpcCallError, RpcClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from solders.pubkey import Pubkey
    from solders.transaction import VersionedTransaction

SOL = 10**9


@pytest.fixture(scope="module")
def running() -> Iterator[SolanaNode]:
    with SolanaNode() as node:
        yield node


@pytest.fixture
def node(running: SolanaNode) -> Iterator[SolanaNode]:
    running.calls.reset()
    yield running
    running.faults.clear()
    running.set_limits()
    running.ledger.check()


@pytest.fixture
def rpc(node: SolanaNode) -> Iterator[RpcClient]:
    with RpcClient(node.url) as client:
        yield client


@pytest.fixture
def alice(node: SolanaNode) -> Keypair:
    wallet = Keypair()
    node.build.airdrop(wallet.pubkey(), 5 * SOL)
    return wallet


@pytest.fixture
def bob() -> Pubkey:
    return Keypair().pubkey()


def payment(rpc: RpcClient, source: Keypair, to: Pubkey) -> VersionedTransaction:
    move = transfer(TransferParams(from_pubkey=source.pubkey(), to_pubkey=to, lamports=SOL))
    return rpc.sign([move], [source])


def status(rpc: RpcClient, transaction: VersionedTransaction) -> dict[str, Any] | None:
    return rpc.value("getSignatureStatuses", [str(transaction.signatures[0])])[0]


def test_a_lost_response_hides_a_transaction_that_landed(
    node: SolanaNode, rpc: RpcClient, alice: Keypair, bob: Pubkey
) -> None:
    fault = node.faults.add("lost_response", method="sendTransaction")
    transaction = payment(rpc, alice, bob)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        rpc.send(transaction)
    assert rpc.value("getBalance", str(bob)) == SOL
    assert fault.hits == 1
    with pytest.raises(RpcCallError, match="already been processed"):
        rpc.send(transaction)


def test_a_reset_connection_means_nothing_happened(
    node: SolanaNode, rpc: RpcClient, alice: Keypair, bob: Pubkey
) -> None:
    node.faults.add("connection_reset", method="sendTransaction")
    transaction = payment(rpc, alice, bob)
    with pytest.raises(httpx.TransportError):
        rpc.send(transaction)
    assert rpc.value("getBalance", str(bob)) == 0
    rpc.send(transaction)
    assert rpc.value("getBalance", str(bob)) == SOL


def test_a_dropped_transaction_never_lands_until_it_is_sent_again(
    node: SolanaNode, rpc: RpcClient, alice: Keypair, bob: Pubkey
) -> None:
    node.faults.add("dropped")
    transaction = payment(rpc, alice, bob)
    assert rpc.send(transaction) == str(transaction.signatures[0])
    node.advance_slots(20)
    assert status(rpc, transaction) is None
    rpc.send(transaction)
    assert status(rpc, transaction) is not None
    assert rpc.value("getBalance", str(bob)) == SOL


def test_a_held_transaction_lands_later_and_only_once(
    node: SolanaNode, rpc: RpcClient, alice: Keypair, bob: Pubkey
) -> None:
    node.faults.add("held", seconds=4.0)
    timed = payment(rpc, alice, bob)
    rpc.send(timed)
    node.advance_seconds(3.9)
    assert status(rpc, timed) is None
    node.advance_seconds(0.2)
    assert status(rpc, timed) is not None

    node.faults.add("held")
    rebroadcast = payment(rpc, alice, bob)
    rpc.send(rebroadcast)
    node.advance_slots(100)
    assert status(rpc, rebroadcast) is None
    rpc.send(rebroadcast)
    assert status(rpc, rebroadcast) is not None, "the second copy was not held"
    assert node.release_held() == 1
    assert rpc.value("getBalance", str(bob)) == 2 * SOL


def test_a_held_transaction_lands_until_its_blockhash_expires(
    node: SolanaNode, rpc: RpcClient, alice: Keypair, bob: Pubkey
) -> None:
    for slots, lands in ((150, True), (151, False)):
        node.faults.add("held")
        held = payment(rpc, alice, bob)
        rpc.send(held)
        node.advance_slots(slots)
        assert node.release_held() == 1
        assert (status(rpc, held) is not None) is lands
    assert node.chain.discarded[-1].reason == "BlockhashNotFound"
    assert rpc.value("getBalance", str(bob)) == SOL


def test_landed_with_an_error_costs_the_fee_and_moves_nothing(
    node: SolanaNode, rpc: RpcClient, alice: Keypair, bob: Pubkey
) -> None:
    node.faults.add("landed_with_error", err={"InstructionError": [0, {"Custom": 17}]})
    transaction = payment(rpc, alice, bob)
    signature = rpc.send(transaction)
    landed = status(rpc, transaction)
    assert landed is not None
    assert landed["err"] == {"InstructionError": [0, {"Custom": 17}]}
    assert rpc.value("getBalance", str(bob)) == 0
    assert rpc.value("getBalance", str(alice.pubkey())) == 5 * SOL - 5_000
    told = rpc.call("getTransaction", signature, {"encoding": "jsonParsed"})
    assert told["meta"]["status"] == {"Err": landed["err"]}
    assert told["meta"]["preBalances"][0] - told["meta"]["postBalances"][0] == 5_000
    with pytest.raises(RpcCallError, match="already been processed"):
        rpc.send(transaction)


@pytest.mark.parametrize(
    ("answer", "http_status", "error"),
    [
        (
            RateLimitAnswer(retry_after=7),
            429,
            {"code": 429, "message": "Too many requests for a specific RPC call"},
        ),
        (
            RateLimitAnswer(status=200, code=-32005, message="slow down"),
            200,
            {"code": -32005, "message": "slow down"},
        ),
        (
            RateLimitAnswer(code=-32005, message="slow down", data={"rps": 5}),
            429,
            {"code": -32005, "message": "slow down", "data": {"rps": 5}},
        ),
        (RateLimitAnswer(body="text", message="Too Many Requests"), 429, None),
        (RateLimitAnswer(body="empty", retry_after=None), 429, None),
    ],
    ids=["public", "32005-without-data", "32005-with-data", "text", "empty"],
)
def test_too_many_requests_is_said_in_each_providers_way(
    node: SolanaNode, rpc: RpcClient, answer: RateLimitAnswer, http_status: int, error: dict | None
) -> None:
    node.faults.add("rate_limited", answer=answer)
    response = rpc.post(rpc.request("getSlot"))
    assert response.status_code == http_status
    assert response.headers.get("Retry-After") == (
        None if answer.retry_after is None else f"{answer.retry_after:g}"
    )
    if error is None:
        assert response.text == ("" if answer.body == "empty" else answer.message)
    else:
        assert response.json()["error"] == error
    assert isinstance(rpc.call("getSlot"), int)


def test_gateways_proxies_and_odd_answers(node: SolanaNode, rpc: RpcClient) -> None:
    for code in (500, 502, 503):
        node.faults.add("server_error", status=code)
        assert rpc.post(rpc.request("getSlot")).status_code == code
    node.faults.add("html")
    page = rpc.post(rpc.request("getSlot"))
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    node.faults.add("null_result")
    assert rpc.call("getSlot") is None
    node.faults.add("rpc_error", code=-32097, message="odd", data=[1])
    with pytest.raises(RpcCallError) as failure:
        rpc.call("getSlot")
    assert failure.value.error == {"code": -32097, "message": "odd", "data": [1]}
    assert isinstance(rpc.call("getSlot"), int)


def test_a_hang_ends_with_the_clients_patience(node: SolanaNode, alice: Keypair, bob: Pubkey) -> None:
    with RpcClient(node.url, timeout=0.3) as rpc:
        transaction = payment(rpc, alice, bob)
        node.faults.add("hang", method="sendTransaction")
        with pytest.raises(httpx.ReadTimeout):
            rpc.send(transaction)
        assert rpc.value("getBalance", str(bob)) == 0
        node.faults.add("hang", method="sendTransaction", after_effect=True)
        with pytest.raises(httpx.ReadTimeout):
            rpc.send(transaction)
        assert rpc.value("getBalance", str(bob)) == SOL
        node.faults.add("hang", seconds=0.05)
        with pytest.raises(httpx.RemoteProtocolError):
            rpc.call("getSlot")


def test_slowness_is_per_call_or_for_all(node: SolanaNode, rpc: RpcClient) -> None:
    def seconds(method: str) -> float:
        started = time.monotonic()
        rpc.call(method)
        return time.monotonic() - started

    node.faults.add("slow", method="getHealth", seconds=1)
    assert seconds("getHealth") >= 1
    assert seconds("getHealth") < 1
    node.state.latency = 0.1
    try:
        assert seconds("getSlot") >= 0.1
    finally:
        node.state.latency = 0


def test_a_fault_waits_for_its_call_its_turn_and_its_address(
    node: SolanaNode, rpc: RpcClient, alice: Keypair, bob: Pubkey
) -> None:
    third = node.faults.add("server_error", method="getSlot", skip=2, count=1)
    assert [rpc.post(rpc.request("getSlot")).status_code for _ in range(4)] == [200, 200, 503, 200]
    assert (third.hits, third.spent) == (1, True)
    node.faults.add("null_result", method="getBalance", address=str(bob), count=None)
    assert rpc.value("getBalance", str(alice.pubkey())) == 5 * SOL
    assert [rpc.call("getBalance", str(bob)) for _ in range(3)] == [None] * 3
    node.faults.clear()
    node.faults.add("dropped", address=str(bob))
    stranger = Keypair().pubkey()
    landing, lost = payment(rpc, alice, stranger), payment(rpc, alice, bob)
    rpc.send(landing)
    rpc.send(lost)
    assert status(rpc, landing) is not None
    assert status(rpc, lost) is None


def test_one_faulty_item_takes_the_whole_batch_with_it(
    node: SolanaNode, rpc: RpcClient, alice: Keypair, bob: Pubkey
) -> None:
    node.faults.add("connection_reset", method="getHealth")
    batch = [rpc.request("requestAirdrop", str(bob), SOL), rpc.request("getHealth")]
    with pytest.raises(httpx.TransportError):
        rpc.post(batch)
    assert rpc.value("getBalance", str(bob)) == 0
    node.faults.add("lost_response", method="getHealth")
    with pytest.raises(httpx.TransportError):
        rpc.post(batch)
    assert rpc.value("getBalance", str(bob)) == SOL


def test_faults_that_make_no_sense_are_refused(node: SolanaNode) -> None:
    with pytest.raises(ValueError, match="unknown fault"):
        node.faults.add("earthquake")
    with pytest.raises(ValueError, match="sendTransaction only"):
        node.faults.add("dropped", method="getSlot")
    with pytest.raises(ValueError, match="needs seconds"):
        node.faults.add("slow")


def test_a_method_over_its_limit_waits_as_told_and_goes_on(node: SolanaNode, rpc: RpcClient) -> None:
    node.set_limits(calls=100, per_method=4, window=1.2)
    answers = [rpc.post(rpc.request("getSlot")) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert answers[4].json()["error"]["code"] == 429
    assert 1 <= int(answers[4].headers["Retry-After"]) <= 2
    assert rpc.call("getHealth") == "ok", "another method has room"
    assert node.calls.rate_limited == 1
    time.sleep(int(answers[4].headers["Retry-After"]))
    assert isinstance(rpc.call("getSlot"), int)


def test_the_items_of_a_batch_count_one_by_one(node: SolanaNode, rpc: RpcClient) -> None:
    node.set_limits(
        calls=10, window=30, answer=RateLimitAnswer(status=200, code=-32005, message="rate limit")
    )
    assert len(rpc.post([rpc.request("getSlot")] * 8).json()) == 8
    refused = rpc.post([rpc.request("getSlot")] * 3)
    assert refused.json()["error"] == {"code": -32005, "message": "rate limit"}
    assert 25 <= int(refused.headers["Retry-After"]) <= 30
    assert len(rpc.post([rpc.request("getSlot")] * 2).json()) == 2, "a refused request took nothing"
