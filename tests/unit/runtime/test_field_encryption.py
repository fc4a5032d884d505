"""Reading encrypted fields, held against the sandbox's independent encryption and against a KMS over the wire."""

from __future__ import annotations

import base64

import boto3
import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.hooks.kms import AwsKms, field_encryption
from cp_ops.runtime.errors import (
    ConnectionInvalidError,
    ConnectionMissingError,
    RemoteRefusedError,
    RemoteUnavailableError,
    SettingError,
    Verdict,
)
from cp_ops.runtime.field_encryption import (
    FieldEncryption,
    LocalKms,
    UndecryptableError,
    location_fingerprint,
)
from cp_ops.runtime.settings import Settings
from sandbox.services.s3 import S3Server
from sandbox.world import encryption as independent

MASTER = "master-key-of-the-tests"
LOCAL = FieldEncryption(LocalKms(MASTER), "default-key")
APPLICATION = independent.LocalKms(MASTER, "default-key")


@given(plain=st.text(min_size=1), key_id=st.text(min_size=1))
def test_opens_what_the_application_writes(plain, key_id):
    assert LOCAL.decrypt(APPLICATION.encrypt(plain, key_id), key_id) == plain


@given(key_id=st.text(), bucket=st.text(), key=st.text())
def test_the_fingerprint_is_the_applications(key_id, bucket, key):
    assert location_fingerprint(key_id, bucket, key) == independent.s3_fingerprint(key_id, bucket, key)


@pytest.mark.parametrize(("stored", "plain"), [("plain/key.pdf", "plain/key.pdf"), ("", ""), (None, "")])
def test_plain_text_and_nothing_pass_through(stored, plain):
    assert LOCAL.decrypt(stored, "any") == plain


@pytest.mark.parametrize(
    "stored", ["enc::", "enc::short", "enc::gAAAAA==", "enc::é" * 9, "enc::" + "A" * 100]
)
def test_a_damaged_value_is_undecryptable(stored):
    with pytest.raises(UndecryptableError):
        LOCAL.decrypt(stored, "any")


def test_another_firms_key_does_not_open_it():
    with pytest.raises(UndecryptableError):
        LOCAL.decrypt(APPLICATION.encrypt("documents/a.pdf", "key-of-firm-1"), "key-of-firm-2")


def test_one_changed_character_does_not_open():
    stored = APPLICATION.encrypt("documents/a.pdf", "key")
    changed = stored[:40] + ("A" if stored[40] != "A" else "B") + stored[41:]
    with pytest.raises(UndecryptableError):
        LOCAL.decrypt(changed, "key")


def test_a_firms_own_key_comes_before_the_default():
    assert LOCAL.key_id("own") == "own"
    assert LOCAL.key_id("") == "default-key"
    with pytest.raises(SettingError, match="default_firm_kms_key_id"):
        FieldEncryption(LocalKms(MASTER), "").key_id("")


# -- AWS KMS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """A moto server: KMS over HTTP."""
    with S3Server(tmp_path_factory.mktemp("kms"), dies_with_parent=True) as server:
        yield server.endpoint_url


@pytest.fixture
def client(endpoint):
    return boto3.client(
        "kms",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )


@pytest.fixture
def aws(endpoint, monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_KMS_OF_TEST",
        '{"conn_type": "aws", "login": "x", "password": "x",'
        f' "extra": {{"region_name": "us-east-1", "endpoint_url": "{endpoint}"}}}}',
    )
    return AwsKms("kms_of_test")


def encrypted(client, plain, key_id):
    blob = client.encrypt(KeyId=key_id, Plaintext=plain.encode())["CiphertextBlob"]
    return "enc::" + base64.b64encode(blob).decode()


def test_aws_opens_what_the_application_writes_with_one_call_per_value(aws, client):
    key_id = client.create_key()["KeyMetadata"]["KeyId"]
    encryption = FieldEncryption(aws, key_id)
    assert encryption.decrypt(encrypted(client, "documents/é.pdf", key_id), key_id) == "documents/é.pdf"
    assert encryption.decrypt("plain", key_id) == "plain"
    assert aws.calls == 1


def test_aws_values_that_kms_did_not_make_are_undecryptable(aws, client):
    key_id = client.create_key()["KeyMetadata"]["KeyId"]
    stored = encrypted(client, "documents/a.pdf", key_id)
    for damaged in ("enc::not base64!", stored[:-8] + "AAAAAAA="):
        with pytest.raises(UndecryptableError):
            FieldEncryption(aws, key_id).decrypt(damaged, key_id)


def test_aws_access_denied_is_an_error_of_the_run(aws):
    """Also what KMS answers for a key of an account that is not ours: nothing follows for the row."""
    stored = "enc::" + base64.b64encode(b"x" * 80).decode()
    with pytest.raises(RemoteRefusedError, match=r"access denied .*AccessDeniedException"):
        FieldEncryption(aws, "k").decrypt(stored, "k")


@pytest.mark.parametrize("code", ["DisabledException", "NotFoundException", "KMSInvalidStateException"])
def test_an_aws_key_that_is_gone_closes_its_values_only(aws, code):
    """The emulator does not model a key's state: the answers are those of the API reference."""
    with Stubber(aws.client) as stubbed:
        stubbed.add_client_error("decrypt", code, http_status_code=400)
        with pytest.raises(UndecryptableError, match="KMS key"):
            FieldEncryption(aws, "k").decrypt("enc::YWJj", "k")


def test_a_kms_that_does_not_answer_is_no_verdict_on_a_value(monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_KMS_AWAY",
        '{"conn_type": "aws", "login": "x", "password": "x", "extra": {"region_name": "us-east-1",'
        ' "endpoint_url": "http://127.0.0.1:1", "config_kwargs": {"retries": {"total_max_attempts": 1}}}}',
    )
    with pytest.raises(RemoteUnavailableError, match="KMS decrypt"):
        FieldEncryption(AwsKms("kms_away"), "k").decrypt("enc::" + base64.b64encode(b"x" * 80).decode(), "k")


# -- settings and connections ------------------------------------------------------------------------------------------


def test_the_local_master_key_is_a_connections_password(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_CP_KMS", f'{{"conn_type": "generic", "password": "{MASTER}"}}')
    encryption = field_encryption(Settings(default_firm_kms_key_id="default-key"))
    assert encryption.decrypt(APPLICATION.encrypt("a", "default-key"), encryption.key_id("")) == "a"


def test_a_connection_without_a_master_key_is_a_persons_work(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_NO_KEY", '{"conn_type": "generic"}')
    with pytest.raises(
        ConnectionInvalidError, match=r"'no_key' has no password: .* LOCAL_KMS_MASTER_KEY"
    ) as caught:
        field_encryption(Settings(), kms_conn_id="no_key")
    assert caught.value.verdict is Verdict.FAIL


def test_without_the_master_keys_connection_the_error_says_what_it_should_be():
    with pytest.raises(ConnectionMissingError, match=r"'no_key' is not defined, or .* LOCAL_KMS_MASTER_KEY"):
        field_encryption(Settings(), kms_conn_id="no_key")


def test_aws_needs_no_master_key_but_its_connection(monkeypatch):
    encryption = field_encryption(Settings(kms_backend="aws"), kms_conn_id="no_key", aws_conn_id="no_aws")
    with pytest.raises(ConnectionMissingError, match="'no_aws' is not defined"):
        encryption.decrypt("enc::YWJj", "k")
