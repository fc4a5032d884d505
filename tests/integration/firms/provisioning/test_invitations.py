"""The administrator's invitation: a link that works once, and is nowhere but in its mail."""

from __future__ import annotations

import hashlib
import re
import threading

import psycopg
import pytest

from cp_ops.mail.delivery.job import DeliverMail
from cp_ops.runtime.errors import SettingError
from tests.integration.firms.provisioning.conftest import (
    Server,
    one,
    provision,
    rows,
)


def test_the_invitation_is_mailed_after_the_commit_and_works_once(runner, db, owner, smtp):
    provision(runner, admin_first_name="Robin")
    assert one(db, "SELECT left(password, 1) FROM auth_user") == ("!",)
    assert smtp.mails() == []
    runner(DeliverMail(Server(smtp)))

    (mail,) = smtp.mails()
    text = mail.message.get_body(("plain",)).get_content()
    (token,) = re.findall(r"https://app\.example\.test/accept-invitation/([\w-]{43})\s", text)
    assert token in mail.message.get_body(("html",)).get_content()
    user_id = one(db, "SELECT id FROM auth_user")[0]
    redeem = "SELECT cp_ops.redeem_invitation(%s)"
    assert one(owner, redeem, token + "x") == (None,)
    assert one(owner, redeem, token) == (user_id,)
    assert one(owner, redeem, token) == (None,), "single use"


def test_only_the_hash_of_the_token_is_stored(runner, db, smtp):
    """A trap: the outbox would have kept the link."""
    provision(runner)
    assert one(db, "SELECT token_sha256, expires_at FROM cp_ops.invitation") == (None, None)
    runner(DeliverMail(Server(smtp)))
    (mail,) = smtp.mails()
    (token,) = re.findall(r"accept-invitation/([\w-]{43})\s", mail.message.get_body(("plain",)).get_content())
    stored = one(db, "SELECT token_sha256 FROM cp_ops.invitation")[0]
    assert bytes(stored) == hashlib.sha256(token.encode()).digest()
    for schema, table in rows(
        db, "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'cp_ops')"
    ):
        assert (
            rows(db, f'SELECT 1 FROM "{schema}"."{table}" AS line WHERE line::text LIKE %s', f"%{token}%")
            == []
        )


def test_an_invitation_expires_and_provisioning_again_sends_a_new_one(runner, db, owner, smtp):
    provision(runner)
    runner(DeliverMail(Server(smtp)))
    (first,) = smtp.mails()
    (token,) = re.findall(
        r"accept-invitation/([\w-]{43})\s", first.message.get_body(("plain",)).get_content()
    )
    db.execute("UPDATE cp_ops.invitation SET expires_at = now() - interval '1 second'")
    assert one(owner, "SELECT cp_ops.redeem_invitation(%s)", token) == (None,)

    outcome = provision(runner)
    assert outcome.done_kinds == {"invite": 1}
    runner(DeliverMail(Server(smtp)))
    assert len(smtp.mails()) == 2


def test_two_redeemers_at_once_are_one(runner, db, app_db, smtp):
    provision(runner)
    runner(DeliverMail(Server(smtp)))
    (token,) = re.findall(
        r"invitation/([\w-]{43})\s", smtp.mails()[0].message.get_body(("plain",)).get_content()
    )
    got = []

    def redeem():
        with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
            got.append(connection.execute("SELECT cp_ops.redeem_invitation(%s)", (token,)).fetchone()[0])

    threads = [threading.Thread(target=redeem) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answer is not None for answer in got) == 1


def test_an_invitation_needs_the_frontends_address(runner, db):
    with pytest.raises(SettingError, match="frontend_url"):
        provision(runner.with_settings(default_from_email="ops@example.test"))
    assert rows(db, "SELECT 1 FROM firm_firm") == []
