"""The pure decisions of reconcile_s3."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.documents.reconciliation.placement import (
    Location,
    UnmatchedVersion,
    Unreadable,
    locate,
    placement_reason,
)
from cp_ops.documents.reconciliation.plan import (
    KINDS,
    BucketEvidence,
    require_complete,
    require_plausible,
    require_readable,
)
from cp_ops.hooks.s3 import full_object_sha256
from cp_ops.runtime.errors import ImplausibleError
from cp_ops.runtime.field_encryption import FieldEncryption, LocalKms, location_fingerprint
from cp_ops.runtime.finding_changes import FindingChange, plan_findings
from sandbox.world.encryption import LocalKms as Application

KEY_ID = "key-of-firm-1"
ENCRYPTION = FieldEncryption(LocalKms("m"), "d")
APPLICATION = Application("m", "d")


def version(bucket, key, fingerprint="", key_id=KEY_ID):
    return UnmatchedVersion(
        1, 1, fingerprint, APPLICATION.encrypt(bucket, key_id), APPLICATION.encrypt(key, key_id), gone=False
    )


def test_a_listed_bucket_s_key_is_decrypted_and_fingerprinted():
    assert locate(version("b", "k"), ENCRYPTION, KEY_ID, {"b"}) == Location(
        "b", "k", location_fingerprint(KEY_ID, "b", "k")
    )


def test_of_an_unlisted_bucket_only_the_name_is_decrypted():
    damaged_key = UnmatchedVersion(1, 1, "", APPLICATION.encrypt("b", KEY_ID), "enc::damaged", gone=False)
    assert locate(damaged_key, ENCRYPTION, KEY_ID, set()) == Location("b")
    assert locate(damaged_key, ENCRYPTION, KEY_ID, {"b"}) == Unreadable("not_decryptable")


@pytest.mark.parametrize(("bucket", "key"), [("", ""), ("", "k"), ("b", "")])
def test_a_version_without_bucket_or_key_has_no_location(bucket, key):
    assert locate(version(bucket, key), ENCRYPTION, KEY_ID, {"b"}) == Unreadable("no_location")


def test_a_version_of_another_key_is_not_decryptable():
    assert locate(version("b", "k", key_id="other"), ENCRYPTION, KEY_ID, {"b"}) == Unreadable(
        "not_decryptable"
    )


@pytest.mark.parametrize(
    ("stored", "reason"), [("", None), ("same", None), ("0" * 64, "fingerprint_differs")]
)
def test_a_wrong_fingerprint_is_told_from_one_never_stored(stored, reason):
    location = Location("b", "k", location_fingerprint(KEY_ID, "b", "k"))
    stored = location.fingerprint if stored == "same" else stored
    assert placement_reason(version("b", "k", stored), location) == reason


@pytest.mark.parametrize(
    ("objects", "matched", "unexplained", "share", "believed"),
    [
        (0, 0, 0, 0.5, True),  # nobody lives there
        (0, 0, 1, 0.5, False),  # empty
        (0, 0, 1, 0.0, False),  # empty, whatever the share
        (5, 1, 8, 0.5, True),  # nine versions: too few to doubt
        (5, 5, 5, 0.5, True),  # exactly the share
        (5, 4, 6, 0.5, False),
        (1, 0, 10, 0.0, True),  # the operator said so
        (99, 99, 1, 1.0, False),
    ],
)
def test_which_listings_are_believed(objects, matched, unexplained, share, believed):
    evidence = BucketEvidence(objects, matched, unexplained)
    if believed:
        require_plausible("b", evidence, share)
    else:
        with pytest.raises(ImplausibleError, match="bucket b"):
            require_plausible("b", evidence, share)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 1))
def test_a_listing_that_shows_more_is_never_believed_less(objects, matched, unexplained, share):
    """Doubt grows with what is missing: checking early, while versions are still examined, refuses no sooner than late."""
    try:
        require_plausible("b", BucketEvidence(objects, matched, unexplained + 1), share)
    except ImplausibleError:
        return
    require_plausible("b", BucketEvidence(objects, matched, unexplained), share)


@pytest.mark.parametrize(
    ("matched", "readable", "unreadable", "fine"),
    [(0, 0, 9, True), (0, 0, 10, False), (1, 0, 10, True), (0, 1, 99, True)],
)
def test_when_nothing_can_be_decrypted_the_key_is_wrong(matched, readable, unreadable, fine):
    if fine:
        require_readable(matched=matched, readable=readable, unreadable=unreadable)
    else:
        with pytest.raises(ImplausibleError, match="cp_kms"):
            require_readable(matched=matched, readable=readable, unreadable=unreadable)


def test_the_plan_counts_by_kind_and_firm_and_its_hash_tells_which():
    changes = [
        FindingChange("open", "missing_object", 1, 3, "aa"),
        FindingChange("resolve", "orphan_object", None, 2, "bb"),
    ]
    plan = plan_findings(changes)
    assert [(action.kind, action.firm_id, action.rows) for action in plan.actions] == [
        ("open_missing_object", 1, 3),
        ("resolve_orphan_object", None, 2),
    ]
    assert plan.rows == 5
    assert plan.sha256 == plan_findings(reversed(changes)).sha256
    assert (
        plan.sha256 != plan_findings([FindingChange("open", "missing_object", 1, 3, "cc"), changes[1]]).sha256
    )


def test_numbers_that_do_not_add_up_stop_the_run():
    require_complete(3, {"matched": 2, "missing_object": 1})
    for counts in ({"matched": 2}, {"matched": 2, "unjudged": 1}):
        with pytest.raises(ImplausibleError, match="3 versions were taken"):
            require_complete(3, counts)


def test_every_kind_says_what_to_do():
    assert set(KINDS) == {
        "missing_object", "size_mismatch", "checksum_mismatch", "orphan_object", "unreadable_row",
    }  # fmt: skip
    assert all(len(kind.proposed_action) > 20 for kind in KINDS.values())


@pytest.mark.parametrize(
    ("encoded", "checksum_type", "known"),
    [
        ("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", "FULL_OBJECT", True),
        ("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", None, True),
        ("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", "COMPOSITE", False),
        ("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=-2", None, False),
        ("YWJj", "FULL_OBJECT", False),
        ("not base64", None, False),
        (None, None, False),
    ],
)
def test_only_a_whole_object_s_sha256_is_compared(encoded, checksum_type, known):
    assert full_object_sha256(encoded, checksum_type) == (
        hashlib.sha256(b"abc").hexdigest() if known else None
    )
