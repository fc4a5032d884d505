"""The key management behind the application's encrypted fields: a local master key, or AWS KMS."""

from __future__ import annotations

import base64
import binascii
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from botocore.exceptions import BotoCoreError, ClientError

from cp_ops.hooks.aws import aws_client
from cp_ops.hooks.connections import connection
from cp_ops.runtime.errors import ConnectionInvalidError, translate
from cp_ops.runtime.field_encryption import FieldEncryption, LocalKms, UndecryptableError

if TYPE_CHECKING:
    from cp_ops.runtime.settings import Settings

MASTER_KEY = (
    "its type is generic, its password the application's LOCAL_KMS_MASTER_KEY; or set [cp_ops] kms_backend to aws "
    "(README, Connections)"
)
CLOSED = {
    "InvalidCiphertextException": "KMS does not recognise the stored value",
    "IncorrectKeyException": "the stored value was encrypted with another key",
    "NotFoundException": "its KMS key does not exist",
    "DisabledException": "its KMS key is disabled",
    "KMSInvalidStateException": "its KMS key is pending deletion or unavailable",
    "InvalidKeyUsageException": "its KMS key is not for encryption",
}
"""KMS errors that are about one value or one firm's key: its rows cannot be read, the others go on.
https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html
"""


class AwsKms:
    """KMS_BACKEND=aws: one call of kms:Decrypt per stored value.

    As the application, it gives no encryption context and lets the ciphertext say which key made it.

    :param conn_id: an Airflow connection of type aws; the region is the connection's.
    :param client: a boto3 client to use instead of the connection's.
    """

    def __init__(self, conn_id: str = "cp_s3", *, client: Any = None) -> None:
        self.calls = 0
        self._conn_id = conn_id
        self._given_client = client

    @cached_property
    def client(self) -> Any:
        """The boto3 client.

        :raises ConnectionMissingError: when the connection is not defined, or cannot be read.
        """
        return self._given_client or aws_client(
            AwsBaseHook, self._conn_id, "with kms:Decrypt on the firms' keys", client_type="kms"
        )

    def decrypt(self, ciphertext: str, key_id: str) -> str:  # noqa: ARG002 - the ciphertext names its key
        """Give the plain text.

        :raises UndecryptableError: when KMS does not open this value, or its key is gone.
        :raises RemoteRefusedError: when access is denied.
        """
        try:
            blob = base64.b64decode(ciphertext, validate=True)
        except (binascii.Error, ValueError):
            raise UndecryptableError("the stored value is not base64") from None
        self.calls += 1
        try:
            return str(self.client.decrypt(CiphertextBlob=blob)["Plaintext"].decode())
        except UnicodeDecodeError:
            # The key opens it, but the application encrypts nothing but text: it is not the application's.
            raise UndecryptableError("the decrypted value is not text") from None
        except ClientError as error:
            if reason := CLOSED.get(error.response.get("Error", {}).get("Code", "")):
                raise UndecryptableError(reason) from None
            raise translate(error, doing="KMS decrypt") from None
        except BotoCoreError as error:
            raise translate(error, doing="KMS decrypt") from None


def field_encryption(
    settings: Settings, *, kms_conn_id: str = "cp_kms", aws_conn_id: str = "cp_s3"
) -> FieldEncryption:
    """Build the field encryption that the settings describe.

    :param kms_conn_id: the connection whose password is the local master key, LOCAL_KMS_MASTER_KEY.
    :raises ConnectionMissingError: when the local backend is set and its connection is not defined, or cannot be read.
    :raises ConnectionInvalidError: when that has no password.
    """
    if settings.kms_backend == "aws":
        return FieldEncryption(AwsKms(aws_conn_id), settings.default_firm_kms_key_id)
    password = connection(kms_conn_id, MASTER_KEY).password
    if not password:
        raise ConnectionInvalidError(f"Airflow connection {kms_conn_id!r} has no password: {MASTER_KEY}")
    return FieldEncryption(LocalKms(password), settings.default_firm_kms_key_id)
