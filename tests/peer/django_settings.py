"""Settings of a Django project that is nothing but the payment module; everything comes from the environment."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

_url = urlsplit(os.environ["PEER_DATABASE"])
SECRET_KEY = "not a secret: tests only"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_solana_payments"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _url.path.lstrip("/"),
        "USER": _url.username,
        "PASSWORD": _url.password,
        "HOST": _url.hostname,
        "PORT": _url.port,
    }
}
SOLANA_PAYMENTS = {
    "RPC_URL": os.environ.get("PEER_RPC_URL", "http://127.0.0.1:1"),
    "RECEIVER_ADDRESS": os.environ.get("PEER_RECEIVER", "11111111111111111111111111111111"),
    "FEE_PAYER_KEYPAIR": os.environ.get("PEER_FEE_PAYER", str(list(range(1, 65)))),
    "ONE_TIME_WALLETS_ENCRYPTION_ENABLED": True,
    "ONE_TIME_WALLETS_ENCRYPTION_KEY": os.environ.get(
        "PEER_ENCRYPTION_KEY", "v6EdqyuDAvh9dj9RQ-fGLqovy1KM4onalzw0Wl_EBE8="
    ),
}
