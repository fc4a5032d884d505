"""Firms: provisioning/ brings a new firm into the application, or repairs one."""
