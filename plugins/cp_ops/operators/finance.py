"""Operators of finance."""

from __future__ import annotations

from cp_ops.finance.package_invoices import GeneratePackageInvoices
from cp_ops.operators.base import JobOperator


class GeneratePackageInvoicesOperator(JobOperator):
    """Issue the invoices of package fees that are due."""

    job_class = GeneratePackageInvoices
