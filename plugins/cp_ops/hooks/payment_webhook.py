"""The optional webhook that hears of accepted and expired payments: connection `solana_webhook`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from airflow.sdk.log import mask_secret

from cp_ops.hooks.connections import optional_connection
from cp_ops.runtime.errors import ConnectionInvalidError, RemoteUnavailableError

if TYPE_CHECKING:
    from typing import Self

TIMEOUT = 10.0


class PaymentWebhook:
    """Posts to one URL.

    :param secret: the key of the signature, which the receiver knows too.
    """

    def __init__(self, url: str, secret: bytes) -> None:
        self.secret = secret
        self._url = url
        self._http = httpx.Client(timeout=TIMEOUT, follow_redirects=False)

    @classmethod
    def of_connection(cls, conn_id: str) -> Self | None:
        """Build from an Airflow connection: host is the URL, password the secret. None when it is not defined.

        :raises ConnectionInvalidError: when URL or secret are missing.
        """
        found = optional_connection(conn_id)
        if found is None:
            return None
        url, secret = found.host or "", found.password or ""
        if not url.startswith(("https://", "http://")):
            raise ConnectionInvalidError(f"Airflow connection {conn_id!r}, host: must be the webhook's URL")
        if not secret:
            raise ConnectionInvalidError(
                f"Airflow connection {conn_id!r}, password: must be the signing secret"
            )
        mask_secret(secret)
        return cls(url, secret.encode())

    def post(self, body: bytes, headers: dict[str, str]) -> None:
        """Post a body; any 2xx takes it.

        :raises RemoteUnavailableError: no answer, or any other.
        """
        try:
            response = self._http.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise RemoteUnavailableError(f"webhook: no answer ({type(error).__name__})") from None
        if not response.is_success:
            raise RemoteUnavailableError(f"webhook: HTTP status {response.status_code}")
