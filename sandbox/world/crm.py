"""Pipelines, deals and their alerts, leads and prospects."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sandbox.world.rows import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.world.clients import User


class Stage(Record):
    """crm_pipeline_stages."""

    table = "crm_pipeline_stages"

    def __init__(self, *args: Any, pipeline_id: int) -> None:
        super().__init__(*args)
        self.pipeline_id = pipeline_id


class Pipeline(Record):
    """crm_pipelines."""

    table = "crm_pipelines"

    def stage(self, name: str | None = None, *, probability: int = 50, **columns: Any) -> Stage:
        """Insert a stage."""
        key = self.world.insert(
            "crm_pipeline_stages",
            pipeline_id=self.id,
            name=name or f"Stage {self.world.serial()}",
            probability=probability,
            **columns,
        )
        return Stage(self.world, key, self.scope, pipeline_id=self.id)


class DealAlert(Record):
    """crm_deal_alert."""

    table = "crm_deal_alert"

    def recipients(self) -> set[int]:
        """Return the ids of the users whom the alert is for."""
        rows = self.world.conn.execute(
            "SELECT user_id FROM crm_deal_alert_recipients WHERE dealalert_id = %s", [self.id]
        )
        return {row[0] for row in rows}


class Deal(Record):
    """crm_deals."""

    table = "crm_deals"

    def alert(
        self,
        alert_type: str = "stale",
        *,
        recipients: Iterable[User] = (),
        age_days: float = 0,
        **columns: Any,
    ) -> DealAlert:
        """Insert an alert of this deal and its recipients."""
        defaults = {
            "title": "Deal needs attention",
            "message": "No activity for a while.",
            "created_at": self.world.ago(days=age_days),
        }
        key = self.world.insert(
            "crm_deal_alert", deal_id=self.id, alert_type=alert_type, **defaults | columns
        )
        for user in recipients:
            self.world.insert("crm_deal_alert_recipients", dealalert_id=key, user_id=user.id)
        return DealAlert(self.world, key, self.scope)

    def team_member(self, user: User) -> Deal:
        """Add a user to the deal's team."""
        self.world.insert("crm_deals_team_members", deal_id=self.id, user_id=user.id)
        return self


class CrmOfFirm(Record):
    """The sales side of a firm."""

    _stage: Stage | None = None

    def pipeline(self, name: str | None = None, **columns: Any) -> Pipeline:
        """Insert a pipeline without stages."""
        name = name or f"Pipeline {self.world.serial()}"
        return Pipeline(self.world, self.insert("crm_pipelines", name=name, **columns), self.scope)

    def deal(
        self,
        name: str | None = None,
        *,
        owner: User | None = None,
        team: Iterable[User] = (),
        stage: Stage | None = None,
        value: str = "10000.00",
        last_activity_days_ago: int | None = None,
        created_days_ago: float = 0,
        closes_in_days: int = 60,
        threshold_days: int = 30,
        **columns: Any,
    ) -> Deal:
        """Insert an open deal; without a stage it goes into the one stage of a pipeline made for it."""
        stage = stage or self._default_stage()
        probability = int(columns.pop("probability", 50))
        defaults = {
            "currency": self.scope.currency,
            "weighted_value": (Decimal(value) * probability / 100).quantize(Decimal("0.01")),
            "created_at": self.world.ago(days=created_days_ago),
        }
        key = self.insert(
            "crm_deals",
            pipeline_id=stage.pipeline_id,
            stage_id=stage.id,
            name=name or f"Deal {self.world.serial()}",
            value=Decimal(value),
            probability=probability,
            owner_id=owner.id if owner else None,
            last_activity_date=None if last_activity_days_ago is None else self.day(-last_activity_days_ago),
            expected_close_date=self.day(closes_in_days),
            stale_days_threshold=threshold_days,
            **defaults | columns,
        )
        deal = Deal(self.world, key, self.scope)
        for user in team:
            deal.team_member(user)
        return deal

    def lead(self, company_name: str = "Larch & Sons", **columns: Any) -> int:
        """Insert a lead and return its id."""
        defaults = {"contact_name": "Kim Example", "contact_email": "kim@lead.example"}
        return int(self.insert("crm_leads", company_name=company_name, **defaults | columns))

    def prospect(self, company_name: str | None = None, **columns: Any) -> int:
        """Insert a prospect and return its id."""
        defaults = {
            "primary_contact_name": "Sam Example",
            "primary_contact_email": "sam@prospect.example",
            "estimated_value": Decimal("25000.00"),
            "close_date_estimate": self.day(90),
        }
        company_name = company_name or f"Prospect {self.world.serial()}"
        return int(self.insert("crm_prospects", company_name=company_name, **defaults | columns))

    def _default_stage(self) -> Stage:
        if self._stage is None:
            self._stage = self.pipeline().stage("Proposal")
        return self._stage
