"""Tokens out of the ordinary: moved like any other, or reported with the reason; never closed with money inside."""

from __future__ import annotations

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from cp_ops.runtime.errors import RowsFailedError
from cp_ops.solana.job import CloseExpiredPayments, CloseExpiredWallets, SendFunds
from tests.integration.solana.conftest import RECEIVER

CLOSED = ("expired", "payment_expired_and_wallet_closed")


def list_mint(shop, symbol, **options):
    mint = shop.node.build.create_mint(**options)
    shop.chain.mints[str(mint.address)] = mint
    return shop.token(symbol, price="25", mint=str(mint.address), decimals=mint.decimals), mint


@pytest.mark.parametrize("extension", [{}, {"close_authority": Keypair()}])
def test_token_2022_is_moved_and_closed(shop, extension):
    token, _ = list_mint(shop, "NEW", token_2022=True, **extension)
    payment = shop.payment(status="confirmed", state="processing_funds")
    payment.pay("25", token)
    shop.run(SendFunds)
    assert payment.states() == ("confirmed", "sent_funds")
    assert shop.received(token) == 25_000_000
    assert shop.remains(payment) == 0


def test_a_transfer_fee_is_counted_net_and_withheld_fees_do_not_keep_the_account_open(shop):
    token, _ = list_mint(shop, "FEE", token_2022=True, transfer_fee=(100, 10_000_000))
    payment = shop.payment(expires_in=-60)
    payment.pay("26", token, at=payment.in_time())
    shop.run(CloseExpiredPayments)
    assert payment.states() == ("confirmed", "sent_funds")
    assert shop.remains(payment) == 0
    arrived = 26_000_000 - 260_000
    assert shop.received(token) == arrived - arrived // 100


def test_a_payment_short_by_the_transfer_fee_is_underpaid(shop):
    token, _ = list_mint(shop, "FEE", token_2022=True, transfer_fee=(100, 10_000_000))
    payment = shop.payment(expires_in=-60)
    payment.pay("25", token, at=payment.in_time())
    shop.run(CloseExpiredPayments)
    assert shop.kinds() == ["underpaid"]


def test_a_frozen_account_is_reported_kept_open_and_swept_once_it_is_thawed(shop):
    token, mint = list_mint(shop, "ICE", freezable=True)
    payment = shop.payment(status="confirmed", state="processing_funds")
    payment.pay("25", token)
    payment.pay("0.1", shop.sol)
    shop.node.build.freeze(mint, mint.ata(payment.key.pubkey()))
    shop.run(SendFunds)

    assert shop.received(shop.sol) == 100_000_000
    assert payment.states() == ("confirmed", "processing_funds")
    ((kind, _, details),) = shop.findings()
    assert (kind, details["amount"]) == ("frozen_account", 25_000_000)

    shop.node.build.thaw(mint, mint.ata(payment.key.pubkey()))
    shop.run(SendFunds)
    assert payment.states() == ("confirmed", "sent_funds")
    assert shop.received(token) == 25_000_000
    assert shop.findings() == []
    assert [kind for kind, _, _ in shop.findings(resolved=True)] == ["frozen_account"]


def test_an_unlisted_mint_is_reported_and_the_wallet_is_not_closed(shop):
    stranger = shop.node.build.create_mint(decimals=0)
    payment = shop.payment(expires_in=-3_600, status="expired", state="payment_expired")
    shop.node.build.pay_tokens(payment.key.pubkey(), stranger, 7)
    shop.run(CloseExpiredWallets)
    assert payment.states() == ("expired", "payment_expired")
    kinds = [(kind, details.get("amount")) for kind, _, details in shop.findings()]
    assert ("unlisted_mint", 7) in kinds
    assert shop.node.ledger.lamports_of(stranger.ata(payment.key.pubkey())) > 0


def test_an_account_that_is_not_the_associated_one_is_found_moved_and_closed(shop):
    payment = shop.payment(status="confirmed", state="processing_funds")
    other = shop.node.build.create_token_account(payment.key.pubkey(), shop.mint_of(shop.usdc))
    shop.node.build.pay_tokens(other, shop.mint_of(shop.usdc), 25_000_000)
    shop.run(SendFunds)
    assert payment.states() == ("confirmed", "sent_funds")
    assert shop.received(shop.usdc) == 25_000_000
    assert shop.node.ledger.lamports_of(other) == 0


