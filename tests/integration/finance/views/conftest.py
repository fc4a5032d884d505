"""A project that every view has a row of, and the roles that may refresh."""

from __future__ import annotations

import pytest

from cp_ops.finance.views.options import VIEWS


@pytest.fixture
def refresh(runner):
    """Run jobs as role cp_ops, which may refresh: by MAINTAIN, or before PostgreSQL 17 as the views' owner."""
    return runner


@pytest.fixture
def give_views_to(app_db, postgres):
    """Make a role the owner of the views, as a superuser can."""

    def give(role):
        with postgres.connect(app_db.name) as superuser:
            superuser.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
            for view in VIEWS:
                superuser.execute(f"ALTER MATERIALIZED VIEW {view} OWNER TO {role}")
                superuser.execute(f"GRANT SELECT ON {view} TO consultantpro, cp_ops")

    return give


@pytest.fixture
def project(world):
    """A project with hours of two weeks, so that every view has a row."""
    firm = world.firm()
    project = firm.client().project()
    user = firm.user()
    project.time_entry(user, days_ago=3)
    project.time_entry(user, days_ago=20)
    return project
