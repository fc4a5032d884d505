"""What every job shares: options, plan, outcome, run (lease and fence), findings, audit, outbox, settings, named SQL."""
