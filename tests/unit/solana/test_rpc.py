"""The RPC client against a real node: its pace, its patience, and answers that break other clients."""

from __future__ import annotations

import pytest

from cp_ops.hooks.json_rpc import WINDOW
from cp_ops.hooks.rate_limit import CallLimiter
from cp_ops.hooks.solana_rpc import SolanaRpc
from cp_ops.runtime.errors import RemoteConnectionLostError, RemoteRefusedError, RemoteUnavailableError
from cp_ops.solana.configuration import SolanaConfiguration
from sandbox.solana_node import RateLimitAnswer, SolanaNode, keypair
from sandbox.solana_node.client import RpcClient

ADDRESS = str(keypair("somebody").pubkey())


@pytest.fixture(scope="module")
def running():
    with SolanaNode() as made:
        yield made


@pytest.fixture
def node(running):
    running.faults.clear()
    running.calls.reset()
    running.set_limits()
    return running


@pytest.fixture
def waits():
    return []


@pytest.fixture
def rpc(node, waits):
    given = {"rpc_url": node.url, "fee_payer": keypair("payer").to_json(), "receiver_address": ADDRESS}
    with SolanaRpc(SolanaConfiguration.of("c", given | {"timeout": 0.5}), sleep=waits.append) as made:
        yield made


def test_accounts_are_read_a_hundred_a_call_and_in_one_request(rpc, node):
    addresses = [str(keypair(f"n{number}").pubkey()) for number in range(250)]
    node.build.airdrop(keypair("n249").pubkey(), 10**9)
    found = rpc.accounts(addresses, "confirmed")
    assert found[:249] == [None] * 249
    assert found[249].lamports == 10**9
    assert (node.calls["getMultipleAccounts"], node.calls.requests, rpc.calls) == (3, 1, 3)


def test_retry_after_is_obeyed(rpc, node, waits):
    node.faults.add("rate_limited", answer=RateLimitAnswer(retry_after=3))
    assert rpc.block_height("confirmed") > 0
    assert waits == [3.0]


@pytest.mark.parametrize(
    "answer",
    [
        RateLimitAnswer(status=200, code=-32005, data=None, retry_after=None),
        RateLimitAnswer(status=200, code=-32429, data=None, retry_after=None),
        RateLimitAnswer(status=429, body="empty", retry_after=None),
    ],
)
def test_every_way_of_saying_too_many_requests_is_waited_out(rpc, node, waits, answer):
    """Code -32005 without data ends the process of a client that parses it with solders."""
    node.faults.add("rate_limited", count=2, answer=answer)
    assert rpc.block_height("confirmed") > 0
    assert waits == [1.0, 2.0]


def test_a_wait_that_is_too_long_is_left_to_the_next_run(rpc, node):
    node.faults.add("rate_limited", answer=RateLimitAnswer(retry_after=600))
    with pytest.raises(RemoteUnavailableError, match=r"come back after 600 s. Set calls_per_second"):
        rpc.block_height("confirmed")


@pytest.mark.parametrize("kind", ["lost_response", "connection_reset", "server_error", "html", "null_result"])
def test_a_read_is_repeated_and_then_given_up(rpc, node, kind):
    node.faults.add(kind, count=2)
    assert rpc.block_height("confirmed") > 0
    node.faults.add(kind, count=None)
    with pytest.raises(RemoteUnavailableError):
        rpc.block_height("confirmed")


@pytest.mark.parametrize(
    "kind", ["lost_response", "connection_reset", "server_error", "null_result", "rpc_error"]
)
def test_a_sending_is_never_repeated_by_the_client(rpc, node, kind):
    payer = keypair("rich")
    node.build.airdrop(payer.pubkey(), 10**9)
    from solders.system_program import TransferParams, transfer

    with RpcClient(node.url) as client:
        params = TransferParams(from_pubkey=payer.pubkey(), to_pubkey=payer.pubkey(), lamports=1)
        wire = bytes(client.sign([transfer(params)], [payer]))
    node.faults.add(kind, **({"code": -32000} if kind == "rpc_error" else {}))
    before = node.calls["sendTransaction"]
    with pytest.raises(RemoteConnectionLostError):
        rpc.send(wire, "confirmed")
    assert node.calls["sendTransaction"] == before + 1
    rpc.send(wire, "confirmed")


def test_a_refusal_names_the_host_and_no_path(node):
    given = {"fee_payer": keypair("payer").to_json(), "receiver_address": ADDRESS}
    url = f"{node.url}api-key-1234"
    with SolanaRpc(SolanaConfiguration.of("c", given | {"rpc_url": url})) as rpc:
        with pytest.raises(RemoteRefusedError) as raised:
            rpc.block_height("confirmed")
        assert "127.0.0.1 refused with HTTP status 404" in str(raised.value)
        assert "api-key" not in str(raised.value)


def test_public_limits_are_kept_without_a_single_refusal(node):
    """100 calls and 40 of a method in a window; the window is shortened for both sides."""
    import cp_ops.hooks.json_rpc as module

    given = {"rpc_url": node.url, "fee_payer": keypair("payer").to_json(), "receiver_address": ADDRESS}
    limits = {"calls_per_second": 100 / 1.2, "calls_per_second_per_method": 40 / 1.2}
    original, module.WINDOW = module.WINDOW, 1.2
    try:
        node.set_limits(calls=100, per_method=40, window=1.0)
        with SolanaRpc(SolanaConfiguration.of("c", given | limits)) as rpc:
            rpc.histories([ADDRESS] * 130, "confirmed")
    finally:
        module.WINDOW = original
    assert (node.calls.rate_limited, node.calls["getSignaturesForAddress"]) == (0, 130)


def test_the_pace_counts_in_total_and_per_method():
    now = [0.0]
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    pace = CallLimiter(0.5, in_total=1.0, window=WINDOW, monotonic=lambda: now[0], sleep=sleep)
    pace.wait(*["a"] * 5)
    pace.wait(*["b"] * 5)
    assert slept == []
    now[0] = 4.0
    pace.wait(*["c"])
    assert slept == [6.0]
