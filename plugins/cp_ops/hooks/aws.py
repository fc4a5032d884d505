"""AWS clients from Airflow connections of type aws."""

from __future__ import annotations

from typing import Any

from botocore.config import Config

from cp_ops.hooks.connections import connection

RETRIES = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=10, read_timeout=30)


def aws_client(hook_class: Any, conn_id: str, purpose: str, **kwargs: Any) -> Any:
    """Build a boto3 client, retrying in botocore's standard mode.

    :param purpose: what the connection is for, in the message that it is missing.
    :raises ConnectionMissingError: when the connection is not defined, or cannot be read.
    """
    # The provider falls back to whatever credentials the machine has; a wrong account is worse than an error.
    connection(conn_id, f"its type is aws, {purpose} (README, Connections)")
    hook = hook_class(aws_conn_id=conn_id, **kwargs)
    return hook.get_client_type(region_name=hook.region_name, config=RETRIES.merge(hook.config))
