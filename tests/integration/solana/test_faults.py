"""What a network and a node do to a client, at every call: the next run at the latest puts everything right, once."""

from __future__ import annotations

import pytest

from cp_ops.runtime.errors import RemoteRefusedError, RowsFailedError
from cp_ops.solana.job import SendFunds
from sandbox.solana_node import RateLimitAnswer
from tests.integration.solana.stories import Story

METHODS = (
    "getMultipleAccounts",
    "getSignaturesForAddress",
    "getTransaction",
    "getLatestBlockhash",
    "getSignatureStatuses",
    "getSlot",
    "getBlockTime",
    "getRecentPrioritizationFees",
    "sendTransaction",
)
REPEATED = ("getMultipleAccounts", "sendTransaction", "getSignatureStatuses")
"""Called more than once in a run: every other fault spares the first call."""
FAULTS = {
    "lost response": {"kind": "lost_response"},
    "connection reset": {"kind": "connection_reset"},
    "429 with data": {"kind": "rate_limited", "answer": RateLimitAnswer(retry_after=0.01, data={"x": 1})},
    "429 in text": {"kind": "rate_limited", "answer": RateLimitAnswer(retry_after=None, body="text")},
    "-32005 without data": {
        "kind": "rate_limited",
        "answer": RateLimitAnswer(status=200, code=-32005, retry_after=None, data=None),
    },
    "5xx": {"kind": "server_error"},
    "html": {"kind": "html"},
    "null": {"kind": "null_result"},
    "unknown error code": {"kind": "rpc_error", "code": -32097},
    "hang": {"kind": "hang", "seconds": 1.0},
    "hang after effect": {"kind": "hang", "seconds": 1.0, "after_effect": True},
}


@pytest.mark.parametrize("method", METHODS)
def test_any_fault_at_a_call_is_put_right(shop, method):
    """Once each, and with the node out of order for as long as a run lasts."""
    shop.fields["timeout"] = 0.25
    story = Story(shop)
    met = 0
    for options in FAULTS.values():
        story.tell()
        fault = shop.node.faults.add(method=method, skip=met % 2 if method in REPEATED else 0, **options)
        story.run_all()
        met += fault.hits
        shop.node.faults.clear()
        story.converge()
        story.check()
    assert met >= len(FAULTS) - 3, "the faults never happened"


@pytest.mark.parametrize("kind", ["lost_response", "server_error", "rate_limited", "hang"])
def test_a_node_that_is_out_of_order_for_a_whole_run_changes_nothing_for_good(shop, kind):
    shop.fields["timeout"] = 0.2
    options = {"seconds": 0.3} if kind == "hang" else {}
    story = Story(shop).tell()
    shop.node.faults.add(kind, count=None, **options)
    assert len(story.run_all()) == 4
    shop.node.faults.clear()
    story.converge()
    story.check()


@pytest.fixture
def paid(shop):
    """Three wallets whose funds are to be sent."""
    payments = [shop.payment(status="confirmed", state="processing_funds") for _ in range(3)]
    for payment in payments:
        payment.pay("0.1", shop.sol)
    return payments


def transactions(shop):
    return shop.own("SELECT state, count(*) FROM cp_ops.solana_transaction GROUP BY 1 ORDER BY 1")


def test_a_transaction_that_the_node_dropped_is_sent_again_with_the_same_bytes(shop, paid):
    shop.node.faults.add("dropped")
    shop.run(SendFunds)
    assert [payment.states() for payment in paid] == [("confirmed", "sent_funds")] * 3
    assert transactions(shop) == [("landed", 1)]
    assert shop.node.calls["sendTransaction"] == 2


def test_while_a_transaction_can_still_land_nothing_is_signed_anew(shop, paid):
    shop.node.faults.add("dropped", count=None)
    outcome = shop.run(SendFunds)
    assert outcome.skip_reasons["under way: a transaction that the chain has not decided yet"] == 3
    shop.run(SendFunds)
    assert transactions(shop) == [("open", 1)]
    assert shop.received(shop.sol) == 0


def test_once_its_blockhash_has_expired_it_is_signed_anew_and_moved_once(shop, paid):
    held = shop.node.faults.add("held", count=None)
    shop.run(SendFunds)
    shop.node.advance_slots(151)
    shop.node.faults.clear()
    shop.run(SendFunds)
    assert held.hits >= 1
    assert transactions(shop) == [("expired", 1), ("landed", 1)]
    shop.node.release_held()
    assert shop.received(shop.sol) == 300_000_000
    assert [payment.states() for payment in paid] == [("confirmed", "sent_funds")] * 3


def test_a_transaction_that_lands_between_two_runs_is_found_and_not_repeated(shop, paid):
    shop.node.faults.add("held", count=None)
    shop.run(SendFunds)
    shop.node.faults.clear()
    shop.node.release_held()
    shop.run(SendFunds)
    assert transactions(shop) == [("landed", 1)]
    assert [payment.states() for payment in paid] == [("confirmed", "sent_funds")] * 3


def test_what_landed_with_an_error_is_not_counted_as_done_and_tried_again(shop, paid):
    shop.node.faults.add("landed_with_error")
    outcome = shop.run(SendFunds)
    assert transactions(shop) == [("failed", 1), ("landed", 2)]
    assert outcome.done_kinds == {"sweep": 3}
    assert shop.received(shop.sol) == 300_000_000


def test_what_always_lands_with_an_error_is_reported(shop, paid):
    shop.node.faults.add("landed_with_error", count=None, address=paid[0].address)
    with pytest.raises(RowsFailedError, match="landed with error"):
        shop.run(SendFunds)
    assert paid[0].states() == ("confirmed", "processing_funds")
    assert [payment.states() for payment in paid[1:]] == [("confirmed", "sent_funds")] * 2
    assert shop.kinds() == ["transfer_rejected"]


def test_a_wallet_that_spoils_its_pack_is_dropped_and_the_rest_sent(shop, paid):
    """The customer moves one wallet's funds between reading and sending: here, the row names another's money."""
    shop.node.faults.add(
        "rpc_error",
        method="sendTransaction",
        code=-32002,
        message="Transaction simulation failed: Error processing Instruction 2: custom program error: 0x1",
        data={"err": {"InstructionError": [2, {"Custom": 1}]}, "logs": []},
        address=paid[0].address,
        count=None,
    )
    with pytest.raises(RowsFailedError):
        shop.run(SendFunds)
    assert shop.received(shop.sol) == 200_000_000
    assert paid[0].states() == ("confirmed", "processing_funds")


def test_a_fee_payer_without_funds_is_one_clear_error(shop, paid):
    shop.node.build.pay_sol(shop.configuration().receiver, 999 * 10**9, payer=shop.chain.fee_payer)
    left = shop.node.ledger.lamports_of(shop.chain.fee_payer.pubkey())
    shop.node.build.pay_sol(shop.configuration().receiver, left, payer=shop.chain.fee_payer)
    with pytest.raises(RemoteRefusedError, match=r"the fee payer .* cannot pay: send it SOL"):
        shop.run(SendFunds)
    assert [payment.states() for payment in paid] == [("confirmed", "processing_funds")] * 3
