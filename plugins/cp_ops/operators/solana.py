"""Operators of the one-time Solana wallets.

They run in Airflow's pool `solana_rpc` (include/pools.json), so that together they stay within the RPC node's limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from typing_extensions import override

from cp_ops.operators.base import JobOperator
from cp_ops.operators.outcomes import TaskOutcome
from cp_ops.runtime.errors import OptionsError
from cp_ops.runtime.outcome import ALREADY_RUNNING, Outcome
from cp_ops.solana.announcing.options import AnnouncePaymentsOptions
from cp_ops.solana.options import CloseWalletsOptions, RecheckOptions, SolanaOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from cp_ops.runtime.options import JobOptions
    from cp_ops.runtime.settings import Settings
    from cp_ops.solana.announcing.events import PaymentEvent
    from cp_ops.solana.announcing.job import AnnouncePayments
    from cp_ops.solana.wallet_job import WalletJob

POOL = "solana_rpc"
ACCEPTED = Asset("solana_payment_accepted", uri="x-cp-ops://solana/payments/accepted")
EXPIRED = Asset("solana_payment_expired", uri="x-cp-ops://solana/payments/expired")
EVENTS = AssetAlias("solana_payment_events")
REMEMBERED = 50
"""Asset events that are looked through for payment events which Airflow has registered."""


class SolanaWalletOperator(JobOperator):
    """Work on one-time wallets.

    In a chain, a task runs after the one before it even if some of that one's *rows* failed; it does not run when that
    one could not run at all, or stopped half-way.

    :param solana_conn_id: connection to the RPC node, with the keys.
    :param shared_options: the options of the whole DAG, when they are more than this command's own.
    """

    def __init__(
        self,
        *,
        solana_conn_id: str = "solana_default",
        shared_options: type[JobOptions] | None = None,
        pool: str = POOL,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool=pool, **kwargs)
        self.solana_conn_id = solana_conn_id
        self.shared_options = shared_options

    def execute(self, context: Context) -> dict[str, Any]:
        """Look at the step before, then run the job once."""
        try:
            self._require_earlier_steps(context)
        except AirflowSkipException:
            outcome = Outcome(self.command, bool(context["params"].get("dry_run")))
            outcome.skip(ALREADY_RUNNING)
            context["ti"].xcom_push(key="outcome", value=outcome.as_dict())
            raise
        return super().execute(context)

    @override
    def build(self, job: type[WalletJob], context: Context, settings: Settings) -> WalletJob:
        from cp_ops.hooks.solana_rpc import SolanaRpc, configuration_of

        return job(configuration_of(self.solana_conn_id), SolanaRpc)

    @override
    def parse_options(self, context: Context) -> JobOptions:
        if self.shared_options is None:
            return super().parse_options(context)
        try:
            shared = self.shared_options.parse({**context["params"], **self.fixed_options})
            return self.options.parse({name: getattr(shared, name) for name in self.options.model_fields})
        except OptionsError as error:
            raise AirflowFailException(f"{self.command}: {error}") from None

    def _require_earlier_steps(self, context: Context) -> None:
        """Refuse to run after a step that could not run.

        :raises AirflowFailException: naming that step and its error.
        """
        for task_id in sorted(self.upstream_task_ids):
            earlier = TaskOutcome.of_task(context, task_id)
            if earlier is None:
                raise AirflowFailException(f"not run: {task_id} could not run")
            if ALREADY_RUNNING in earlier.reasons:
                raise AirflowSkipException(f"not run: {task_id} is being run by somebody else")
            if earlier.error:
                raise AirflowFailException(f"not run: {task_id} stopped: {earlier.error}")


class CloseExpiredPaymentsOperator(SolanaWalletOperator):
    """Let unpaid payments expire, accept those paid in time after all, and empty and close their wallets."""

    job = "cp_ops.solana.job:CloseExpiredPayments"
    command = "close_expired_solana_payments_with_wallets"
    options = SolanaOptions


class SendFundsOperator(SolanaWalletOperator):
    """Send what is in one-time wallets to the receiver."""

    job = "cp_ops.solana.job:SendFunds"
    command = "send_solana_payments_from_one_time_wallets"
    options = SolanaOptions


class CloseExpiredWalletsOperator(SolanaWalletOperator):
    """Close expired wallets' token accounts, reclaim their rent, and look for funds that came late."""

    job = "cp_ops.solana.job:CloseExpiredWallets"
    command = "close_expired_one_time_wallets_and_reclaim_funds"
    options = CloseWalletsOptions


class RecheckPaymentsOperator(SolanaWalletOperator):
    """Accept payments that the application has missed."""

    job = "cp_ops.solana.job:RecheckPayments"
    command = "recheck_initiated_solana_payments"
    options = RecheckOptions


class AnnouncePaymentsOperator(JobOperator):
    """Announce accepted and expired payments: as asset events, and to the webhook where one is defined.

    :param webhook_conn_id: connection to the webhook; nothing is posted when it is not defined.
    """

    job = "cp_ops.solana.announcing.job:AnnouncePayments"
    command = "cp_ops_announce_solana_payments"
    options = AnnouncePaymentsOptions

    def __init__(self, *, webhook_conn_id: str = "solana_webhook", **kwargs: Any) -> None:
        super().__init__(inlets=[ACCEPTED, EXPIRED], outlets=[EVENTS], **kwargs)
        self.webhook_conn_id = webhook_conn_id

    @override
    def build(self, job: type[AnnouncePayments], context: Context, settings: Settings) -> AnnouncePayments:
        from cp_ops.hooks.payment_webhook import PaymentWebhook

        return job(_TaskAssets(context), PaymentWebhook.of_connection(self.webhook_conn_id))


class _TaskAssets:
    """The asset events of a task: those that Airflow has registered, and those that it will with this task."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def registered(self) -> set[int]:
        """Give the ids of payment events that recent asset events carry."""
        found: set[int] = set()
        for asset in (ACCEPTED, EXPIRED):
            recent: Any = self._context["inlet_events"][asset]
            for event in recent.ascending(ascending=False).limit(REMEMBERED):
                found.update(payment["event_id"] for payment in event.extra.get("payments", ()))
        return found

    def announce(self, kind: str, events: Sequence[PaymentEvent]) -> None:
        """Attach events to the task."""
        asset = ACCEPTED if kind == "accepted" else EXPIRED
        payments = [event.as_dict() for event in events]
        extra: dict[str, Any] = {"payment_ids": [event.payment_id for event in events], "payments": payments}
        self._context["outlet_events"][EVENTS].add(asset, extra=extra)
