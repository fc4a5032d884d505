"""Firms: bringing a new tenant into the application."""
