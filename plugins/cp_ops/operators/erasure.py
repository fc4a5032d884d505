"""Operators of the right to be forgotten: preview, a person's approval, execution; and the replay of the journal.

Apart from the other operators of privacy, as Airflow's approval is dear to import and no other DAG asks a person.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from typing_extensions import override

from cp_ops.operators.objects import StoredObjectsOperator
from cp_ops.operators.outcomes import TaskOutcome
from cp_ops.privacy.erasure.options import ExecuteErasureRequestOptions
from cp_ops.privacy.replay.options import ReplayErasuresOptions

if TYPE_CHECKING:
    from airflow.sdk import Context

    from cp_ops.privacy.erasure.job import ExecuteErasureRequest
    from cp_ops.privacy.replay.job import ReplayErasures
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.object_store import ObjectDeleter
    from cp_ops.runtime.outcome import Outcome
    from cp_ops.runtime.settings import Settings

PREVIEW = "preview"
APPROVE = "approve"
APPROVAL_TEXT = "approval_text"
SHOWN_PLAN = "shown_plan"
DELETING = "with the right to delete versions of ConsultantPro's objects"
"""What the connection to S3 is for, in the message that it is missing."""


class ErasureOperator(StoredObjectsOperator):
    """Base of the operators that erase.

    The role of `s3_conn_id` needs s3:ListBucketVersions, s3:DeleteObject and s3:DeleteObjectVersion on the buckets.
    """

    def clients(self, settings: Settings) -> tuple[ObjectDeleter, FieldEncryption]:
        """Make what deletes objects, and what reads their encrypted locations.

        A job asks for them once it has an object to delete, so that an erasure without any needs no key.
        """
        return self.objects(purpose=DELETING), self.encryption(settings)


class PreviewErasureOperator(ErasureOperator):
    """Show what an erasure request covers, and stop where something forbids it. Writes nothing."""

    job = "cp_ops.privacy.erasure.job:ExecuteErasureRequest"
    command = "execute_erasure_request"
    options = ExecuteErasureRequestOptions

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(fixed_options={"dry_run": True}, **kwargs)

    @override
    def build(
        self, job: type[ExecuteErasureRequest], context: Context, settings: Settings
    ) -> ExecuteErasureRequest:
        return job(partial(self.clients, settings))

    @override
    def conclude(self, context: Context, job: ExecuteErasureRequest, outcome: Outcome) -> None:
        """Hand the text on to the approval.

        :raises AirflowFailException: when the run is a real one and the erasure is blocked.
        """
        context["ti"].xcom_push(key=APPROVAL_TEXT, value=job.approval_text)
        if job.blockers and not context["params"]["dry_run"]:
            named = ", ".join(f"{name} ({rows})" for name, rows in job.blockers.items())
            raise AirflowFailException(f"the erasure is blocked by {named}: nothing was changed")


class ApproveErasureOperator(ApprovalOperator):
    """Wait for a person to approve exactly the plan that is shown; reject by default.

    Nobody is asked in a dry run, when there is nothing to do, or when `confirm` is off.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs["execution_timeout"] = None  # of the DAG's defaults; a person has response_timeout
        super().__init__(
            subject="Erase for good? Request {{ params.request_id }}",
            body=f"{{{{ ti.xcom_pull(task_ids='{PREVIEW}', key='{APPROVAL_TEXT}') }}}}",
            defaults=self.REJECT,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Ask, unless there is nothing to ask; remember which plan was shown."""
        if context["params"]["dry_run"]:
            raise AirflowSkipException("a dry run ends with the preview")
        preview = TaskOutcome.of_task(context, PREVIEW)
        if preview is None:
            raise AirflowFailException(f"task {PREVIEW} left no outcome: run the whole DAG again")
        if not preview.plan:
            raise AirflowSkipException("nothing to do: " + ", ".join(preview.reasons))
        if not context["params"]["confirm"]:
            self.log.info("confirm is off: nobody is asked")
            return None
        context["ti"].xcom_push(key=SHOWN_PLAN, value=preview.plan)
        return super().execute(context)


class ExecuteErasureOperator(ErasureOperator):
    """Erase what was approved: refuses when the data changed since, searches afterwards, stores the result."""

    job = "cp_ops.privacy.erasure.job:ExecuteErasureRequest"
    command = "execute_erasure_request"
    options = ExecuteErasureRequestOptions

    def execute(self, context: Context) -> dict[str, Any]:
        """Erase under the approved plan.

        :raises AirflowFailException: when a person had to be asked and no plan was shown to any.
        """
        if context["params"]["confirm"] and not _shown_plan(context):
            raise AirflowFailException("no plan was approved: run the whole DAG again")
        return super().execute(context)

    @override
    def build(
        self, job: type[ExecuteErasureRequest], context: Context, settings: Settings
    ) -> ExecuteErasureRequest:
        return job(partial(self.clients, settings), approved_plan=_shown_plan(context))


def _shown_plan(context: Context) -> str | None:
    """Give the hash of the plan that a person was shown; None when nobody was asked."""
    plan: str | None = context["ti"].xcom_pull(task_ids=APPROVE, key=SHOWN_PLAN)
    return plan


class ReplayErasuresOperator(ErasureOperator):
    """Erase again, after a backup was restored, what the journal says was erased."""

    job = "cp_ops.privacy.replay.job:ReplayErasures"
    command = "replay_erasures"
    options = ReplayErasuresOptions

    @override
    def build(self, job: type[ReplayErasures], context: Context, settings: Settings) -> ReplayErasures:
        return job(partial(self.clients, settings))