@pytest.mark.parametrize("listed", [True, False])
def test_wallets_that_a_busy_run_closed_unlooked_at_are_looked_at_later_however_old(shop, listed):
    """A run with more than 25 new wallets lists nobody's token accounts; later runs catch up on all of them."""
    payments = [shop.payment(expires_in=-60) for _ in range(26)]
    odd = payments[0].key.pubkey()
    mint = shop.mint_of(shop.usdc) if listed else shop.node.build.create_mint(decimals=6)
    account = shop.node.build.create_token_account(odd, mint)
    shop.node.build.pay_tokens(account, mint, 25_000_000)
    shop.run(CloseExpiredPayments)
    assert {payment.states() for payment in payments} == {CLOSED}
    assert shop.own("SELECT count(*) FROM cp_ops.solana_wallet_inspection") == [(0,)]

    shop.world.conn.execute(
        "UPDATE django_solana_payments_solanapayment SET expiration_date = expiration_date - interval '90 days'"
    )
    for _ in range(2):
        shop.run(CloseExpiredWallets)
    assert shop.own("SELECT count(*) FROM cp_ops.solana_wallet_inspection") == [(26,)]
    assert shop.received(shop.usdc) == (25_000_000 if listed else 0)
    assert (shop.node.ledger.lamports_of(account) == 0) == listed
    assert shop.kinds() == ["late_payment" if listed else "unlisted_mint"]


def test_a_backlog_of_wallets_that_cannot_be_moved_is_looked_at_a_few_at_a_time(shop):
    for _ in range(27):
        shop.payment(expires_in=-3 * 86_400, status="expired", state="payment_expired", key_form="garbage")
    for inspected in (25, 27):
        with pytest.raises(RowsFailedError):
            shop.run(CloseExpiredWallets)
        assert shop.own("SELECT count(*) FROM cp_ops.solana_wallet_inspection") == [(inspected,)]


def test_an_account_that_somebody_else_may_close_is_reported(shop):
    payment = shop.payment(status="confirmed", state="processing_funds")
    payment.pay("25", shop.usdc)
    mint = shop.mint_of(shop.usdc)
    account = mint.ata(payment.key.pubkey())
    metas = [
        AccountMeta(account, is_signer=False, is_writable=True),
        AccountMeta(payment.key.pubkey(), is_signer=True, is_writable=False),
    ]
    set_close_authority = bytes([6, 3, 1]) + bytes(RECEIVER)
    shop.node.build.run([Instruction(mint.program, set_close_authority, metas)], [payment.key])
    shop.run(SendFunds)
    assert shop.kinds() == ["foreign_close_authority"]
    assert payment.states() == ("confirmed", "processing_funds")


def test_a_listed_mint_that_does_not_exist_stops_nobody(shop):
    shop.token("GONE", price="1", mint=str(Pubkey.new_unique()))
    payment = shop.payment(expires_in=-60, tokens=[shop.sol, shop.usdc])
    payment.pay("0.1", shop.sol, at=payment.in_time())
    shop.run(CloseExpiredPayments)
    assert payment.states() == ("confirmed", "sent_funds")


def test_a_receiver_without_a_token_account_gets_one(shop):
    payment = shop.payment(status="confirmed", state="processing_funds")
    payment.pay("25", shop.usdc)
    assert shop.node.ledger.lamports_of(shop.mint_of(shop.usdc).ata(RECEIVER)) == 0
    shop.run(SendFunds)
    assert shop.received(shop.usdc) == 25_000_000


def test_a_wallet_with_more_accounts_than_a_transaction_holds_takes_several(shop):
    payment = shop.payment(status="confirmed", state="processing_funds")
    mint = shop.mint_of(shop.usdc)
    for _ in range(16):
        account = shop.node.build.create_token_account(payment.key.pubkey(), mint)
        shop.node.build.pay_tokens(account, mint, 1_000_000)
    payment.pay("0.1", shop.sol)
    outcome = shop.run(SendFunds)
    assert outcome.numbers["transactions"] > 2
    assert payment.states() == ("confirmed", "sent_funds")
    assert shop.received(shop.usdc) == 16_000_000
    assert shop.received(shop.sol) == 100_000_000
    assert shop.remains(payment) == 0
